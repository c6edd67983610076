"""LayerDrop's removal: bottlenecks with a shortcut go, every other one or those of lowest score.

    every other    depth d goes when d mod floor(1 / p) = 0

Depths count the shortcut bottlenecks of the unpruned network from 0. The share p follows from the
goal: the smallest whose bottlenecks take the count to the goal or below (p = 1/6, 1/5, 1/4, 1/3,
1/2, 1 for the six of YOLOv8 n and s). Iterations take them in the order of depth, each as many as
its corridor asks for, so a run stops at the block that meets its goal. The rule "score" takes the
lowest score first instead, as blocks do.

A network is prepared for this by training with stochastic depth (`TrainingRecipe.layerdrop`).
Source: Fan et al. 2020, arXiv:1909.11556 (transformers; the transfer to C2f is ours).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from msip_core.pruning.blocks import Blocks
from msip_core.pruning.bottlenecks import Site
from msip_core.pruning.granularity import Scene, freed_by


class LayerDrop(Blocks):
    """Only bottlenecks with a shortcut go."""

    def scores_blocks(self, iteration: int) -> bool:
        return self.config.layerdrop_rule == "score"

    def candidates(self, sites: Sequence[Site]) -> tuple[Site, ...]:
        return tuple(site for site in sites if site.shortcut)

    def choose_blocks(self, scene: Scene) -> tuple[str, ...]:
        if self.config.layerdrop_rule == "score":
            return super().choose_blocks(scene)
        here = {site.name: site for site in self.candidates(scene.sites)}
        due = [here[name] for name in self._planned(scene) if name in here]
        freed = freed_by(scene.goal, scene.budget, due)
        excess, gone = scene.goal.of(scene.budget) - scene.edge, []
        for site in due:
            if excess <= 0:
                break
            gone.append(site.name)
            excess -= freed[site.name]
        return tuple(gone)

    def _planned(self, scene: Scene) -> list[str]:
        """Names of all that the rule takes from the unpruned network for the goal of the run."""
        sites, whole = self.candidates(scene.whole_sites), scene.whole_budget
        freed = freed_by(scene.goal, whole, sites)
        for interval in range(len(sites), 0, -1):
            names = [sites[d].name for d in every_other(len(sites), 1 / interval)]
            if scene.goal.of(whole) - sum(freed[n] for n in names) <= scene.goal.amount:
                break
        return names


def every_other(count: int, p: float) -> tuple[int, ...]:
    """Depths, of 0 to count - 1, that the rule removes for the share p in [0, 1]."""
    if p <= 0:
        return ()
    # Rounded first, since 1 / (1 / 49) is a little below 49.
    interval = max(1, math.floor(round(1 / p, 9)))
    return tuple(d for d in range(count) if d % interval == 0)
