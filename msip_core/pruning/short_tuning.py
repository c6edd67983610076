"""A short tuning: a few steps of gradient descent that show how well a cut network recovers.

Plain SGD (momentum .9, weight decay 5e-4) at a constant learning rate on the calibration images,
batch after batch, without augmentation; batch norm in train mode, gradients clipped as in the full
fine-tuning. Nothing is drawn, so the same network ends the same. Gradients are those of the loss of
a whole batch, in however many parts it passes (Ultralytics divides a loss by what its own images
were assigned); batch norm alone takes the statistics of each part.
Source: Yang et al. 2018, arXiv:1804.03230 (10 to 500 steps at 1e-3 in the authors' code).
"""

from __future__ import annotations

from itertools import cycle, islice

import torch
from torch import nn

from msip_core.detector.library import DetectionModel, hyperparameters, reset
from msip_core.events import RunContext
from msip_core.importance.calibration import CalibrationSet
from msip_core.importance.statistic import Scene
from msip_core.importance.statistics import multiply_gradients

MOMENTUM, WEIGHT_DECAY, CLIP = 0.9, 5e-4, 10.0


def tune_shortly(
    model: DetectionModel, calibration: CalibrationSet, *, steps: int, rate: float, ctx: RunContext
) -> None:
    """Train `model` in place for so many steps.

    Args:
        steps: one batch of the calibration set each.
        rate: learning rate.
    """
    args, model.args = model.args, hyperparameters()
    fixed = {id(p) for p in model.model[-1].dfl.parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) not in fixed)
    free = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(free, rate, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    model.train()
    scene = Scene(model, calibration, calibration.micro_batch, ctx)
    with torch.enable_grad():
        for batch in islice(cycle(calibration.batches()), steps):
            optimizer.zero_grad()
            assigned = torch.zeros((), device=scene.device)
            for part in scene.parts(batch):
                loss = scene.loss(part)
                (loss * scene.assigned.clamp(min=1) / len(part)).backward()
                assigned += scene.assigned
            multiply_gradients(model, len(batch) / assigned.clamp(min=1))
            if torch.isfinite(nn.utils.clip_grad_norm_(free, CLIP)):
                optimizer.step()
    optimizer.zero_grad()
    model.args = args
    reset(model.eval())
