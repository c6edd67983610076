"""How responses of Conv blocks vary: how often a channel is active, how much, and how far from the
other channels of its layer.

    sparsity  share of positions where |a| is above SPARSITY_EPS times the rms of the layer
    spread    standard deviation of each response: a constant one says nothing
    distance  mean over the layer's channels j of the root mean square of a_c - a_j

The rms comes from a look at the first images; then every batch is counted once, so memory does not
grow with the number of images. Spread and distance are of POSITIONS positions of a layer and few
images.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from msip_core.importance.cells import EveryFew
from msip_core.importance.responses import watched
from msip_core.importance.statistic import Found, Scene, Statistic

SPARSITY_EPS = 0.1  # share of a layer's rms below which a response or weight counts as none
POSITIONS = 2048  # of a few images and a layer, whose responses are multiplied with one another
_KINDS = frozenset({"sparsity", "spread", "distance"})


class Activity(Statistic):
    """Of every Conv block."""

    kinds = _KINDS
    alongside = {"sparsity": _KINDS}
    wants = frozenset({"look", "batches"})

    def __init__(self, scene: Scene, asked: frozenset[str]) -> None:
        super().__init__(scene, asked)
        self._layers: dict[str, LayerActivity] = {}
        self._positions = EveryFew(scene.calibration, scene.device, POSITIONS)

    def look(self, part: range) -> AbstractContextManager[Any]:
        return watched(self.scene.model, lambda name, a: self._layer(name).look(a))

    def looked(self) -> None:
        for layer in self._layers.values():
            layer.settle()

    def batch(self, part: range) -> AbstractContextManager[Any]:
        return watched(
            self.scene.model,
            lambda name, a: self._layer(name).count(
                a, *self._positions.of(part, a.shape[2] * a.shape[3])
            ),
        )

    def end_part(self) -> None:
        self._positions.forget()

    def _layer(self, name: str) -> LayerActivity:
        return self._layers.setdefault(name, LayerActivity(SPARSITY_EPS))

    def result(self) -> Found:
        return {
            kind: {name: getattr(layer, kind)() for name, layer in self._layers.items()}
            for kind in self.asked
        }


class LayerActivity:
    """Counts of one Conv block's output (c channels)."""

    def __init__(self, eps: float) -> None:
        self.eps = eps
        self._square: Tensor | float = 0.0
        self._values = self.positions = self.seen = 0
        self.threshold: Tensor | float = 0.0
        self.quiet: Tensor | float = 0.0
        self.products: Any = 0.0
        self.sums: Any = 0.0

    def look(self, a: Tensor) -> None:
        """Take the scale from one micro-batch `a` (b, c, h, w)."""
        norm = torch.linalg.vector_norm(a, dtype=torch.float64)
        self._square = self._square + norm.square()
        self._values += a.numel()

    def settle(self) -> None:
        """Fix the threshold after the look."""
        square = torch.as_tensor(self._square, dtype=torch.float64)
        self.threshold = self.eps * (square / max(1, self._values)).sqrt()

    def count(self, a: Tensor, images: Tensor, cells: Tensor) -> None:
        """Count one micro-batch (b, c, h, w).

        Args:
            images, cells: (k,) positions whose responses are multiplied with one another.
        """
        # Bytes add up several times as fast as truth values, rows as fast as they lie in memory.
        quiet = (a.abs() <= self.threshold).flatten(2).view(torch.uint8)
        self.quiet = self.quiet + quiet.sum(2, dtype=torch.int32).sum(0).double()
        self.positions += a.shape[0] * a.shape[2] * a.shape[3]
        some = a.flatten(2).transpose(0, 1)[:, images, cells].float()
        self.products = self.products + (some @ some.t()).double()
        self.sums = self.sums + some.sum(1).double()
        self.seen += some.shape[1]

    def sparsity(self) -> Tensor:
        """(c,) share of positions with |a| above the threshold; a dead channel has 0."""
        return 1 - torch.as_tensor(self.quiet) / max(1, self.positions)

    def spread(self) -> Tensor:
        """(c,) standard deviation of each response."""
        mean = self.sums / max(1, self.seen)
        square: Tensor = self.products.diagonal() / max(1, self.seen)
        return (square - mean**2).clamp_min(0).sqrt()

    def distance(self) -> Tensor:
        """(c,) mean over the layer's channels j of the root mean square of a_c - a_j."""
        products = self.products / max(1, self.seen)
        squares: Tensor = products.diagonal()
        return (squares[:, None] + squares - 2 * products).clamp_min(0).sqrt().mean(1)
