"""Uniform: every group keeps the same share of its original channels.

The share is solved for the MACs, and counts from the original widths: counted from the current
ones, rounding up in every iteration would add up (16 rounds of 3.35 % leave 14 of 32 channels
instead of 18).
Source: Li et al. 2017, arXiv:1608.08710.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msip_core.allocation.base import Allocation
from msip_core.allocation.table import GroupTable
from msip_core.allocation.window import Steps


class UniformAllocation(Allocation):
    """Scalar x = share of the original channels that every group loses."""

    def wanted(self, table: GroupTable, x: float) -> NDArray[np.float64]:
        kept = table.original.astype(np.float64) * (1 - x)
        return np.rint(kept) if self.limits.multiple == 1 else kept

    def worth(self, table: GroupTable, x: float, steps: Steps) -> NDArray[np.float64]:
        # What lies furthest above the common share goes first.
        middle = (steps.few + steps.many) / 2
        original = table.original[steps.groups]
        return np.asarray((1 - x) - middle / original, np.float64)
