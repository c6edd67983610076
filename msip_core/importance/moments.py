"""What the inputs of convolutions have in common, and how the loss bends with their outputs.

Moments are 8 bytes for each pair of inputs (42 MB for 256 channels under 3x3), so wide networks
pass several times. They are of full kernel windows: one value a channel would leave out that what a
channel alone says is smooth in space.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from msip_core.importance.windows import Places, norms_behind, windows

POSITIONS = 8192  # of every map, over all images


def readers(model: nn.Module) -> dict[str, nn.Conv2d]:
    """The convolutions whose inputs can stand in for one another; not the fixed sum of DFL."""
    head: Any = model.model[-1]  # type: ignore[index]
    fixed = set(head.dfl.modules())
    return {
        name: m
        for name, m in model.named_modules()
        if isinstance(m, nn.Conv2d) and m.groups == 1 and m not in fixed
    }


def centred_ones(model: nn.Module) -> set[nn.Conv2d]:
    """The convolutions behind which something can take up a change of the mean."""
    behind = norms_behind(model)
    convs = (m for m in model.modules() if isinstance(m, nn.Conv2d))
    return {conv for conv in convs if conv.bias is not None or conv in behind}


def moment_bytes(conv: nn.Conv2d) -> int:
    """What the moments of one convolution take."""
    return 8 * conv.weight[0].numel() ** 2


class OutputGradients:
    """Squares of the loss's gradient with respect to the outputs of convolutions."""

    def __init__(self, convs: Mapping[str, nn.Conv2d]) -> None:
        self.convs = convs
        self._batch: dict[str, Tensor] = {}
        self._total: dict[str, Tensor] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Add up, before any division of the loss, what passes back while inside."""
        with ExitStack() as hooks:
            for name, conv in self.convs.items():
                hooks.callback(conv.register_forward_hook(self._listener(name)).remove)
            yield

    def _listener(self, name: str) -> Any:
        def add(gradient: Tensor) -> None:
            square = gradient.square().sum((2, 3)).double().sum(0)
            self._batch[name] = self._batch.get(name, 0) + square

        def listen(_conv: nn.Module, _inputs: Any, output: Tensor) -> None:
            output.register_hook(add)

        return listen

    def close_batch(self, factor: Tensor | float) -> None:
        """Every gradient of the batch times this, as its parameters' are."""
        for name, square in self._batch.items():
            self._total[name] = self._total.get(name, 0) + factor**2 * square
        self._batch = {}

    def fisher(self, images: int) -> dict[str, Tensor]:
        """Convolution -> (out,) sum over positions, mean over images."""
        return {name: total / images for name, total in self._total.items()}


class Moments:
    """Sums and products of what convolutions read, over the places that are looked at."""

    def __init__(self, convs: Mapping[str, nn.Conv2d], places: Places) -> None:
        self.convs, self.places = convs, places
        self._sums: dict[str, Tensor] = {}
        self._products: dict[str, Tensor] = {}
        self._rows: dict[str, int] = {}

    @contextmanager
    def watching(self, part: range) -> Iterator[None]:
        """Add up what the images of these numbers make pass while inside."""
        with ExitStack() as hooks:
            for name, conv in self.convs.items():
                hooks.callback(conv.register_forward_hook(self._listener(name, part)).remove)
            yield

    def _listener(self, name: str, part: range) -> Any:
        def add(conv: nn.Conv2d, inputs: Any, output: Tensor) -> None:
            x = inputs[0].detach()
            cells = self.places(part, output.shape[2] * output.shape[3], x.device)
            rows = windows(conv, x, cells, output.shape[3])[:, 0]
            # MPS knows no float64; float32 would lose what varies about a large mean.
            rows = (rows.cpu() if x.device.type == "mps" else rows).double()
            self._sums[name] = self._sums.get(name, 0) + rows.sum(0)
            self._products[name] = self._products.get(name, 0) + rows.t() @ rows
            self._rows[name] = self._rows.get(name, 0) + len(rows)

        return add

    def take(self, name: str, *, centred: bool) -> Tensor:
        """(d, d) float64 X'X / n, about the mean where `centred`; not kept any longer."""
        rows = self._rows.pop(name)
        mean, products = self._sums.pop(name) / rows, self._products.pop(name) / rows
        return products - torch.outer(mean, mean) if centred else products
