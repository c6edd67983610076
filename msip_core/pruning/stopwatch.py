"""Milliseconds as a run's goal: the table of this computer's layers, and whole networks measured.

The table predicts (allocation.latency); what counts is measured. Every network is timed beside the
unpruned one, in turn, and told as a share of its milliseconds at the run's start, so that a
computer that is slower today than yesterday changes nothing. A cut is measured, the prediction
moved to what was found, and the cut made anew, until it lies within `NEAR` of where it should be
(the last one: of the goal) or its attempts are used up; the nearest counts. Without a second
attempt on the way, the last iteration would have to make up for all that the table got wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from msip_core.allocation.budget import Budget
from msip_core.allocation.goal import Goal
from msip_core.allocation.latency import LatencyMeter
from msip_core.allocation.table import GroupTable, Selection
from msip_core.config import PruneConfig
from msip_core.detector.latency import Latency, measure_latency
from msip_core.detector.layer_times import LayerTimes, Timer
from msip_core.detector.library import DetectionModel
from msip_core.events import MilestoneRecord, RunContext
from msip_core.pruning.folder import RunFolder
from msip_core.pruning.granularity import granularity_of

NEAR = 0.02  # of the goal: where the last iteration stops trying
FAR = 0.05  # beyond it the goal was missed
ATTEMPTS, ON_THE_WAY = 4, 2  # of the last iteration, and of those before it
_RUNS = 40  # timed forwards of each network
_FILE = "latency.json"


class Measure(Protocol):
    """`measure_latency`, or another clock in tests."""

    def __call__(
        self, models: Mapping[str, DetectionModel], imgsz: int, *, runs: int,
        formats: Sequence[str], tick: Callable[[float], None] | None,
    ) -> list[Latency]: ...  # fmt: skip


def in_macs(config: PruneConfig) -> PruneConfig:
    """The same run with multiply-adds where it counts milliseconds: what can be said of it before
    anything was measured."""
    if not needs_milliseconds(config):
        return config
    limits = config.limits.model_copy(
        update={"cost": "macs" if config.limits.cost == "latency" else config.limits.cost}
    )
    kind, keep = config.goal
    changes: dict[str, Any] = {"limits": limits}
    if kind == "latency":
        changes |= {"keep_macs": keep, "keep_latency": None}
    return config.model_copy(update=changes)


def needs_milliseconds(config: PruneConfig) -> bool:
    """Whether a run counts milliseconds: as its goal, or as the cost of a channel."""
    return config.goal[0] == "latency" or config.limits.cost == "latency"


def finds_multiple(config: PruneConfig) -> bool:
    """Whether a run measures which multiple to leave channels in, before its first cut."""
    takes_channels = granularity_of(config).takes_channels
    return config.goal[0] == "latency" and config.limits.round_to == "auto" and takes_channels


def predicted(config: PruneConfig, whole: Budget, cache: Path) -> LatencyMeter | None:
    """Milliseconds up to a factor, where the run counts them and this computer has timed all layers
    that it must know; else None."""
    if not needs_milliseconds(config):
        return None
    times = LayerTimes(cache, config.latency_format)
    return None if times.lacks(whole.geometries().values()) else _table(times, whole)


def _table(times: LayerTimes, whole: Budget) -> LatencyMeter:
    geometries = whole.geometries()
    return LatencyMeter({name: times.grid(geometry) for name, geometry in geometries.items()})


class Stopwatch:
    """Times networks of one run.

    Args:
        progress: told which share of the table of layers is there.

    Attributes:
        meter: predicts milliseconds, moved to what the unpruned network takes.
        baseline_ms: milliseconds of the unpruned network at the run's start.
    """

    def __init__(
        self, config: PruneConfig, ctx: RunContext, baseline: DetectionModel, whole: Budget, *,
        measure: Measure = measure_latency, timer: Timer | None = None,
        progress: Callable[[float], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._config, self._ctx, self._baseline, self._measure = config, ctx, baseline, measure
        geometries = whole.geometries()
        times = LayerTimes(ctx.workspace.cache, config.latency_format, timer)
        if times.lacks(geometries.values()):
            ctx.emit(MilestoneRecord(message="Measuring single layers on this computer."))

        def tick(done: float) -> None:
            self._tick(done)
            progress(done)

        times.measure(geometries.values(), tick)
        folder = RunFolder(ctx.run_dir)
        stored = folder.read_json(_FILE)
        if stored is None:
            stored = {"baseline_ms": self.medians({})["baseline"], "format": config.latency_format}
            folder.write_json(_FILE, stored)
        self.baseline_ms: float = stored["baseline_ms"]
        self.meter = _table(times, whole).anchored(whole, self.baseline_ms)

    def __call__(self, model: DetectionModel) -> float:
        """Milliseconds of `model`, at the speed that the computer had at the run's start."""
        found = self.medians({"model": model})
        return self.baseline_ms * found["model"] / found["baseline"]

    def medians(self, models: Mapping[str, DetectionModel]) -> dict[str, float]:
        """Milliseconds of the models and of the unpruned one ("baseline"), timed in turn."""
        measured = self._measure(
            {"baseline": self._baseline, **models}, self._config.imgsz, runs=_RUNS,
            formats=[self._config.latency_format], tick=self._tick,
        )  # fmt: skip
        return {one.name: one.median_ms for one in measured}

    def _tick(self, _done: float) -> None:
        self._ctx.check_stop()
        self._ctx.beat()


def cut_by_the_clock(
    cut: Callable[[GroupTable], tuple[DetectionModel, Selection]],
    table: GroupTable,
    watch: Stopwatch,
    *,
    low: float,
    high: float,
    attempts: int,
) -> tuple[DetectionModel, Selection, float]:
    """The cut network, what was taken, and the milliseconds that it was measured at.

    Args:
        cut: one cut by this table's count.
        low, high: milliseconds between which it should be measured.
    """
    tries: list[tuple[float, DetectionModel, Selection, float]] = []
    for _ in range(attempts):
        model, selection = cut(table)
        milliseconds = watch(model)
        distance = max(milliseconds / high - 1, 1 - milliseconds / low, 0.0)
        tries.append((distance, model, selection, milliseconds))
        if distance <= NEAR:
            break
        table = table.rescaled(milliseconds / selection.count)
    return min(tries, key=lambda one: one[0])[1:]


def missed_by_the_clock(goal: Goal, milliseconds: float) -> str | None:
    """The sentence for a last cut that was measured too slow, else None."""
    reached = milliseconds / goal.baseline
    if reached <= goal.keep * (1 + FAR):
        return None
    return (
        f"The goal of {goal.keep:.1%} of the milliseconds was not reached: {reached:.1%} were "
        "measured after the last cut."
    )
