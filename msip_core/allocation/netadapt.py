"""NetAdapt: shrink one group at a time, each time the one that pays best.

    dR_i = first_step * Res_0 * step_decay^(i-1)          Res = MACs, or any other resource
    width_g = largest multiple with Res <= max(Res_{i-1} - dR_i, goal)     one candidate a group

Each candidate is cut from the network of the step before, tuned for a few steps and measured. The
one with the least accuracy lost per resource freed is taken (as the authors' code does), or the
most accurate (as the paper says). The run then cuts the original network to these widths over its
iterations. Which channels of a group stay is for the run's criterion to say (the paper: the
filters of largest L2 norm, our `l2`), so that the run removes what the search removed.

The defaults .025 and .96 add up to .025 / .04 = .625 of Res_0, so that a goal below 37.5 % would be
approached in ever smaller steps; no step is therefore below a fifth of the first.

Where only some candidates are tried, they are the groups that paid best when they were last tried:
first by an untuned trial of each alone, later by their own tuned candidates. A group pays less the
more it has lost, so the others have their turn.
Source: Yang et al. 2018, arXiv:1804.03230.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from msip_core.allocation.searched import (
    Found,
    Journal,
    SearchedAllocation,
    SearchProblem,
    Work,
    ratios_of,
)
from msip_core.config import SearchOptions
from msip_core.groups.budget import Widths
from msip_core.messages import msg

SMALLEST_STEP = 0.2  # of the first step
_TYPICAL_STEPS = 60  # to a third of the MACs by the default schedule; for the estimate only

# Resource of networks with these widths, (..., g) -> (...,): `GroupTable.count`.
Resource = Callable[[NDArray[Any]], NDArray[np.float64]]


class Candidate(NamedTuple):
    """One group at its largest width that meets the step's target."""

    group: int
    width: int
    resource: float
    map50: float = 0.0


class Step(NamedTuple):
    """Where a search stands: after `number` accepted candidates."""

    number: int
    widths: Widths
    resource: float
    map50: float

    def with_(self, candidate: Candidate) -> Widths:
        """The widths after this one too."""
        widths = self.widths.copy()
        widths[candidate.group] = candidate.width
        return widths


class NetAdaptAllocation(SearchedAllocation):
    """Widths by the cheapest steps."""

    @classmethod
    def work(cls, options: SearchOptions, groups: int) -> Work:
        limited = 0 < options.candidates < groups
        steps = _TYPICAL_STEPS * SearchOptions().first_step / options.first_step
        tried = options.candidates if limited else groups
        return Work(1 + groups * limited, steps * tried)

    def search(self, problem: SearchProblem) -> Found:
        budget = problem.table.budget
        # What the goal of the run counts: MACs, parameters, or milliseconds of a measured table.
        resource, goal = problem.table.count, problem.window.high
        step = Step(0, budget.widths, float(resource(budget.widths)), problem.trial(budget.widths))
        walk = _Walk(self, problem, resource, goal, step.resource)
        low = self.floor(problem)
        while step.resource > goal:
            candidates = walk.candidates(step, low)
            if not candidates:
                problem.say(
                    msg(
                        "NetAdapt stopped after {number} steps with "
                        "{resource:.1%} left: every layer is at its lowest width.",
                        number=step.number,
                        resource=step.resource / walk.start,
                    )
                )
                break
            step = walk.advance(step, candidates)
        problem.say(
            msg(
                "NetAdapt took {number} steps; mAP50 with short tuning {map50:.3f}.",
                number=step.number,
                map50=step.map50,
            )
        )
        return Found(ratios_of(problem.table, step.widths), step.map50)


class _Walk:
    """The steps of one search, with all that is finished on disk."""

    def __init__(
        self,
        allocation: NetAdaptAllocation,
        problem: SearchProblem,
        resource: Resource,
        goal: float,
        start: float,
    ) -> None:
        self.problem, self.resource, self.goal, self.start = problem, resource, goal, start
        self.multiple = allocation.limits.multiple
        self.journal = Journal(problem.folder / "netadapt.jsonl")
        self.tried = {(e["step"], e["group"]): float(e["map50"]) for e in self.journal.entries()}
        self.loss: dict[int, tuple[float, float]] = {}  # group -> when last tried: how it paid

    def candidates(self, step: Step, low: Widths) -> list[Candidate]:
        """Groups that can make this step alone; the step is halved until there is one."""
        options = self.problem.options
        share = options.first_step * options.step_decay**step.number
        decrement = self.start * max(share, SMALLEST_STEP * options.first_step)
        while (step.widths > low).any():
            target = max(step.resource - decrement, self.goal)
            found = candidates_at(self.resource, step.widths, low, self.multiple, target)
            if found:
                return self._promising(step, found)
            decrement /= 2
        return []

    def advance(self, step: Step, candidates: Sequence[Candidate]) -> Step:
        """Tune all candidates shortly, take the best, keep its network for the next step."""
        rule, best = self.problem.options.accept, None
        for n, untried in enumerate(candidates):
            self.problem.tick(self._done(step, candidates, n))
            candidate = self._measured(step, untried, best)
            self.loss[candidate.group] = pays(candidate, step, rule)
            if best is None or pays(candidate, step, rule) < pays(best, step, rule):
                best = candidate
        assert best is not None  # `candidates` is not empty
        # The file is the network of the best; a search that goes on finds it under its new name.
        if self._draft(step).is_file():
            os.replace(self._draft(step), self._network(step.number + 1))
        if step.number:
            self._network(step.number).unlink(missing_ok=True)
        return Step(step.number + 1, step.with_(best), best.resource, best.map50)

    def _measured(self, step: Step, candidate: Candidate, best: Candidate | None) -> Candidate:
        """With the mAP50 after a short tuning; its network is kept if it is the best so far."""
        key = (step.number, candidate.group)
        if key in self.tried:
            return candidate._replace(map50=self.tried[key])
        before = self._network(step.number) if step.number else None
        tuned = self.problem.short_tune(step.with_(candidate), before)
        candidate = candidate._replace(map50=tuned.map50)
        rule = self.problem.options.accept
        if best is None or pays(candidate, step, rule) < pays(best, step, rule):
            # Before the entry: what the journal calls tried has left its network, if it was best.
            tuned.save(self._draft(step))
        self.tried[key] = candidate.map50
        self.journal.append(
            {"step": key[0], "group": key[1], "name": self.problem.table.names[candidate.group],
             "width": candidate.width, "resource": candidate.resource, "map50": candidate.map50}
        )  # fmt: skip
        return candidate

    def _promising(self, step: Step, found: list[Candidate]) -> list[Candidate]:
        """The candidates that paid best when they were last tried, in the order of the network."""
        most = self.problem.options.candidates
        if not 0 < most < len(self.problem.table.names):
            return found
        if not self.loss:
            self._look_at_each(step, found)
        ranked = sorted(found, key=lambda c: self.loss.get(c.group, (-np.inf, -np.inf)))[:most]
        return sorted(ranked)

    def _look_at_each(self, step: Step, found: list[Candidate]) -> None:
        """One untuned trial of each candidate alone."""
        for candidate in found:
            self.problem.tick(0.0)
            tried = candidate._replace(map50=self.problem.trial(step.with_(candidate)))
            self.loss[candidate.group] = pays(tried, step, self.problem.options.accept)

    def _done(self, step: Step, candidates: Sequence[Candidate], n: int) -> float:
        to_go = self.start - self.goal  # above 0, or there would be no step
        this = (step.resource - candidates[n].resource) / to_go * n / len(candidates)
        return min(1.0, (self.start - step.resource) / to_go + this)

    def _draft(self, step: Step) -> Path:
        return self.problem.folder / f"netadapt-{step.number + 1}-best-so-far.pt"

    def _network(self, number: int) -> Path:
        return self.problem.folder / f"netadapt-{number}.pt"


def candidates_at(
    resource: Resource, widths: Widths, low: Widths, multiple: int, target: float
) -> list[Candidate]:
    """For each group its largest multiple, alone, whose resource is at most `target`."""
    found = []
    for g in range(len(widths)):
        fewer = np.arange((widths[g] - 1) // multiple * multiple, low[g] - 1, -multiple)
        if not len(fewer):
            continue
        trials = np.repeat(widths[None], len(fewer), axis=0)
        trials[:, g] = fewer
        costs = resource(trials)
        meets = np.flatnonzero(costs <= target)
        if len(meets):
            found.append(Candidate(g, int(fewer[meets[0]]), float(costs[meets[0]])))
    return found


def pays(candidate: Candidate, step: Step, rule: str) -> tuple[float, float]:
    """Rank of a candidate, lowest first: accuracy lost per resource freed, or accuracy lost.

    Equal accuracy: the larger saving wins. An accuracy gained is multiplied by the saving, since
    divided by it the smallest saving would come first.
    """
    loss, saving = step.map50 - candidate.map50, step.resource - candidate.resource
    if rule == "accuracy":
        return (loss, -saving)
    return (loss / saving if loss > 0 else loss * saving, -saving)
