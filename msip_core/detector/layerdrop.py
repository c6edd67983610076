"""LayerDrop's training part: in each training forward a bottleneck with a shortcut is left out with
probability p, so that the network learns to do without it.

    x + F(x)  with probability 1 - p,   x  with probability p       (training only)

The whole batch takes the same path, what is left out is not computed, and nothing is rescaled:
evaluation uses every block. Bottlenecks without a shortcut cannot be left out, since their input
is not what the next layer expects.

Source: Fan et al. 2020, arXiv:1909.11556 (transformers; the transfer to C2f is ours).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn.modules import Bottleneck


@contextmanager
def layers_dropped(model: nn.Module, p: float) -> Iterator[None]:
    """While open, training forwards of `model` leave shortcut bottlenecks out by lot.

    The lot is torch's generator on the CPU, which every epoch seeds; p = 0 changes nothing and
    draws nothing.
    """
    blocks: list[Any] = shortcut_bottlenecks(model) if p else []
    for block in blocks:
        # On the instance, so that neither copies nor pickles of the class know of it.
        block.forward = _sometimes(block, block.forward, p)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


def shortcut_bottlenecks(model: nn.Module) -> list[Bottleneck]:
    """Bottlenecks that add their input to their output, in network order."""
    return [m for m in model.modules() if isinstance(m, Bottleneck) and m.add]


def _sometimes(
    block: nn.Module, whole: Callable[[Tensor], Tensor], p: float
) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        if block.training and float(torch.rand(())) < p:
            return x
        return whole(x)

    return forward
