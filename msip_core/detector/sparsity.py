"""Sparse training: what pushes weights to zero, so that pruning loses little.

    l1_lambda   lambda * sign(w)          weights and factors of the convolutions that opening C2f
                                          made (method sheet, section 1)
    bn_l1       lambda(e) * sign(gamma)   every batch-norm factor (Network Slimming)
                lambda(e) = lambda (1 - .9 e / E) with `bn_l1_decay`, else constant; e counts from 0

Each is the subgradient of an L1 norm, 0 at 0, and is added once per optimizer step after clipping:
inside the loss, mixed precision, accumulation over batches and clipping would all change lambda.
Decoupled from the loss, lambda also does not grow with the batch, by which Ultralytics multiplies
its loss.

Source: Liu et al. 2017, arXiv:1708.06519. The decay is common practice in YOLO pruning.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from ultralytics.nn.modules import Bottleneck

from msip_core.config import TrainingRecipe
from msip_core.detector.extras import GradientTerm, add_gradient
from msip_core.detector.library import DetectionModel

NEAR_ZERO = 1e-3  # a smaller factor lets next to nothing of its channel through
_DECAY = 0.9  # share of lambda that is gone at the end


@dataclass
class BlockL1:
    """L1 on weights and batch-norm factors of the convolution blocks of these names."""

    names: tuple[str, ...]
    strength: float
    weights: list[nn.Parameter] = field(default_factory=list)

    def bind(self, model: DetectionModel) -> None:
        blocks: list[Any] = [model.get_submodule(name) for name in self.names]
        self.weights = [w for block in blocks for w in (block.conv.weight, block.bn.weight)]

    def add(self, progress: float) -> None:
        _add_sign(self.weights, self.strength)


@dataclass
class BatchNormL1:
    """L1 on batch-norm factors.

    Attributes:
        decays: lambda falls to a tenth over the fit.
        shortcuts: also inside bottlenecks with a shortcut, whose outputs are summed.
    """

    strength: float
    decays: bool = False
    shortcuts: bool = True
    weights: list[nn.Parameter] = field(default_factory=list)

    def bind(self, model: DetectionModel) -> None:
        self.weights = batch_norm_factors(model, shortcuts=self.shortcuts)

    def add(self, progress: float) -> None:
        _add_sign(self.weights, self.strength * (1 - _DECAY * progress * self.decays))


def terms_of(recipe: TrainingRecipe, l1_names: tuple[str, ...]) -> list[GradientTerm]:
    """The terms that a recipe asks for and that need nothing but the module itself."""
    terms: list[GradientTerm] = []
    if recipe.l1_lambda:
        terms.append(BlockL1(l1_names, recipe.l1_lambda))
    if recipe.bn_l1:
        terms.append(
            BatchNormL1(recipe.bn_l1, recipe.bn_l1_decay, shortcuts=recipe.bn_l1_shortcuts)
        )
    return terms


def batch_norm_factors(model: nn.Module, *, shortcuts: bool = True) -> list[nn.Parameter]:
    """gamma of every batch norm; without `shortcuts`, not of those inside shortcut bottlenecks."""
    left_out = {
        id(norm)
        for block in model.modules()
        if isinstance(block, Bottleneck) and block.add and not shortcuts
        for norm in block.modules()
    }
    return [
        norm.weight
        for norm in model.modules()
        if isinstance(norm, nn.BatchNorm2d) and norm.affine and id(norm) not in left_out
    ]


@torch.no_grad()
def share_near_zero(model: nn.Module, threshold: float = NEAR_ZERO) -> float:
    """Share of all batch-norm factors with |gamma| below the threshold, in [0, 1]."""
    factors = torch.cat([gamma.detach().flatten() for gamma in batch_norm_factors(model)])
    return float((factors.abs() < threshold).float().mean())


def _add_sign(weights: list[nn.Parameter], strength: float) -> None:
    for weight in weights:
        add_gradient(weight, weight.detach().sign(), strength)
