"""How far a run is and how long it still takes, from what its stages have taken so far.

Every stage has a cost in rough units (images through the network, a training image counting as
three); the seconds of finished stages turn units into time. Units of later iterations shrink with
the MACs that will be left, though less than they do.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msip_core import catalog
from msip_core.config import RIDGES, PruneConfig
from msip_core.events import EpochRecord, Payload, ProgressRecord, RunContext
from msip_core.pruning.granularity import granularity_of
from msip_core.pruning.latency_goal import MULTIPLES, finds_multiple, needs_milliseconds
from msip_core.steps import (
    BASELINE,
    BLOCKS,
    CUTTING,
    ITERATION,
    LAYERS,
    MEASURING,
    MULTIPLE,
    PRETRAINING,
    REPAIRING,
    SCORING,
    SEARCHING,
    TESTING,
    TUNING,
    Step,
)
from msip_core.workspace import Workspace

Key = tuple[Step, int]  # of a part: the step, and the iteration that it is in

TRAIN_COST = 3.0  # forward and backward, in forwards
SPEED_EXPONENT = 0.5  # a third of the MACs takes .6 of the time, not .33 (measured .4 to .7)
REFIT_COST = 8.0  # of one refit, for each calibration image, in forwards
FIXED_COST = 20.0  # building graphs, cutting, reading and writing, in forwards
# 20 runs of each layer at 25 pairs of widths, of which the mean is .28 of the layer; in forwards.
_TABLE = 140.0
_TIMED = 45.0  # forwards in which one network is timed, beside the unpruned one
_CUTS = 2.0  # that the last iteration of a goal in milliseconds makes and times, as a rule


@dataclass(frozen=True)
class Part:
    """A step in an iteration (0: before and after them), and its cost in units."""

    step: Step
    iteration: int
    units: float

    @property
    def key(self) -> Key:
        return self.step, self.iteration


def plan(config: PruneConfig, *, train: int, val: int, test: int, calibration: int,
         blocks: int = 0, search: float = 0.0, table: bool = True) -> list[Part]:  # fmt: skip
    """All parts of a run in order, for so many images and blocks that could be removed; `search` is
    the cost of its search, `table` whether it must time single layers, if it counts milliseconds.
    """
    granularity, (_, keep) = granularity_of(config), config.goal
    try_blocks = {"map50": (blocks + 1) * val, "gamma": 0, "cosine": calibration}
    parts = [Part(LAYERS, 0, _TABLE)] if table and needs_milliseconds(config) else []
    if finds_multiple(config):
        tried = len(MULTIPLES[config.latency_device != "cpu"])
        parts.append(Part(MULTIPLE, 0, _TIMED * (1 + tried * keep)))
    parts.append(Part(BASELINE, 0, val + FIXED_COST))
    if config.preparation:
        whole = config.preparation.epochs * (TRAIN_COST * train + val)
        parts.append(Part(PRETRAINING, 0, whole))
    if search:
        parts.append(Part(SEARCHING, 0, search))
    # A teacher stays as large as it is, and is computed forward only.
    taught = train if catalog.find("recovery", config.recovery).needs_teacher else 0
    weighted = catalog.find("criterion", config.method).has_term_weights
    trials = weighted and config.msip.dynamic_weights
    for t in range(1, config.iterations + 1):
        before = keep ** (SPEED_EXPONENT * (t - 1) / config.iterations)
        after = keep ** (SPEED_EXPONENT * t / config.iterations)
        score = TRAIN_COST * calibration + FIXED_COST if granularity.takes_channels else 0.0
        if score and trials and t < config.iterations:
            mend = REFIT_COST / 2 if config.repair in ("refit", "auto") else 1.0  # at most
            score += 4 * (val + mend * calibration + FIXED_COST)
        blocks = try_blocks[config.block_score] if granularity.scores_blocks(t) else 0
        units = {
            BLOCKS: before * blocks,
            SCORING: before * score,
            CUTTING: after * FIXED_COST + _timing(config, t, after),
            REPAIRING: _repairing(config, after, val, calibration),
            TUNING: config.epochs_after(t) * (after * (TRAIN_COST * train + val) + taught),
            MEASURING: after * val,
        }
        parts += [Part(step, t, units[step]) for step in ITERATION]
    parts.append(Part(TESTING, 0, keep * val + (1 + keep) * test + FIXED_COST))
    return parts


def _repairing(config: PruneConfig, after: float, val: int, calibration: int) -> float:
    """Cost of every repair that is tried after a cut, and of its look at the validation images."""
    fits = len(RIDGES) if config.repair in ("refit", "auto") else 0
    fresh = int(config.repair in ("recalibrate", "auto"))
    as_cut, absorbs = (int(config.repair in (one, "auto")) for one in ("none", "absorb"))
    looks = as_cut + fresh + absorbs + fits
    return after * (looks * val + (fresh + REFIT_COST * fits) * calibration)


def _timing(config: PruneConfig, t: int, after: float) -> float:
    """Cost of measuring what iteration `t` has cut, where the goal is in milliseconds."""
    if config.goal[0] != "latency":
        return 0.0
    return _TIMED * (1 + after) * (_CUTS if t == config.iterations else 1.0)


class ProgressTracker:
    """A RunContext that passes everything on and adds progress records.

    Parts are opened with `begin` and closed by the next `begin`; epochs inside a fit move the
    progress on their own.
    """

    def __init__(self, ctx: RunContext, parts: Sequence[Part]) -> None:
        self._ctx = ctx
        self.run_id: str = ctx.run_id
        self.run_dir: Path = ctx.run_dir
        self.workspace: Workspace = ctx.workspace
        self._parts = {part.key: part.units for part in parts}
        self._total = math.fsum(self._parts.values())
        self._done: set[Key] = set()
        self._current: Key | None = None
        self._share = 0.0
        self._worked_units, self._worked_seconds = 0.0, 0.0
        self._since = time.monotonic()

    def emit(self, record: Payload) -> None:
        self._ctx.emit(record)
        if isinstance(record, EpochRecord):
            self._share = record.epoch / max(1, record.epochs)
            self.report()

    def check_stop(self) -> None:
        self._ctx.check_stop()

    def advance(self, share: float) -> None:
        """Say which share of the current part is done; it never goes back."""
        self._share = max(self._share, min(1.0, share))
        self.report()

    def skip(self, step: Step, iteration: int = 0) -> None:
        """A part that an earlier sitting has finished."""
        self._done.add((step, iteration))

    def begin(self, step: Step, iteration: int = 0) -> None:
        """Close the current part and open this one."""
        self._close()
        self._current, self._share, self._since = (step, iteration), 0.0, time.monotonic()
        self.report()

    def end(self) -> None:
        """Close the last part."""
        self._close()
        self._done = set(self._parts)
        self.report()

    def report(self, message: str = "") -> None:
        """Emit how far the run is."""
        done, left = self.state()
        self._ctx.emit(ProgressRecord(done=done, seconds_left=left, message=message))

    def state(self) -> tuple[float, float | None]:
        """Share done in [0, 1], and seconds left (None before anything was measured)."""
        current = self._parts.get(self._current, 0.0) * self._share if self._current else 0.0
        # fsum: the same sum in any order, so that progress never goes back by a rounding error.
        units = math.fsum([current, *(self._parts.get(key, 0.0) for key in self._done)])
        worked_units = self._worked_units + current
        elapsed = time.monotonic() - self._since if self._current else 0.0
        # A part that has only begun says nothing about speed yet.
        worked_seconds = self._worked_seconds + (elapsed if current else 0.0)
        if worked_units <= 0:
            return units / self._total, None
        left = max(0.0, self._total - units) * worked_seconds / worked_units
        return min(1.0, units / self._total), round(left, 1)

    def _close(self) -> None:
        if self._current is not None and self._current not in self._done:
            self._done.add(self._current)
            self._worked_units += self._parts.get(self._current, 0.0)
            self._worked_seconds += time.monotonic() - self._since
        self._current = None
