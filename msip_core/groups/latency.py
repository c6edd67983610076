"""Milliseconds of a network with any kept widths, from times of its single layers.

    t(widths) = fixed + scale * sum over convolutions of t_layer(in, out)

`scale` carries what single layers do not know of the whole, `fixed` what no width changes: joining
and pooling maps, decoding, starting the work (on a GPU easily a third of all). Both come from whole
networks that were measured: one gives the scale, a second one of clearly other widths both.
Source: Yang et al. 2018 (NetAdapt), arXiv:1804.03230.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msip_core.groups.budget import Budget
from msip_core.groups.layers import Grid

_APART = 0.05  # of the sum: two networks nearer than this tell little of what is fixed


@dataclass(frozen=True)
class LatencyMeter:
    """Counts milliseconds.

    Attributes:
        grids: convolution name -> its times; must hold every convolution of the unpruned network.
        scale, fixed: as above; milliseconds.
        known: the network that was measured first: sum of its layers, and milliseconds.
    """

    grids: Mapping[str, Grid]
    scale: float = 1.0
    fixed: float = 0.0
    known: tuple[float, float] | None = None

    def __call__(self, budget: Budget, widths: NDArray[Any]) -> NDArray[np.float64]:
        """(..., g) -> (...,) milliseconds."""
        return self.fixed + self.scale * self.sums(budget, widths)

    def sums(self, budget: Budget, widths: NDArray[Any]) -> NDArray[np.float64]:
        """(..., g) -> (...,) sum of the layers' own times."""
        inputs, outputs = budget.channels(np.atleast_2d(widths))
        total = np.zeros(len(inputs))
        for i, name in enumerate(budget.layer_names):
            total += self.grids[name].at(inputs[:, i], outputs[:, i])
        return total.reshape(np.shape(widths)[:-1])

    def worth(self, budget: Budget, widths: NDArray[Any]) -> float:
        """How much of the network is kept, each layer's multiply-adds weighed by the time that they
        take at full width: 1 for the unpruned network that `budget` is of."""
        before, after = budget.channels(budget.widths), budget.channels(widths)
        whole = kept = 0.0
        for i, name in enumerate(budget.layer_names):
            grid, (inputs, outputs) = self.grids[name], (before[0][i], before[1][i])
            full = float(grid.at(np.array([inputs]), np.array([outputs]))[0])
            # An image keeps its colours, and a depthwise filter reads one channel.
            read = 1.0 if len(grid.inputs) == 1 else after[0][i] / inputs
            whole += full
            kept += full * read * after[1][i] / outputs
        return kept / whole

    def anchored(self, budget: Budget, milliseconds: float) -> LatencyMeter:
        """The same, moved to what was measured of this network."""
        return self.through(budget, budget.widths, milliseconds)

    def through(self, budget: Budget, widths: NDArray[Any], milliseconds: float) -> LatencyMeter:
        """The same, moved to what was measured of the network with these kept widths."""
        here = (float(self.sums(budget, widths)), milliseconds)
        line = line_through(self.known, here)
        if line is None:
            fixed = self.fixed if self.fixed < milliseconds else 0.0
            line = (milliseconds - fixed) / here[0], fixed
        return replace(self, scale=line[0], fixed=line[1], known=self.known or here)

    def hopeful(self) -> LatencyMeter:
        """The same, with half of what seems fixed: the table may have been wrong about the cut
        that told it. By this, what cannot be reached is refused before anything is trained."""
        if self.known is None:
            return self
        half = self.fixed / 2
        return replace(self, fixed=half, scale=(self.known[1] - half) / self.known[0])


def line_through(
    one: tuple[float, float] | None, other: tuple[float, float]
) -> tuple[float, float] | None:
    """Slope and start of the line through two measured points (sum, milliseconds); None where they
    are too near each other, or the line would fall, or start below zero."""
    x, y = other
    if one is None or abs(one[0] - x) <= _APART * max(one[0], x):
        return None
    slope = (one[1] - y) / (one[0] - x)
    start = y - slope * x
    return (slope, start) if slope > 0 and start >= 0 else None
