"""What a fit may carry beside the detection loss: a second loss, and terms of the gradient.

Both come from other rooms (distillation from a teacher, group sparsity); the trainer only knows
these two words.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from torch import Tensor, nn

from msip_core.detector.library import DetectionModel


class ExtraLoss(Protocol):
    """A loss that is added to the detection loss of every training batch.

    Attributes:
        name: under which its mean is told with the other losses.
        facts: everything that decides its value; part of the fit's fingerprint.
        parts: modules that train along in the same optimizer (adapters). They live in state.pt
            while the fit lasts and are dropped with it: the saved model never holds them.
    """

    name: str
    facts: dict[str, object]
    parts: nn.Module

    def begin(self, model: DetectionModel) -> None:
        """Give `parts` their start values, for a fit that begins (not for one that goes on)."""

    def watching(self, model: DetectionModel) -> AbstractContextManager[None]:
        """While open, forwards of `model` are seen."""

    def __call__(self, images: Tensor) -> Tensor:
        """Mean loss per image (a scalar) of the batch that `model` has just been given:
        (n, 3, height, width) in [0, 1]."""


class GradientTerm(Protocol):
    """Added to the gradients once per optimizer step, after clipping."""

    def bind(self, model: DetectionModel) -> None:
        """Find the weights of the module that is trained; called once, before the first step."""

    def add(self, progress: float) -> None:
        """Add to the gradients.

        Args:
            progress: finished epochs / all epochs, in [0, 1).
        """


def add_gradient(weight: nn.Parameter, value: Tensor, strength: float) -> None:
    """Add `strength * value` to the gradient, also of a weight that this step did not reach."""
    if weight.grad is None:
        weight.grad = value * strength
    else:
        weight.grad.add_(value, alpha=strength)
