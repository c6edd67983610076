"""Milliseconds of a network with any kept widths, from times of its single layers.

    t(widths) = fixed + scale * sum over convolutions of t_layer(in, out)

`scale` carries what single layers do not know of the whole, `fixed` what no width changes: joining
and pooling maps, decoding, starting the work (on a GPU easily a third of all). Both come from whole
networks that were measured: one gives the scale, a second one of clearly other width both.
Source: Yang et al. 2018 (NetAdapt), arXiv:1804.03230.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msip_core.allocation.budget import Budget
from msip_core.detector.layer_times import Grid

_APART = 0.05  # of the sum: two networks nearer than this tell little of what is fixed


@dataclass(frozen=True)
class LatencyMeter:
    """Counts milliseconds.

    Attributes:
        grids: convolution name -> its times; must hold every convolution of the unpruned network.
        scale, fixed: as above; milliseconds.
        known: the last measured network: sum of its layers, and milliseconds.
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

    def anchored(self, budget: Budget, milliseconds: float) -> LatencyMeter:
        """The same, moved to what was measured of this network."""
        here = (float(self.sums(budget, budget.widths)), milliseconds)
        scale, fixed = line_through(self.known, here)
        return replace(self, scale=scale, fixed=fixed, known=here)


def line_through(
    one: tuple[float, float] | None, other: tuple[float, float]
) -> tuple[float, float]:
    """Slope and start of the line through two measured points (sum, milliseconds); through the
    origin and `other` where the two are too near each other, or the line would start below zero
    or fall."""
    x, y = other
    if one is not None and abs(one[0] - x) > _APART * max(one[0], x):
        slope = (one[1] - y) / (one[0] - x)
        if slope > 0 and y - slope * x >= 0:
            return slope, y - slope * x
    return y / x, 0.0
