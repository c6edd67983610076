"""Bringing rounded widths into a window of what the goal counts, by the cheapest steps.

A step takes one group to the next multiple below (or above). Above the window the step of least
worth goes first, below it the one of most worth comes back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msip_core.allocation.table import Corridor
from msip_core.groups.budget import Budget, Widths


@dataclass(frozen=True)
class Steps:
    """One possible step per group.

    Attributes:
        groups: (n,) index of each group.
        few, many: (n,) width without and with the step's channels.
        macs: (n,) MACs that the step's channels cost.
        freed: (n,) the same in what the goal counts.
    """

    groups: NDArray[np.int64]
    few: Widths
    many: Widths
    macs: NDArray[np.float64]
    freed: NDArray[np.float64]


Count = Callable[[NDArray[Any]], NDArray[np.float64]]
Worth = Callable[[Steps], NDArray[np.float64]]


def settle(
    budget: Budget, widths: Widths, low: Widths, corridor: Corridor, *, step: int, worth: Worth,
    count: Count,
) -> Widths:  # fmt: skip
    """Widths inside the corridor where steps allow it, else as near as they allow.

    Args:
        widths: start, between `low` and the budget's current widths.
        step: 1, or the multiple that widths keep.
        count: what the goal counts, of widths.
    """
    kept, best, best_gap = widths.copy(), widths.copy(), np.inf
    given_back: set[int] = set()  # a group that overshot is not taken again: no cycles
    for _ in range(int(budget.widths.sum())):
        now = float(count(kept))
        gap = max(now - corridor.high, corridor.low - now, 0.0)
        if gap < best_gap:
            best, best_gap = kept.copy(), gap
        if gap == 0:
            return kept
        down = now > corridor.high
        steps = _steps(budget, kept, low, step, count, down=down)
        if down:
            steps = _without(steps, given_back)
        if not len(steps.groups):
            break
        chosen = _choose(steps, worth(steps), now, corridor, down=down)
        group = int(steps.groups[chosen])
        if not down:
            given_back.add(group)
        kept[group] = steps.few[chosen] if down else steps.many[chosen]
    return best


def _steps(
    budget: Budget, kept: Widths, low: Widths, step: int, count: Count, *, down: bool
) -> Steps:
    """The steps that limits allow, with the cost of each."""
    if down:
        many, few = kept, np.maximum((kept - 1) // step * step, low)
        open_ = few < many
    else:
        few, many = kept, np.minimum((kept // step + 1) * step, budget.widths)
        open_ = many > few
    groups = np.flatnonzero(open_)
    few, many = few[groups], many[groups]
    trial = np.repeat(kept[None], len(groups), axis=0)
    trial[np.arange(len(groups)), groups] = few if down else many
    if not len(groups):
        return Steps(groups, few, many, np.zeros(0), np.zeros(0))
    macs, freed = (np.abs(cost(trial) - cost(kept)) for cost in (budget.macs, count))
    return Steps(groups, few, many, macs, freed)


def _without(steps: Steps, groups: set[int]) -> Steps:
    keep = np.array([g not in groups for g in steps.groups], bool)
    return Steps(
        *(values[keep] for values in (steps.groups, steps.few, steps.many, steps.macs, steps.freed))
    )


def _choose(
    steps: Steps, worth: NDArray[np.float64], now: float, corridor: Corridor, *, down: bool
) -> int:
    """The step of least (or, on the way up, most) worth that does not pass the window's far side;
    where all do, the smallest."""
    allowed = now - steps.freed >= corridor.low if down else now + steps.freed <= corridor.high
    if not allowed.any():
        return int(np.argmin(steps.freed))
    rank = worth if down else -worth
    return int(np.flatnonzero(allowed)[np.argmin(rank[allowed])])
