"""What a run's goal counts: multiply-adds, parameters, or milliseconds.

    count(widths) <= keep * count(unpruned)

An allocation solves its scalar, and a schedule its corridors, on this count alone; both are the
same whatever it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msip_core.config import GoalKind, PruneConfig
from msip_core.groups.budget import Budget
from msip_core.groups.latency import LatencyMeter
from msip_core.messages import mark, msg

# Count of a network with these kept widths: (..., g) -> (...,).
Meter = Callable[[Budget, NDArray[Any]], NDArray[np.float64]]

NOUNS: dict[GoalKind, str] = {
    "macs": mark("multiply-adds"),
    "params": mark("parameters"),
    "latency": mark("milliseconds"),
}
EXACT: dict[GoalKind, Meter] = {"macs": Budget.macs, "params": Budget.params}


@dataclass(frozen=True)
class Goal:
    """How much of what may be left at the end.

    Attributes:
        keep: share of the unpruned network's count.
        baseline: that count.
        meter: how any network is counted, without surgery.
    """

    kind: GoalKind
    keep: float
    baseline: float
    meter: Meter

    @property
    def amount(self) -> float:
        return self.keep * self.baseline

    @property
    def noun(self) -> str:
        return NOUNS[self.kind]

    def of(self, budget: Budget, widths: NDArray[Any] | None = None) -> float:
        """Count of one network, at its present widths or others."""
        return float(self.meter(budget, budget.widths if widths is None else widths))

    def anchored(self, budget: Budget, count: float) -> Goal:
        """The same goal, its prediction moved to what was measured of this network; what is
        counted exactly stays."""
        if not isinstance(self.meter, LatencyMeter):
            return self
        return replace(self, meter=self.meter.anchored(budget, count))


def goal_of(config: PruneConfig, whole: Budget, latency: Meter | None = None) -> Goal:
    """The goal of a run.

    Args:
        whole: budget of the unpruned network.
        latency: how milliseconds are told; only a goal in milliseconds needs it.
    """
    kind, keep = config.goal
    meter = latency if kind == "latency" else EXACT[kind]
    if meter is None:
        raise ValueError(msg("a goal in milliseconds needs a table of measured layers"))
    return Goal(kind, keep, float(meter(whole, whole.widths)), meter)
