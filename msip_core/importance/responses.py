"""Responses of Conv blocks, watched as they pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn


def conv_blocks(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every Conv block (convolution, batch norm, activation), by the name of its convolution."""
    for name, module in model.named_modules():
        if isinstance(getattr(module, "conv", None), nn.Conv2d) and hasattr(module, "act"):
            yield f"{name}.conv", module


@contextmanager
def watched(model: nn.Module, see: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call `see(name of the convolution, output)` for every Conv block while inside."""

    def hook(name: str) -> Callable[..., None]:
        return lambda _module, _inputs, output: see(name, output.detach())

    handles = [block.register_forward_hook(hook(name)) for name, block in conv_blocks(model)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
