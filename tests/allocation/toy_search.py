"""A search problem whose accuracy is a formula, over the budget of a real network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from msip_core.allocation.searched import Journal, LayerFacts
from msip_core.allocation.stages import stage_of
from msip_core.config import SearchOptions
from msip_core.errors import Stopped
from msip_core.groups.budget import Budget, Widths
from msip_core.pruning.schedule import final_window
from tests.allocation.kit import random_table

Accuracy = Callable[[Widths], float]


class ToyTuned:
    def __init__(self, map50: float, widths: Widths) -> None:
        self.map50, self._widths = map50, widths

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(",".join(str(int(w)) for w in self._widths))


class ToyProblem:
    """`stop_after`: so many trials and tunings are finished, then a person asks to pause."""

    def __init__(
        self, budget: Budget, folder: Path, accuracy: Accuracy, *, keep: float = 0.5,
        round_to: int = 8, iterations: int = 8, stop_after: int | None = None, **options,
    ) -> None:  # fmt: skip
        self.table = random_table(budget)
        self.window = final_window(keep * budget.macs_now, round_to)
        self.iterations, self.folder, self.seed = iterations, folder, 3
        self.options = SearchOptions(**options)
        self.accuracy, self.stop_after = accuracy, stop_after
        self.layers = {
            name: LayerFacts("Conv", int(w), int(w), 1 + i % 2, 3, 9 * int(w) ** 2)
            for i, (name, w) in enumerate(zip(budget.names, budget.widths))
        }
        self._journal = Journal(folder / "trials.jsonl")
        self.known = {tuple(e["widths"]): e["map50"] for e in self._journal.entries()}
        self.trials: list[Widths] = []  # asked for, in order
        self.evaluated: list[tuple[int, ...]] = []  # not known before
        self.tuned: list[tuple[Widths, str | None]] = []
        self.done: list[float] = []
        self.said: list[str] = []

    def trial(self, widths: Widths) -> float:
        key = tuple(int(w) for w in widths)
        self.trials.append(np.array(key))
        if key not in self.known:
            self._finish_one()
            self.known[key] = self.accuracy(np.array(key))
            self.evaluated.append(key)
            self._journal.append({"widths": list(key), "map50": self.known[key]})
        return self.known[key]

    def short_tune(self, widths: Widths, start: Path | None) -> ToyTuned:
        self._finish_one()
        before = start.read_text() if start else None
        self.tuned.append((widths.copy(), before))
        return ToyTuned(self.accuracy(widths), widths)

    def tick(self, done: float) -> None:
        assert 0 <= done <= 1
        self.done.append(done)

    def say(self, message: str) -> None:
        self.said.append(message)

    def _finish_one(self) -> None:
        if self.stop_after is not None:
            self.stop_after -= 1
            if self.stop_after < 0:
                raise Stopped("pause")


def channels_matter(budget: Budget, *weights: float) -> Accuracy:
    """1 less the share lost of each stage, weighted; convex, so that mixtures beat extremes."""
    stages = np.array([stage_of(name) for name in budget.names])
    price = np.array(weights)[stages] / len(budget.names)
    return lambda widths: float(1 - (price * (1 - widths / budget.widths) ** 2).sum())
