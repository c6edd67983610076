"""Scores of weights from their gradients, added up while the calibration pass goes on.

With the first-order loss change d = w * g of a weight w (d = gamma * dgamma + beta * dbeta for
batch norm, whose scale and shift act on a channel together):

    taylor      d^2        g of one batch          mean over batches
    taylor-abs  |d|        g of one batch          mean over batches
    grad2       g^2        g of one batch          mean over batches
    taylor-2    d^2 / 2    g of one image alone    mean over images

Convolutions keep (out, in) sums over the kernel, batch norms (c,).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

OF_BATCH = frozenset({"taylor", "taylor-abs", "grad2"})
OF_IMAGE = frozenset({"taylor-2"})
GRADIENT = OF_BATCH | OF_IMAGE


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
        sums[name] = sums.get(name, 0) + score.cpu()


def _score(kind: str, change: Tensor, gradient: Tensor) -> Tensor:
    """Score of each weight from its first-order loss change w*g and its gradient g."""
    if kind == "taylor-abs":
        return change.double().abs()
    if kind == "taylor-2":
        return change.double() ** 2 / 2
    return (change if kind == "taylor" else gradient).double() ** 2
