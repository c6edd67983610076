"""Scores of weights from their gradients, added up while the calibration pass goes on.

With the first-order loss change d = w * g of a weight w (d = gamma * dgamma + beta * dbeta for
batch norm, whose scale and shift act on a channel together):

    taylor      d^2        g of one batch          mean over batches
    taylor-abs  |d|        g of one batch          mean over batches
    grad2       g^2        g of one batch          mean over batches
    taylor-2    d^2 / 2    g of one image alone    mean over images

Convolutions keep (out, in) sums over the kernel, batch norms (c,). Scoring the averaged gradient
would say nothing: it is about 0 at a minimum.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from msip_core.importance.statistic import Found, Scene, Statistic

OF_BATCH = frozenset({"taylor", "taylor-abs", "grad2"})
OF_IMAGE = frozenset({"taylor-2"})


class _Scores(Statistic):
    """Scores of the gradients that the model holds, averaged over how often it held some."""

    place = "gradient"

    def __init__(self, scene: Scene, asked: frozenset[str]) -> None:
        super().__init__(scene, asked)
        self._sums = {kind: dict[str, Tensor]() for kind in asked}
        self._count = 0

    def _add(self) -> None:
        for kind, sums in self._sums.items():
            add_scores(self.scene.model, kind, sums)
        self._count += 1

    def result(self) -> Found:
        return {
            kind: {name: total / self._count for name, total in sums.items()}
            for kind, sums in self._sums.items()
        }


class BatchScores(_Scores):
    """Of the gradient of each batch."""

    kinds = OF_BATCH
    wants = frozenset({"backward"})

    def end_batch(self, factor: Tensor) -> None:
        self._add()


class ImageScores(_Scores):
    """Of the gradient of each image alone."""

    kinds = OF_IMAGE
    wants = frozenset({"images"})

    def end_image(self) -> None:
        self._add()


@torch.no_grad()
def add_scores(model: nn.Module, kind: str, sums: dict[str, Tensor]) -> None:
    """Add the scores of the gradients that `model` holds now to `sums` (layer name -> scores)."""
    for name, layer in model.named_modules():
        weight = getattr(layer, "weight", None)
        if weight is None or weight.grad is None:  # no weights, or fixed ones, such as DFL's
            continue
        if isinstance(layer, nn.Conv2d):
            score = _score(kind, weight * weight.grad, weight.grad).flatten(2).sum(2)
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            shift: Any = layer.bias
            # Scale and shift act together: one channel's first-order change is their sum.
            score = _score(kind, weight * weight.grad + shift * shift.grad, weight.grad)
            if kind == "grad2":
                score = score + shift.grad.double() ** 2
        else:
            continue
        sums[name] = sums.get(name, 0) + score


def _score(kind: str, change: Tensor, gradient: Tensor) -> Tensor:
    """Score of each weight from its first-order loss change w*g and its gradient g."""
    if kind == "taylor-abs":
        return change.double().abs()
    if kind == "taylor-2":
        return change.double() ** 2 / 2
    return (change if kind == "taylor" else gradient).double() ** 2
