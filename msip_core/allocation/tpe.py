"""Automatic search over stage or module ratios: Optuna's tree-structured Parzen estimator, or its
genetic algorithm (NSGA-II, which with one objective is selection, crossover and mutation).

One ratio for each stage (backbone, neck, head), or one for each module of YOLOv8's list. Every set
of ratios is brought to the goal by the scalar of all methods, so all trials cost the same; the
objective is the untuned mAP50. The same ratio everywhere and the preset of 30, 20 and 10 % are
tried first. With bounds for the stages, only ratios between them are tried, and brought to the
goal without leaving them. The best few trials are then tuned for some steps, and the best of these
is taken.

The study lives in memory: its sampler is seeded, and a search that goes on is told the finished
trials again, so that it proposes what an unbroken one would (Optuna's own storage would start the
sampler's random numbers anew).
Source: Bergstra et al. 2011, NeurIPS 24:2546; Deb et al. 2002, doi:10.1109/4235.996017; Akiba et
al. 2019, arXiv:1907.10902.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from msip_core.allocation.ratios import MAX_RATIO
from msip_core.allocation.searched import (
    Found,
    Journal,
    SearchedAllocation,
    SearchProblem,
    Work,
    ratios_of,
)
from msip_core.allocation.stages import STAGES, StageAllocation, stage_of
from msip_core.config import SearchOptions
from msip_core.errors import ConfigError
from msip_core.groups.budget import Widths
from msip_core.groups.layout import layer_of
from msip_core.messages import msg
from msip_core.workspace import write_json

_TUNING = 0.1  # share of the progress that tuning the finalists takes
_GENERATIONS = 6  # that the trials of an evolution are divided into
_FEWEST = 4  # trials of a generation


class TpeAllocation(SearchedAllocation):
    """Ratios per stage or module, by trying."""

    @classmethod
    def work(cls, options: SearchOptions, groups: int) -> Work:
        finalists = min(options.finalists, options.trials)
        return Work(options.trials, finalists if finalists > 1 else 0)

    def search(self, problem: SearchProblem) -> Found:
        options, names = problem.options, problem.table.names
        keys, owner = _space(names, options.space)
        study = _study(options, problem.seed)
        between = options.stage_bounds or ((0.0, MAX_RATIO),) * len(keys)
        for start in _starts(keys, names, owner, between):
            study.enqueue_trial(start)
        tried: list[tuple[float, Widths, dict[str, float]]] = []
        for n in range(options.trials):
            problem.tick((1 - _TUNING) * n / options.trials)
            trial = study.ask()
            chosen = [trial.suggest_float(key, *bounds) for key, bounds in zip(keys, between)]
            ratios = np.array(chosen)[owner]
            if options.stage_bounds:
                ratios = inside(problem, ratios, np.array(between)[owner])
            widths = self.at_goal(problem, ratios)
            map50 = problem.trial(widths)
            study.tell(trial, map50)
            tried.append((map50, widths, dict(zip(keys, chosen))))
        _write(problem, tried)
        map50, widths = self._best(problem, tried)
        return Found(ratios_of(problem.table, widths), map50)

    def _best(
        self, problem: SearchProblem, tried: list[tuple[float, Widths, dict[str, float]]]
    ) -> tuple[float, Widths]:
        """The trial that is best after a short tuning; of untuned mAP50 where none is asked for."""
        # Different ratios may lead to the same widths, which are one trial; the first one counts.
        different: dict[tuple[int, ...], tuple[float, Widths]] = {}
        for map50, widths, _ in tried:
            different.setdefault(tuple(int(w) for w in widths), (map50, widths))
        best = sorted(different.values(), key=lambda trial: -trial[0])
        finalists = best[: problem.options.finalists]
        if len(finalists) < 2:
            return best[0]
        tuned = []
        journal = Journal(problem.folder / "finalists.jsonl")
        known = {tuple(e["widths"]): float(e["map50"]) for e in journal.entries()}
        for n, (_, widths) in enumerate(finalists):
            problem.tick(1 - _TUNING + _TUNING * n / len(finalists))
            key = tuple(int(w) for w in widths)
            if key not in known:
                known[key] = problem.short_tune(widths, None).map50
                journal.append({"widths": list(key), "map50": known[key]})
            tuned.append(known[key])
        winner = int(np.argmax(tuned))
        problem.say(
            msg(
                "Of {n} trials the best reached mAP50 {best:.3f} untuned; after a short tuning, "
                "number {winner} of the best {finalists} leads with {tuned:.3f}.",
                n=len(tried),
                best=best[0][0],
                winner=winner + 1,
                finalists=len(finalists),
                tuned=tuned[winner],
            )
        )
        return finalists[winner]


def _space(names: tuple[str, ...], space: str) -> tuple[list[str], NDArray[np.int64]]:
    """Names of the ratios, and (g,) which of them each group follows."""
    if space == "stages":
        return list(STAGES), np.array([stage_of(name) for name in names])
    layers = sorted({layer_of(name) for name in names})
    return [f"layer{n}" for n in layers], np.array([layers.index(layer_of(n)) for n in names])


def inside(
    problem: SearchProblem, ratios: NDArray[np.float64], bounds: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The ratios moved together until they meet the goal, each within its bounds (g, 2).

    Raises:
        ConfigError: no ratios within the bounds meet the goal.
    """
    table, goal = problem.table, problem.window.high
    least, most = (float(table.count(table.original * (1 - edge))) for edge in bounds.T[::-1])
    if not least <= goal <= most:
        whole = float(table.count(table.original))
        raise ConfigError(
            "Ratios within the bounds of the stages leave {least:.1%} to {most:.1%}, and the goal "
            "is {goal:.1%}: choose a goal between them, or wider bounds.",
            least=least / whole,
            most=most / whole,
            goal=goal / whole,
        )
    low, high = -1.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        moved = np.clip(ratios + middle, *bounds.T)
        if table.count(table.original * (1 - moved)) > goal:
            low = middle
        else:
            high = middle
    return np.clip(ratios + high, *bounds.T)


def _starts(
    keys: list[str],
    names: tuple[str, ...],
    owner: NDArray[np.int64],
    between: Sequence[tuple[float, float]],
) -> list[dict[str, float]]:
    """The same ratio everywhere, and the stage preset; the middle of bounds, where there are."""
    middle = {key: (low + high) / 2 for key, (low, high) in zip(keys, between)}
    if any(bounds != (0.0, MAX_RATIO) for bounds in between):
        return [middle]
    even = dict.fromkeys(keys, MAX_RATIO / 2)
    preset = {keys[int(o)]: StageAllocation.preset[stage_of(name)] for name, o in zip(names, owner)}
    return [even, preset]


def _study(options: SearchOptions, seed: int) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed %= 2**32
    sampler: optuna.samplers.BaseSampler = optuna.samplers.TPESampler(seed=seed)
    if options.sampler == "evolution":
        size = max(_FEWEST, options.trials // _GENERATIONS)
        sampler = optuna.samplers.NSGAIISampler(population_size=size, seed=seed)
    return optuna.create_study(direction="maximize", sampler=sampler)


def _write(problem: SearchProblem, tried: list[Any]) -> None:
    """All trials with their ratios, in order."""
    rows = [
        {"map50": map50, "ratios": ratios, "widths": [int(w) for w in widths]}
        for map50, widths, ratios in tried
    ]
    write_json(problem.folder / "study.json", rows)
