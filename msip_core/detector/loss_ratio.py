"""Gains of the detection loss from what its parts are to contribute.

The paper weighs BCE : IoU = .7 : .3 and gives no gains. Gains alone say little: BCE is summed over
all anchors and classes, so with equal gains it is ten times the IoU loss or more, and how much more
depends on model and data. The gains are therefore solved from the losses of the first training
batches of the actual model:

    cls' c = r T,   box' b = (1 - r) T,   T = box b + cls c,   dfl' = dfl box' / box

with b, c the mean IoU and BCE losses without gains, and the recipe's gains box, cls, dfl: their sum
is kept, and with it the meaning of the learning rate. They then stay fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from ultralytics.utils.loss import v8DetectionLoss

from msip_core.config import TrainingRecipe
from msip_core.detector.batch import Batch
from msip_core.detector.library import DetectionModel
from msip_core.errors import WorkError

BATCHES = 16


class Gains(NamedTuple):
    """Of the three parts of the detection loss."""

    box: float
    cls: float
    dfl: float


@torch.no_grad()
def solve_gains(
    model: DetectionModel,
    batches: Iterable[Batch],
    recipe: TrainingRecipe,
    forward: Callable[[Batch], Any],
) -> Gains:
    """Gains at which BCE and IoU loss stand in `recipe.loss_ratio`.

    Args:
        batches: as the loss wants them.
        forward: the model's outputs of one batch, in float32.

    Raises:
        WorkError: a loss is zero or not a number, so no gain can weigh it.
    """
    if recipe.loss_ratio is None:
        return Gains(recipe.box, recipe.cls, recipe.dfl)
    args, model.args = model.args, SimpleNamespace(box=1.0, cls=1.0, dfl=1.0)
    mode = model.training
    try:
        criterion = v8DetectionLoss(model.eval())
        losses = [criterion(forward(batch), batch)[1] for batch in batches]
    finally:
        model.args = args
        model.train(mode)
    mean = {name: float(torch.stack([one[name] for one in losses]).mean()) for name in losses[0]}
    b, c = mean["box_loss"], mean["cls_loss"]
    if not (0 < b < float("inf") and 0 < c < float("inf")):
        raise WorkError(
            "The losses cannot be weighed against each other: the first batches have an IoU loss "
            "of {b:g} and a BCE of {c:g}. Check the labels of the training images, or leave "
            "loss_ratio out.",
            b=b,
            c=c,
        )
    total = recipe.box * b + recipe.cls * c
    share = recipe.loss_ratio[0] / sum(recipe.loss_ratio)
    box = (1 - share) * total / b
    return Gains(box, share * total / c, recipe.dfl * box / recipe.box)
