"""What an allocation gets and gives: scores per group, a corridor, channels to remove."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msip_core.allocation.goal import Meter
from msip_core.config import AllocationOptions, GoalKind
from msip_core.errors import ConfigError
from msip_core.groups.budget import Budget, Widths
from msip_core.messages import msg

Scores = NDArray[np.float64]
_LATENCY_STEP = 8


@dataclass(frozen=True)
class Corridor:
    """Counts between which an iteration must land, in what the goal counts.

    Attributes:
        aim: where a first or fixed-ratio step heads for.
    """

    low: float
    high: float
    aim: float


@dataclass(frozen=True)
class Selection:
    """Channels to remove.

    Attributes:
        removed: group name -> indices, ascending; groups that lose nothing are absent.
        widths: group name -> channels kept.
        macs: predicted MACs after the cut.
        count: predicted count after the cut, in what the goal counts.
        alpha: threshold factor that was used; None where the allocation has none.
        reached: the predicted count is not above the corridor.
        capped: groups that cannot lose more in this iteration.
    """

    removed: Mapping[str, tuple[int, ...]]
    widths: Mapping[str, int]
    macs: float
    count: float
    alpha: float | None
    reached: bool
    capped: tuple[str, ...]


class GroupTable:
    """Scores of all groups, in the order of the budget.

    Attributes:
        scores: per group (channels,) float64, higher = keep.
        original: (g,) channels of each group in the unpruned network.
        open: (g,) groups that may lose channels at all.
        meter: how the goal counts a network.
        latency: how milliseconds are counted, where a table of this computer is there.
    """

    def __init__(
        self,
        budget: Budget,
        scores: Mapping[str, Scores],
        original: Mapping[str, int],
        open: NDArray[np.bool_] | None = None,
        *,
        meter: Meter = Budget.macs,
        latency: Meter | None = None,
    ) -> None:
        self.meter, self.latency = meter, latency
        self.budget = budget
        self.names = budget.names
        self.scores = tuple(np.asarray(scores[name], np.float64) for name in self.names)
        self.original: Widths = np.array([original[name] for name in self.names], np.int64)
        self.open = np.ones(len(self.names), bool) if open is None else open
        for name, score, width in zip(self.names, self.scores, budget.widths, strict=True):
            if score.shape != (width,):
                raise ValueError(
                    msg(
                        "{name}: {shape} scores for {width} channels",
                        name=name,
                        shape=score.shape,
                        width=width,
                    )
                )
            if not np.isfinite(score).all():  # NaN compares false: it would be pruned
                raise ConfigError(
                    "The importance of layer {name} is not a number; the model has probably "
                    "diverged. Lower the learning rate or choose another baseline.",
                    name=name,
                )
        # Stable: equal scores go in channel order, so a run can be repeated.
        self.order = tuple(np.argsort(s, kind="stable") for s in self.scores)
        self.sums = tuple(
            np.concatenate([[0.0], np.cumsum(s[o])])
            for s, o in zip(self.scores, self.order, strict=True)
        )

    def count(self, widths: NDArray[Any]) -> NDArray[np.float64]:
        """What the goal counts of these kept widths: (..., g) -> (...,)."""
        return self.meter(self.budget, widths)

    def rescaled(self, factor: float) -> GroupTable:
        """The same table, its count multiplied: what was measured over what was predicted."""
        twin, meter = copy(self), self.meter
        twin.meter = lambda budget, widths: factor * meter(budget, widths)
        return twin

    def kappa(self, cost: GoalKind) -> NDArray[np.float64]:
        """What one channel of each group costs: (g,).

        Milliseconds come in steps of 8 channels, so a channel's are an eighth of its step's.
        """
        if cost != "latency":
            return self.budget.kappa(cost)
        if self.latency is None:
            raise ValueError(
                msg("weighing channels by milliseconds needs a table of measured layers")
            )
        now = self.budget.widths
        step = np.minimum(_LATENCY_STEP, np.maximum(now - 1, 1))
        freed = self.latency(self.budget, now) - self.latency(self.budget, now - np.diag(step))
        # A layer may be no faster with fewer channels; dividing by that must stay possible.
        return np.maximum(freed / step, 1e-9)

    def lowest(self, limits: AllocationOptions, iterations: int = 1) -> Widths:
        """Fewest channels that each group may keep after so many iterations: (g,)."""
        low = lowest_widths(self.original, self.budget.widths, limits, iterations)
        return np.where(self.open, low, self.budget.widths)

    def removed(self, widths: Widths) -> dict[str, tuple[int, ...]]:
        """The lowest channels of each group, down to `widths`."""
        return {
            name: tuple(sorted(int(i) for i in order[: len(order) - kept]))
            for name, order, kept in zip(self.names, self.order, widths, strict=True)
            if kept < len(order)
        }


def lowest_widths(
    original: Widths, current: Widths, limits: AllocationOptions, iterations: int = 1
) -> Widths:
    """Fewest channels that each group may keep after this iteration, or after so many: (g,)."""
    widths = current
    for _ in range(iterations):
        lower = _lowest(original, widths, limits)
        if (lower == widths).all():
            break
        widths = lower
    return widths


def _lowest(original: Widths, current: Widths, limits: AllocationOptions) -> Widths:
    """Fewest channels that each group may keep in this iteration: (g,).

    At most `max_removed_per_iteration` of the current channels go and `min_kept` of the original
    ones stay. With multiples, the first limit is rounded to the nearest one, a single step is
    always allowed (else a group of 16 could never lose one), and no group falls below 8.
    """
    step = limits.multiple
    floor = np.maximum(np.ceil(limits.min_kept * original - 1e-9), 1)
    capped = current - np.floor(limits.max_removed_per_iteration * current + 1e-9)
    if step > 1:
        floor = np.maximum(_up(floor, step), min(step, 8))
        capped = np.minimum(np.rint(capped / step) * step, (current - 1) // step * step)
    return np.minimum(current, np.maximum(floor, capped)).astype(np.int64)


def _up(values: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    return np.ceil(values / step) * step
