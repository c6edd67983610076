"""The device that all allocations share: a scalar, bisected to a corridor, then rounded.

An allocation says which widths it wants for a scalar x (more x, fewer channels) and what a step
of channels is worth. This class keeps the caps, solves x on the predicted count of what the goal
counts (multiply-adds, parameters or milliseconds), rounds every group to its multiple, and mends
what rounding broke by the cheapest steps, so that every method is compared at equal counts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from msip_core.allocation.table import Corridor, GroupTable, Selection
from msip_core.allocation.window import Steps, settle
from msip_core.config import AllocationOptions

_HALVINGS = 60
WidthsAt = Callable[[float], NDArray[np.float64]]


class Allocation(ABC):
    """How many channels each group loses.

    Attributes:
        has_alpha: the scalar is the paper's alpha and follows the validation loss.
        upper: largest value of the scalar.
    """

    has_alpha: bool = False
    upper: float = 1.0

    def __init__(self, limits: AllocationOptions) -> None:
        self.limits = limits

    @abstractmethod
    def wanted(self, table: GroupTable, x: float) -> NDArray[np.float64]:
        """(g,) widths asked for at scalar x, before caps and rounding; falls as x grows."""

    @abstractmethod
    def worth(self, table: GroupTable, x: float, steps: Steps) -> NDArray[np.float64]:
        """(n,) worth of each step of channels, per unit of what it frees; low ones go first."""

    def allocate(
        self, table: GroupTable, corridor: Corridor, gain: float = 1.0, iterations: int = 1
    ) -> Selection:
        """Choose the channels to remove so that the count lands in the corridor.

        Args:
            gain: feedback of the run. The scalar that meets `corridor.aim` is multiplied by it;
                where the count then leaves the corridor, it is bisected to the nearer edge.
            iterations: how many iterations' limits this one cut may use up (a preview: all).

        Returns:
            A selection; `reached` is False where the caps end it above the corridor.
        """
        edge = corridor.high
        low = table.lowest(self.limits, iterations)

        def widths(x: float) -> NDArray[np.float64]:
            return np.clip(self.wanted(table, x), low, table.budget.widths)

        x = self._solve(table, corridor, widths, gain)
        if x >= self.upper:
            # The threshold is at its end: the cheapest steps go on to the aim, not merely to the
            # corridor's edge, else the last iteration would have to make up for all of it.
            corridor = Corridor(corridor.low, max(corridor.low, corridor.aim), corridor.aim)
        rounded = self._round(widths(x), low, table.budget.widths)
        kept = settle(
            table.budget,
            rounded,
            low,
            corridor,
            step=self.limits.multiple,
            worth=lambda steps: self.worth(table, x, steps),
            count=table.count,
        )
        count = float(table.count(kept))
        return Selection(
            removed=table.removed(kept),
            widths=dict(zip(table.names, (int(k) for k in kept), strict=True)),
            macs=float(table.budget.macs(kept)),
            count=count,
            alpha=x if self.has_alpha else None,
            reached=count <= edge,
            capped=tuple(np.array(table.names)[table.open & (kept <= low)].tolist()),
        )

    def _solve(self, table: GroupTable, corridor: Corridor, widths: WidthsAt, gain: float) -> float:
        """The scalar, bisected on the predicted count."""
        x = self._bisect(table, widths, corridor.aim)
        if gain == 1:
            return x
        x = min(max(x * gain, 0.0), self.upper)
        count = float(table.count(widths(x)))
        if corridor.low <= count <= corridor.high:
            return x
        return self._bisect(table, widths, corridor.high if count > corridor.high else corridor.low)

    def _bisect(self, table: GroupTable, widths: WidthsAt, goal: float) -> float:
        """Smallest scalar whose count is at most `goal` (kept widths fall as it grows)."""
        lower, upper = 0.0, self.upper
        if table.count(widths(upper)) > goal:
            return upper
        for _ in range(_HALVINGS):
            middle = (lower + upper) / 2
            if table.count(widths(middle)) > goal:
                lower = middle
            else:
                upper = middle
        return upper

    def _round(
        self, wanted: NDArray[np.float64], low: NDArray[np.int64], now: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Nearest multiple inside [low, now]; a group that loses nothing stays as it is."""
        step = self.limits.multiple
        rounded = np.rint(wanted / step) * step
        # Limits are multiples themselves, or the group's present width.
        rounded = np.where(wanted >= now, now, np.clip(rounded, low, now))
        return rounded.astype(np.int64)
