"""Milliseconds of a network with any kept widths, from times of its single layers.

    t(widths) = scale * sum over convolutions of t_layer(in, out)

The scale carries what single layers do not know of the whole; it is set anew by every measurement
of a whole network (`anchored`).
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


@dataclass(frozen=True)
class LatencyMeter:
    """Counts milliseconds.

    Attributes:
        grids: convolution name -> its times; must hold every convolution of the unpruned network.
        scale: measured milliseconds over the sum of the layers'.
    """

    grids: Mapping[str, Grid]
    scale: float = 1.0

    def __call__(self, budget: Budget, widths: NDArray[Any]) -> NDArray[np.float64]:
        """(..., g) -> (...,) milliseconds."""
        inputs, outputs = budget.channels(np.atleast_2d(widths))
        total = np.zeros(len(inputs))
        for i, name in enumerate(budget.layer_names):
            total += self.grids[name].at(inputs[:, i], outputs[:, i])
        return (self.scale * total).reshape(np.shape(widths)[:-1])

    def anchored(self, budget: Budget, milliseconds: float) -> LatencyMeter:
        """The same, moved to what was measured of this network."""
        sums = float(replace(self, scale=1.0)(budget, budget.widths))
        return replace(self, scale=milliseconds / sums)
