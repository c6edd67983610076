"""Blocks: whole bottlenecks go, those of the lowest score first.

Which one is the least is said by `config.block_score` (pruning.block_scores). An iteration takes
them, lowest score first, until its count is at or below the upper edge of its corridor (the last
one: the goal), and then puts back, highest score first, those that this did not need. Blocks are
coarse, so a run ends at or below its goal, at the nearest block. YOLOv8 n and s have ten
bottlenecks, about a third of their MACs: what lies below can only be reached with channels
(granularity "mixed").
Source: method sheet, section 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import fsum

from torch import nn

from msip_core.allocation.goal import Goal
from msip_core.errors import ConfigError
from msip_core.groups.budget import Budget
from msip_core.messages import msg
from msip_core.pruning.bottlenecks import Site, bottlenecks, is_sound, with_followers
from msip_core.pruning.granularity import Granularity, Scene, freed_by


class Blocks(Granularity):
    """Only bottlenecks go; channels stay as they are."""

    takes_channels = False

    def takes_blocks(self, iteration: int) -> bool:
        return True

    def scores_blocks(self, iteration: int) -> bool:
        return True

    def candidates(self, sites: Sequence[Site]) -> tuple[Site, ...]:
        """Bottlenecks that may go."""
        return eligible(sites, self.config.block_score)

    def choose_blocks(self, scene: Scene) -> tuple[str, ...]:
        sites = self.candidates(scene.sites)
        excess = scene.goal.of(scene.budget) - scene.edge
        if excess <= 0 or not sites:
            return ()
        freed = freed_by(scene.goal, scene.budget, sites)
        return cheapest(sites, scene.scores(sites), freed, excess)

    def check(self, model: nn.Module, budget: Budget, goal: Goal) -> None:
        sites = self.candidates(bottlenecks(model))
        check_some(sites)
        self._require(
            self.least(model, budget, goal),
            goal,
            msg("without any of its {n} blocks it would", n=len(sites)),
            msg("Keep more, or choose the granularity 'mixed', which goes on with channels."),
        )

    def least(self, model: nn.Module, budget: Budget, goal: Goal) -> float:
        sites = self.candidates(bottlenecks(model))
        return goal.of(budget) - sum(freed_by(goal, budget, sites).values())


def eligible(sites: Sequence[Site], score: str) -> tuple[Site, ...]:
    """Bottlenecks that this score can judge: the cosine compares a bottleneck's output with its
    input, which only says something where the one is meant to stand for the other."""
    return tuple(site for site in sites if site.shortcut or score != "cosine")


def cheapest(
    sites: Sequence[Site], scores: Mapping[str, float], freed: Mapping[str, float], excess: float
) -> tuple[str, ...]:
    """The lowest-scored bottlenecks that free at least `excess` (or all of them).

    Of equal scores the one that frees more goes first, then the first of the network.
    """
    place = {site: i for i, site in enumerate(sites)}
    order = sorted(sites, key=lambda s: (scores[s.name], -freed[s.name], place[s]))

    def enough(some: Iterable[Site]) -> bool:
        return fsum(freed[site.name] for site in some) >= excess

    gone: set[Site] = set()
    for site in order:
        if enough(gone):
            break
        gone.update(with_followers(sites, site))
    for site in reversed(order):
        rest = gone - {site}
        if site in gone and is_sound(sites, rest) and enough(rest):
            gone = rest
    return tuple(site.name for site in sites if site in gone)


def lowest(sites: Sequence[Site], scores: Mapping[str, float], count: int) -> tuple[str, ...]:
    """The `count` bottlenecks of lowest score, in network order; where one without a shortcut
    would leave others behind, its last follower goes instead."""
    gone: set[Site] = set()
    for _ in range(count):
        free = [s for s in sites if s not in gone and is_sound(sites, gone | {s})]
        gone.add(min(free, key=lambda s: scores[s.name]))
    return tuple(site.name for site in sites if site in gone)


def check_some(sites: Sequence[Site]) -> None:
    """Raise unless there is a block to remove."""
    if not sites:
        raise ConfigError(
            "This network has no blocks that could be removed this way: choose the granularity "
            "'channels'."
        )
