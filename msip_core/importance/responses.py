"""Responses of Conv blocks, watched as they pass, and what they tell about labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from msip_core.groups.hooks import heard


def conv_blocks(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every Conv block (convolution, batch norm, activation), by the name of its convolution."""
    for name, module in model.named_modules():
        if isinstance(getattr(module, "conv", None), nn.Conv2d) and hasattr(module, "act"):
            yield f"{name}.conv", module


def watched(model: nn.Module, see: Callable[[str, Tensor], None]) -> AbstractContextManager[None]:
    """Call `see(name of the convolution, output)` for every Conv block while inside."""
    return heard(dict(conv_blocks(model)), lambda name, _inputs, output: see(name, output.detach()))


def mutual_information(joint: Tensor) -> Tensor:
    """I(A; Y) in bits from joint counts (..., A, Y), plug-in estimate: (...,).

    [[4, 0], [0, 4]] gives 1; [[2, 2], [2, 2]] gives 0; [[3, 1], [1, 3]] gives .1887.
    """
    p = joint.double() / joint.sum((-2, -1), keepdim=True).clamp_min(1)
    product = p.sum(-1, keepdim=True) * p.sum(-2, keepdim=True)
    ratio = torch.where(p > 0, p / product.clamp_min(1e-300), torch.ones_like(p))
    return (p * ratio.log2()).sum((-2, -1)).clamp_min(0)
