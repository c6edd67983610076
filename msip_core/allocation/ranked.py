"""Global: all channels of all groups in one ranking; the lowest go.

Only meaningful for scores that compare across groups (LAMP, Taylor, scores divided by their
group's mean). torch-pruning's global mode lets a layer fall from 16 channels to 1 in one step and
skips a layer that lies entirely below the threshold; here the caps hold and MACs are met.
Source: Liu et al. 2017, arXiv:1708.06519.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msip_core.allocation.base import Allocation
from msip_core.allocation.msip import step_sums
from msip_core.allocation.table import GroupTable
from msip_core.allocation.window import Steps


class GlobalAllocation(Allocation):
    """Scalar x = share of all channels that lie below the threshold."""

    def wanted(self, table: GroupTable, x: float) -> NDArray[np.float64]:
        pooled = np.sort(np.concatenate(table.scores))
        index = int(x * len(pooled))
        if index >= len(pooled):
            return np.zeros(len(table.names))
        return np.array([(s >= pooled[index]).sum() for s in table.scores], float)

    def worth(self, table: GroupTable, x: float, steps: Steps) -> NDArray[np.float64]:
        return step_sums(table, steps) / (steps.many - steps.few)
