"""MSIP's two thresholds.

msip          tau_g = alpha * m * kappa_g   m = median of I / kappa over all channels,
                                            kappa_g = what one channel of group g frees
msip-literal  tau_g = alpha * median(I_g)

Channels with I_c < tau_g are candidates: one alpha, a threshold per layer. What rounding and caps
leave to do is done by the lowest worth: I per MAC freed, or I / median(I_g).
Source: method sheet, section 3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msip_core.allocation.base import Allocation
from msip_core.allocation.table import GroupTable
from msip_core.allocation.window import Steps

ALPHA_MAX = 2.0
_TINY = 1e-300


class _Threshold(Allocation):
    """Keeps the channels of group g whose score is at least alpha * unit_g."""

    has_alpha = True
    upper = ALPHA_MAX

    def units(self, table: GroupTable) -> NDArray[np.float64]:
        """(g,) threshold of each group at alpha = 1."""
        raise NotImplementedError

    def wanted(self, table: GroupTable, x: float) -> NDArray[np.float64]:
        units = self.units(table)
        return np.array(
            [(s >= x * u).sum() for s, u in zip(table.scores, units, strict=True)], float
        )


class LossPerMacAllocation(_Threshold):
    """One price for a MAC in the whole network (`msip`)."""

    def units(self, table: GroupTable) -> NDArray[np.float64]:
        kappa = table.kappa(self.limits.cost)
        rates = zip(table.scores, kappa, table.open, strict=True)
        rate = np.concatenate([s / k for s, k, is_open in rates if is_open])
        return float(np.median(rate)) * kappa

    def worth(self, table: GroupTable, x: float, steps: Steps) -> NDArray[np.float64]:
        freed = steps.macs
        if self.limits.cost != "macs":
            freed = table.kappa(self.limits.cost)[steps.groups] * (steps.many - steps.few)
        return step_sums(table, steps) / np.maximum(freed, _TINY)


class MedianAllocation(_Threshold):
    """Each layer against its own median (`msip-literal`)."""

    def units(self, table: GroupTable) -> NDArray[np.float64]:
        return np.array([lower_median(s) for s in table.scores])

    def worth(self, table: GroupTable, x: float, steps: Steps) -> NDArray[np.float64]:
        medians = np.maximum(self.units(table)[steps.groups], _TINY)
        return step_sums(table, steps) / (steps.many - steps.few) / medians


def step_sums(table: GroupTable, steps: Steps) -> NDArray[np.float64]:
    """(n,) sum of the scores of each step's channels."""
    out = np.empty(len(steps.groups))
    for i, (g, few, many) in enumerate(zip(steps.groups, steps.few, steps.many, strict=True)):
        sums = table.sums[g]
        width = len(sums) - 1
        out[i] = sums[width - few] - sums[width - many]
    return out


def lower_median(values: NDArray[np.float64]) -> float:
    """Lower middle value, as torch.median gives it."""
    return float(np.sort(values)[(len(values) - 1) // 2])
