"""The device for methods that give each group its own pruning ratio.

    width_g(x) = original_g * (1 - clip(x * r_g, 0, .8))

with one scalar x, solved on predicted MACs: whatever ratios r_g a method finds, they are compared
at equal MACs. Ratios count from the original widths, so many small iterations do not round up again
and again. A step of channels is worth the x at which its middle would go, so what rounding and caps
leave to do follows the ratios too (and goes on beyond .8 where the goal asks for it).
Source: method sheet, section 4.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from msip_core.allocation.base import Allocation
from msip_core.allocation.goal import NOUNS
from msip_core.allocation.table import GroupTable
from msip_core.allocation.window import Steps
from msip_core.messages import msg

MAX_RATIO = 0.8
_TINY = 1e-9  # a group whose ratio is 0 gives its channels last, but before the goal is missed
_NO_CUT = 0.995  # share of the MACs beyond which ratios cut nothing worth naming


class RatioAllocation(Allocation):
    """Scalar x = factor on all ratios."""

    @abstractmethod
    def ratios(self, table: GroupTable) -> NDArray[np.float64]:
        """(g,) pruning ratio of each group in [0, 1), from the original width."""

    def wanted(self, table: GroupTable, x: float) -> NDArray[np.float64]:
        """Widths at x; `upper` stands for the x at which every group with a ratio is at .8."""
        removed = np.clip(x * self._scaled(table), 0, MAX_RATIO)
        kept = table.original * (1 - removed)
        return np.rint(kept) if self.limits.multiple == 1 else kept

    def worth(self, table: GroupTable, x: float, steps: Steps) -> NDArray[np.float64]:
        middle = (steps.few + steps.many) / 2
        gone = 1 - middle / table.original[steps.groups]
        ratios = np.maximum(self._scaled(table)[steps.groups], _TINY)
        return np.asarray(gone / ratios, np.float64)

    def _scaled(self, table: GroupTable) -> NDArray[np.float64]:
        """Ratios times what takes the smallest of them to .8, so that x stays in [0, 1]."""
        ratios = self.ratios(table)
        some = ratios[ratios > _TINY]
        return ratios * (MAX_RATIO / some.min()) if len(some) else ratios


def unscaled_share(table: GroupTable, ratios: NDArray[np.float64]) -> float:
    """Share of what the goal counts that these ratios leave as they are, before any scalar."""
    return float(table.count(table.original * (1 - ratios)) / table.count(table.original))


def unscaled_sentence(share: float, goal: float, noun: str = NOUNS["macs"]) -> str:
    """What the ratios would leave by themselves, and that they are scaled."""
    if share > _NO_CUT:
        return msg(
            "These ratios alone cut next to nothing; they are scaled to {goal:.1%}.", goal=goal
        )
    return msg(
        "As they stand, these ratios leave {share:.1%} of the {noun}; they are scaled by "
        "one factor to {goal:.1%}.",
        share=share,
        noun=noun,
        goal=goal,
    )


def by_name(table: GroupTable, ratios: Mapping[str, float]) -> NDArray[np.float64]:
    """Named ratios in the order of the table.

    Raises:
        ValueError: a group has no ratio, or one outside [0, 1).
    """
    missing = [name for name in table.names if name not in ratios]
    if missing:
        raise ValueError(msg("no ratio for {missing}", missing=", ".join(missing)))
    values = np.array([ratios[name] for name in table.names], np.float64)
    if not ((values >= 0) & (values < 1)).all():
        raise ValueError(
            msg(
                "ratios must lie in [0, 1), got {low:.3g} to {high:.3g}",
                low=values.min(),
                high=values.max(),
            )
        )
    return values
