"""Channels: coupled channels go, anywhere in the network (method sheet, sections 2 to 4).

Source of the couplings: Fang et al. 2023 (DepGraph), arXiv:2301.12900.
"""

from __future__ import annotations

from torch import nn

from msip_core.allocation.goal import Goal
from msip_core.groups.budget import Budget
from msip_core.messages import msg
from msip_core.pruning.granularity import Granularity


class Channels(Granularity):
    """Every group may lose channels."""

    where: str = ""  # said in a refusal: which layers the limits are about

    def check(self, model: nn.Module, budget: Budget, goal: Goal) -> None:
        limits, steps = self.config.limits, self.config.iterations
        self._require(
            self.least(model, budget, goal),
            goal,
            msg(
                "taking at most {most:.0%} of a layer's channels per iteration and leaving at "
                "least {least:.0%} of them{where}, {steps}",
                most=limits.max_removed_per_iteration,
                least=limits.min_kept,
                where=self.where,
                steps=msg("{n} iterations", n=steps)
                if steps > 1
                else msg("{n} iteration", n=steps),
            ),
            msg("Allow more iterations, a larger share per iteration, or keep more."),
        )

    def least(self, model: nn.Module, budget: Budget, goal: Goal) -> float:
        return goal.of(budget, self._lowest(model, budget))
