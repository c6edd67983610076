"""Allocations that find their ratios by trying networks, before the first cut.

The search sees the network only through a `SearchProblem`: what it costs at any widths, how its
channels rank, and how accurate a trial copy is. Finished trials lie on disk under their widths.
A search is a deterministic function of the problem and its seed, so one that was stopped is simply
called again: it asks for the same trials, gets those that are there at once, and ends like an
unbroken one.
Source: method sheet, section 4.
"""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from msip_core.allocation.ratios import MAX_RATIO, RatioAllocation, by_name
from msip_core.allocation.table import Corridor, GroupTable
from msip_core.config import AllocationOptions, SearchOptions
from msip_core.groups.budget import Widths


class LayerFacts(NamedTuple):
    """The root convolution of a group: what a search may know of it.

    Attributes:
        module: class of the block of YOLOv8's list that it lies in ("Conv", "C2f", "Detect").
        weights: of this convolution.
    """

    module: str
    inputs: int
    outputs: int
    stride: int
    kernel: int
    weights: int


class Tuned(Protocol):
    """A network after a short tuning."""

    @property
    def map50(self) -> float: ...

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""


class SearchProblem(Protocol):
    """One network, and what may be asked of it.

    Attributes:
        table: the unpruned network's groups, their budget, and the scores of the run's criterion.
        window: where the run must land, in what its goal counts.
        iterations: of the run; the limits of all of them bound a trial.
        layers: group name -> facts.
        folder: where a search keeps what it must find again.
    """

    window: Corridor
    iterations: int
    options: SearchOptions
    seed: int
    folder: Path

    @property
    def table(self) -> GroupTable: ...

    @property
    def layers(self) -> Mapping[str, LayerFacts]: ...

    def trial(self, widths: Widths) -> float:
        """mAP50 on validation of a copy with the lowest channels of each group gone down to
        `widths`, batch norm recalibrated, not tuned. The same widths are never tried twice."""

    def short_tune(self, widths: Widths, start: Path | None) -> Tuned:
        """Cut the network saved at `start` (None: the unpruned one) down to `widths`, lowest
        channels first, train it for a few steps on the calibration images and measure it."""

    def tick(self, done: float) -> None:
        """Say which share is done; raises Stopped if a person asked for it."""

    def say(self, message: str) -> None:
        """One plain sentence for the log of the run."""


class Journal:
    """What is finished, one JSON object a line: appended and synced, so a kill costs one entry."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> Iterator[dict[str, Any]]:
        """All whole entries in order; a last line that was cut off by a kill is left out."""
        if not self.path.is_file():
            return
        for line in self.path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                yield json.loads(line)

    def append(self, entry: Mapping[str, object]) -> None:
        """Add one entry; it is on the disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            self._drop_half_line(file)
            file.write(json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    @staticmethod
    def _drop_half_line(file: Any) -> None:
        end = file.seek(0, os.SEEK_END)
        if not end:
            return
        file.seek(end - 1)
        if file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


class Found(NamedTuple):
    """What a search found.

    Attributes:
        ratios: group name -> pruning ratio in [0, 1).
        map50: of the trial with them, where one was made.
    """

    ratios: dict[str, float]
    map50: float | None


class Work(NamedTuple):
    """How much a search will do, for the estimate: trials, and short tunings."""

    trials: float
    tunings: float = 0


class SearchedAllocation(RatioAllocation):
    """Ratios from a search. Before one, all groups have the same: where every search starts, and
    what a preview shows."""

    def __init__(self, limits: AllocationOptions) -> None:
        super().__init__(limits)
        self._ratios: dict[str, float] | None = None

    @abstractmethod
    def search(self, problem: SearchProblem) -> Found:
        """Find the ratios.

        Raises:
            Stopped: a person asked for it; finished trials are kept.
        """

    @classmethod
    @abstractmethod
    def work(cls, options: SearchOptions, groups: int) -> Work:
        """What a search with these options will do on so many groups."""

    def adopt(self, ratios: Mapping[str, float]) -> None:
        """Use these ratios from now on."""
        self._ratios = dict(ratios)

    def ratios(self, table: GroupTable) -> NDArray[np.float64]:
        if self._ratios is None:
            return np.ones(len(table.names)) / 2
        return by_name(table, self._ratios)

    # --- for the searches ------------------------------------------------------------

    def floor(self, problem: SearchProblem) -> Widths:
        """(g,) fewest channels that a trial leaves: a fifth of the original ones, or what the
        limits of the run ask for; only the limits where the goal cannot be reached otherwise."""
        table, step = problem.table, self.limits.multiple
        low = table.lowest(self.limits, problem.iterations)
        share = np.ceil(table.original * (1 - MAX_RATIO) / step - 1e-9) * step
        bound = np.minimum(np.maximum(low, share), table.budget.widths).astype(np.int64)
        return bound if table.count(bound) <= problem.window.high else low

    def rounded(self, problem: SearchProblem, kept: NDArray[np.float64], low: Widths) -> Widths:
        """Nearest multiples between `low` and the present widths."""
        return self._round(
            np.clip(kept, low, problem.table.budget.widths), low, problem.table.budget.widths
        )

    def at_goal(self, problem: SearchProblem, ratios: NDArray[np.float64]) -> Widths:
        """Widths at the goal of the run with these ratios, by the device of all methods."""
        self.adopt(named(problem.table, ratios))
        found = self.allocate(problem.table, problem.window, iterations=problem.iterations)
        return problem.table.budget.vector(found.widths)


def named(table: GroupTable, ratios: NDArray[np.float64]) -> dict[str, float]:
    """Group name -> ratio."""
    return dict(zip(table.names, (float(r) for r in ratios), strict=True))


def ratios_of(table: GroupTable, widths: Widths) -> dict[str, float]:
    """The ratios that lead to these widths."""
    return named(table, 1 - np.asarray(widths, np.float64) / table.original)
