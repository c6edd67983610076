"""Mixed: first blocks, then channels.

The `config.blocks` bottlenecks of the lowest score go in the first iteration; whatever else the
corridors of the run ask for, from this iteration on, is taken from channels, scored on the network
without these blocks. Source: method sheet, section 5.
"""

from __future__ import annotations

from torch import nn

from msip_core.allocation.goal import Goal
from msip_core.errors import ConfigError, GoalUnreachableError
from msip_core.groups.budget import Budget
from msip_core.pruning.blocks import check_some, eligible, lowest
from msip_core.pruning.bottlenecks import bottlenecks
from msip_core.pruning.channels import Channels
from msip_core.pruning.granularity import Scene, freed_by
from msip_core.pruning.schedule import final_window


class Mixed(Channels):
    """`config.blocks` bottlenecks, then channels to the goal."""

    def takes_blocks(self, iteration: int) -> bool:
        return iteration == 1

    def scores_blocks(self, iteration: int) -> bool:
        return iteration == 1

    def choose_blocks(self, scene: Scene) -> tuple[str, ...]:
        sites = eligible(scene.sites, self.config.block_score)
        return lowest(sites, scene.scores(sites), self.config.blocks)

    def check(self, model: nn.Module, budget: Budget, goal: Goal) -> None:
        sites, count = eligible(bottlenecks(model), self.config.block_score), self.config.blocks
        check_some(sites)
        if count > len(sites):
            raise ConfigError(
                "This network has {n} blocks that could be removed, not {count}: ask for fewer.",
                n=len(sites),
                count=count,
            )
        most = sum(sorted(freed_by(goal, budget, sites).values())[-count:])
        if goal.baseline - most < final_window(goal.amount, self.config.limits.multiple).low:
            raise GoalUnreachableError(
                "Removing {count} of the blocks can take the network down to {most:.1%} of the "
                "{noun}, below the {keep:.1%} asked: ask for fewer blocks, or keep less.",
                count=count,
                most=1 - most / goal.baseline,
                noun=goal.noun,
                keep=goal.keep,
            )
        super().check(model, budget, goal)

    def least(self, model: nn.Module, budget: Budget, goal: Goal) -> float:
        """Whichever blocks go, so with those that free least."""
        low = self._lowest(model, budget)
        sites = eligible(bottlenecks(model), self.config.block_score)
        least_freed = sorted(freed_by(goal, budget, sites, low).values())[: self.config.blocks]
        return goal.of(budget, low) - sum(least_freed)
