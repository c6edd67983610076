"""AMC: an agent walks over the groups and learns which share of each to keep.

An episode is one pass in the order of the network. At each group the agent sees eleven features:

    index, module, c_in, c_out, stride, kernel, weights, MACs of the group     min-max over groups
    MACs freed so far, MACs of the groups to come                              share of all MACs
    previous action

and keeps the share a in [.2, 1] of its channels, rounded to the run's multiple. All steps of an
episode have one reward, less the moving average of earlier rewards:

    within-goal   mAP50 of the untuned network; shares are clipped so that the groups to come, at
                  their lowest widths, can still meet the budget: every episode meets it
    with-cost     -(1 - mAP50) * log(MACs) of it; shares are free, so the agent looks for the size
                  that accuracy allows, and the run scales what it found to its goal

The first episodes are drawn by lot; then the noise has a standard deviation of .5 * .95^n. The
widths of the best episode are the result.

The channels that go are those of the run's criterion (the paper: L1), and batch norm is
recalibrated where the paper refits the next layer by least squares.
Source: He et al. 2018, arXiv:1802.03494.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from msip_core.allocation.ddpg import Agent, State, Transition
from msip_core.allocation.ratios import MAX_RATIO
from msip_core.allocation.searched import Found, SearchedAllocation, SearchProblem, Work, ratios_of
from msip_core.config import SearchOptions
from msip_core.groups.budget import Widths
from msip_core.messages import msg
from msip_core.workspace import write_json

LEAST = 1 - MAX_RATIO  # smallest share that an action keeps
NOISE, NOISE_DECAY = 0.5, 0.95
REMEMBERED = 100  # episodes

Choice = Callable[[State], float]


class Visit(NamedTuple):
    """One step of an episode: what was seen, and the share that was kept in the end."""

    state: State
    action: float


class Episode(NamedTuple):
    visits: list[Visit]
    widths: Widths


class AmcAllocation(SearchedAllocation):
    """Widths by reinforcement learning."""

    @classmethod
    def work(cls, options: SearchOptions, groups: int) -> Work:
        return Work(options.episodes)

    def search(self, problem: SearchProblem) -> Found:
        options, road = problem.options, Road(problem, self.floor(problem), self.limits.multiple)
        groups = len(problem.table.names)
        agent = Agent(road.features, LEAST, 1.0, REMEMBERED * groups, problem.seed)
        tried: list[float] = []
        best: tuple[float, float, Widths] | None = None
        for n in range(options.episodes):
            problem.tick(n / options.episodes)
            episode = road.walk(_chooser(agent, n - options.random_episodes))
            map50 = problem.trial(episode.widths)
            tried.append(map50)
            reward = road.reward(map50, episode.widths)
            if best is None or reward > best[0]:
                best = (reward, map50, episode.widths)
            for transition in transitions(episode, reward):
                agent.remember(transition)
            if n >= options.random_episodes:
                for _ in range(groups):
                    problem.tick(n / options.episodes)
                    agent.learn()
            agent.rewarded(reward)
        assert best is not None  # there is at least one episode
        write_json(problem.folder / "episodes.json", {"map50": tried})
        problem.say(
            msg(
                "AMC: mAP50 {lot:.3f} on average by lot, "
                "{last:.3f} in the last episodes, {best:.3f} in the best.",
                lot=np.mean(tried[: options.random_episodes]),
                last=np.mean(tried[-10:]),
                best=best[1],
            )
        )
        return Found(ratios_of(problem.table, best[2]), best[1])


def _chooser(agent: Agent, learned: int) -> Choice:
    """By lot in the first episodes, then the policy with noise that fades."""
    if learned < 0:
        return lambda _state: agent.by_lot()
    spread = NOISE * NOISE_DECAY**learned
    return lambda state: agent.explore(state, spread)


class Road:
    """The groups in order, with what the agent sees and may do at each.

    Args:
        low: (g,) lowest width of each group; all together they meet the budget.
        multiple: widths are multiples of this.
    """

    def __init__(self, problem: SearchProblem, low: Widths, multiple: int) -> None:
        self.table, self.budget = problem.table, problem.table.budget
        self.original = problem.table.original
        self.low, self.multiple = low, multiple
        self._weighs_cost = problem.options.reward == "with-cost"
        self.goal = np.inf if self._weighs_cost else problem.window.high
        # (g,) MACs that a group's channels take part in, all groups at their full width.
        self._own = self.budget.kappa() * self.budget.widths
        self._static = _normalised(self._facts(problem))
        self.features = self._static.shape[1] + 3

    def reward(self, map50: float, widths: Widths) -> float:
        """What all steps of an episode are told."""
        if not self._weighs_cost:
            return map50
        return -(1 - map50) * float(np.log(self.budget.macs(widths)))

    def walk(self, choose: Choice) -> Episode:
        """One episode; its widths meet the budget, unless the reward weighs costs itself."""
        widths = self.budget.widths.copy()
        visits: list[Visit] = []
        previous = 1.0
        for g in range(len(widths)):
            state = self._state(g, widths, previous)
            widths[g] = self._clipped(g, widths, choose(state))
            previous = float(widths[g] / self.original[g])
            visits.append(Visit(state, previous))
        return Episode(visits, widths)

    def _clipped(self, g: int, widths: Widths, action: float) -> int:
        """The width nearest to the action that leaves the budget within reach."""
        now, low = int(self.budget.widths[g]), int(self.low[g])
        first = -(-low // self.multiple) * self.multiple
        options = np.unique([low, *range(first, now, self.multiple), now])
        trials = np.repeat(np.concatenate((widths[:g], self.low[g:]))[None], len(options), axis=0)
        trials[:, g] = options
        allowed = options[self.table.count(trials) <= self.goal]
        # Rounding of MACs may forbid even the lowest, which meets the budget by the choice of low.
        allowed = allowed if len(allowed) else options[:1]
        return int(allowed[np.argmin(np.abs(allowed - action * self.original[g]))])

    def _state(self, g: int, widths: Widths, previous: float) -> State:
        total = self.budget.macs_now
        freed = (total - float(self.budget.macs(widths))) / total
        to_come = float(self._own[g + 1 :].sum()) / float(self._own.sum())
        return np.array([*self._static[g], freed, to_come, previous], np.float32)

    def _facts(self, problem: SearchProblem) -> NDArray[np.float64]:
        """(g, 8) what does not change during an episode."""
        layers = [problem.layers[name] for name in self.budget.names]
        modules = sorted({layer.module for layer in layers})
        return np.array(
            [
                (g, modules.index(module), *numbers, own)
                for g, ((module, *numbers), own) in enumerate(zip(layers, self._own, strict=True))
            ],
            np.float64,
        )


def _normalised(facts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each column to [0, 1]; a column that is the same everywhere says nothing: 0."""
    low, span = facts.min(0), np.ptp(facts, axis=0)
    return (facts - low) / np.where(span > 0, span, 1)


def transitions(episode: Episode, reward: float) -> list[Transition]:
    """The steps of an episode, each with its reward."""
    visits = episode.visits
    return [
        Transition(
            visit.state,
            visit.action,
            reward,
            visits[i + 1].state if i + 1 < len(visits) else visit.state,
            i + 1 == len(visits),
        )
        for i, visit in enumerate(visits)
    ]
