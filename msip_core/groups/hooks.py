"""Looking at a network while it runs: what passes its layers, and its modes left as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from torch import nn

K = TypeVar("K")


@contextmanager
def heard(layers: Mapping[K, nn.Module], hear: Callable[[K, Any, Any], Any]) -> Iterator[None]:
    """While open, every forward of these layers calls `hear(key, inputs, output)`; what that
    returns, unless it is None, takes the place of the output."""

    def told(key: K) -> Callable[[nn.Module, Any, Any], Any]:
        return lambda _layer, inputs, output: hear(key, inputs, output)

    with ExitStack() as hooks:
        for key, layer in layers.items():
            hooks.enter_context(layer.register_forward_hook(told(key)))
        yield


@contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Every module is in training or evaluation afterwards as it was before."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
