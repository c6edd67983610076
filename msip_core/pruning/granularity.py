"""Granularity: what one cut may take away, blocks or channels or both.

One cut has up to two parts, always in this order:

    1. whole bottlenecks go        `choose_blocks` says which, from a `Scene`
    2. channels of what is left    `open_groups` says where an allocation may take them

A granularity only decides. Scores, trials and surgery are the caller's: an iteration of a run, or
the preview, which has nothing but the predicted costs. Before any work, `check` refuses a goal that
this granularity cannot reach.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from msip_core import catalog
from msip_core.allocation.goal import Goal
from msip_core.allocation.table import lowest_widths
from msip_core.config import PruneConfig
from msip_core.errors import GoalUnreachableError
from msip_core.groups.budget import Budget
from msip_core.pruning.bottlenecks import Site
from msip_core.pruning.schedule import final_window

BlockScores = Callable[[Sequence[Site]], Mapping[str, float]]


@dataclass(frozen=True)
class Scene:
    """What a granularity sees when it chooses blocks.

    Attributes:
        sites, budget: bottlenecks and costs of the present network.
        whole_sites, whole_budget: of the unpruned network.
        iteration: from 1.
        edge: count that this cut must not leave more than.
        goal: of the run, and how it counts.
        scores: bottleneck name -> score, low ones go first; may take a while.
    """

    sites: Sequence[Site]
    budget: Budget
    whole_sites: Sequence[Site]
    whole_budget: Budget
    iteration: int
    edge: float
    goal: Goal
    scores: BlockScores


class Granularity(ABC):
    """What one cut may take away.

    Attributes:
        takes_channels: an allocation chooses channels; else only blocks go.
    """

    takes_channels: bool = True

    def __init__(self, config: PruneConfig) -> None:
        self.config = config

    # --- what goes ---------------------------------------------------------------

    def takes_blocks(self, iteration: int) -> bool:
        """Whether blocks are chosen in this iteration (from 1)."""
        return False

    def scores_blocks(self, iteration: int) -> bool:
        """Whether they are chosen by score, not by rule."""
        return False

    def choose_blocks(self, scene: Scene) -> tuple[str, ...]:
        """Names of the bottlenecks that go, in network order."""
        return ()

    def open_groups(self, model: nn.Module, names: Sequence[str]) -> NDArray[np.bool_]:
        """(g,) groups that may lose channels, by the names of their roots."""
        return np.ones(len(names), bool)

    # --- how far that leads ----------------------------------------------------------

    @abstractmethod
    def check(self, model: nn.Module, budget: Budget, goal: Goal) -> None:
        """Refuse what cannot be done to this unpruned network, before any work.

        Raises:
            GoalUnreachableError: says what stops it, and how far one would come.
            ConfigError: settings that contradict each other.
        """

    @abstractmethod
    def least(self, model: nn.Module, budget: Budget, goal: Goal) -> float:
        """Count that the run can surely come down to."""

    # --- for subclasses ------------------------------------------------------------

    def _lowest(self, model: nn.Module, budget: Budget) -> NDArray[np.int64]:
        """Fewest channels of each group after all iterations."""
        low = lowest_widths(
            budget.widths, budget.widths, self.config.limits, self.config.iterations
        )
        return np.where(self.open_groups(model, budget.names), low, budget.widths)

    def _require(self, least: float, goal: Goal, limits: str, advice: str) -> None:
        """Raise unless the goal is at least `least`."""
        if least <= final_window(goal.amount, self.config.limits.multiple).high:
            return
        raise GoalUnreachableError(
            "{keep:.1%} of the {noun} cannot be reached: {limits} come down to "
            "{least:.1%} at best. {advice}",
            keep=goal.keep,
            noun=goal.noun,
            limits=limits,
            least=least / goal.baseline,
            advice=advice,
        )


def granularity_of(config: PruneConfig) -> Granularity:
    """The granularity that a config asks for."""
    granularity: Granularity = catalog.find("granularity", config.granularity).load()(config)
    return granularity


def freed_by(
    goal: Goal, budget: Budget, sites: Sequence[Site], widths: NDArray[np.int64] | None = None
) -> dict[str, float]:
    """Count that each bottleneck frees, at these widths or the present ones. MACs and parameters
    add up: what a set frees is the sum, since nothing but the block's `cv2` sees two of them, and
    that is linear in its inputs."""
    widths = budget.widths if widths is None else widths
    whole = goal.of(budget, widths)
    kept = dict(zip(budget.names, widths, strict=True))
    freed = {}
    for site in sites:
        rest = budget.without([site.branch])
        freed[site.name] = whole - goal.of(rest, np.array([kept[name] for name in rest.names]))
    return freed
