"""Milliseconds as a run's goal: the table of this computer's layers, and whole networks measured.

All of it in one way to run, from the first layer to the closing measure: device, format, precision
and batch (msip_core.ways). The table predicts (groups.latency); what counts is measured. Every
network is timed beside the unpruned one, in turn, and told as a share of its milliseconds at the
run's start, so that a computer that is slower today than yesterday changes nothing. A cut is
measured, the prediction moved to what was found, and the cut made anew, until it lies within `NEAR`
of where it should be (the last one: of the goal) or its attempts are used up; the nearest counts.
Without a second attempt on the way, the last iteration would have to make up for all that the table
got wrong. From the second measurement on the prediction is moved along the line through two of
them, since a part of the time is fixed, on a GPU a large one: moved in proportion alone, each
attempt would leave as much of the error as is fixed of the goal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msip_core.allocation.goal import Goal
from msip_core.allocation.table import GroupTable, Selection
from msip_core.config import PruneConfig
from msip_core.detector.latency import measure_latency
from msip_core.detector.layer_times import LayerTimes, Timer
from msip_core.detector.library import DetectionModel
from msip_core.errors import ConfigError
from msip_core.events import MilestoneRecord, RunContext
from msip_core.groups.budget import Budget
from msip_core.groups.latency import LatencyMeter, line_through
from msip_core.messages import msg
from msip_core.pruning.folder import RunFolder
from msip_core.pruning.granularity import granularity_of
from msip_core.ways import RUN_FILE, Latency, Way

# Of channels, that a run tries out; by whether a GPU is timed, finest first.
MULTIPLES: dict[bool, tuple[int, ...]] = {False: (8, 16), True: (8, 16, 32, 64)}
NEAR = 0.02  # of the goal: where the last iteration stops trying
FAR = 0.05  # beyond it the goal was missed
ATTEMPTS, ON_THE_WAY = 6, 2  # of the last iteration, and of those before it
_RUNS = 40  # timed forwards of each network
Measure = Callable[..., list[Latency]]  # `measure_latency`, or another clock in tests


def in_macs(config: PruneConfig) -> PruneConfig:
    """The same run with multiply-adds where it counts milliseconds: what can be said of it before
    anything was measured."""
    if not needs_milliseconds(config):
        return config
    limits = config.limits.model_copy(
        update={"cost": "macs" if config.limits.cost == "latency" else config.limits.cost}
    )
    kind, keep = config.goal
    changes: dict[str, object] = {"limits": limits}
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


def predicted(
    config: PruneConfig, whole: Budget, cache: Path, device: str = "cpu"
) -> LatencyMeter | None:
    """Milliseconds up to a factor, where the run counts them and this computer has timed all layers
    that it must know; else None.

    Args:
        device: where the run runs.
    """
    if not needs_milliseconds(config):
        return None
    return known_meter(config.latency_way(device), whole, cache)


def known_meter(way: Way, whole: Budget, cache: Path) -> LatencyMeter | None:
    """Milliseconds up to a factor, if all layers were timed in this way; else None."""
    times = LayerTimes(cache, way)
    return None if times.lacks(whole.geometries().values()) else _table(times, whole)


def _begun_in(stored: Mapping[str, Any], device: str) -> Way:
    """The way that an earlier sitting has measured in, on the GPU that this one runs on."""
    way = Way.of(stored)
    if not way.on_gpu:
        return way
    if not device.startswith("cuda"):
        raise ConfigError(
            "This run began to measure its milliseconds on a GPU ({hardware}) "
            "and goes on only where there is one: resume it there, or start it anew.",
            hardware=way.hardware or way.device,
        )
    return replace(way, device=device)


def _table(times: LayerTimes, whole: Budget) -> LatencyMeter:
    geometries = whole.geometries()
    return LatencyMeter({name: times.grid(geometry) for name, geometry in geometries.items()})


class LatencyGoal:
    """Times networks of one run.

    Args:
        device: where the run runs.
        progress: told which share of the table of layers is there.

    Attributes:
        way: in which everything is timed; a run that goes on keeps the one it began in.
        meter: predicts milliseconds, moved to what the unpruned network takes.
        baseline_ms: milliseconds of the unpruned network at the run's start.

    Raises:
        ConfigError: networks cannot be run in that way here.
    """

    def __init__(
        self, config: PruneConfig, ctx: RunContext, baseline: DetectionModel, whole: Budget, *,
        device: str = "cpu", measure: Measure = measure_latency, timer: Timer | None = None,
        progress: Callable[[float], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._config, self._ctx, self._baseline, self._measure = config, ctx, baseline, measure
        folder, geometries = RunFolder(ctx.run_dir), whole.geometries()
        stored = folder.read_json(RUN_FILE)
        self.way = config.latency_way(device) if stored is None else _begun_in(stored, device)
        times = LayerTimes(ctx.workspace.cache, self.way, timer)
        if times.lacks(geometries.values()):
            gpu = msg("Measuring single layers on {device}.", device=self.way.device)
            said = gpu if self.way.on_gpu else msg("Measuring single layers on this computer.")
            ctx.emit(MilestoneRecord(message=said))

        def tick(done: float) -> None:
            ctx.check_stop()
            progress(done)

        times.measure(geometries.values(), tick)
        if stored is None:
            stored = {"baseline_ms": self.medians({})["baseline"], **self.way.as_dict()}
            folder.write_json(RUN_FILE, stored)
        self.baseline_ms: float = stored["baseline_ms"]
        self.meter = _table(times, whole).anchored(whole, self.baseline_ms)
        self._folder, self._whole = folder, whole
        if self.has_learned:
            self._learn(stored["cut"])

    def __call__(self, model: DetectionModel) -> float:
        """Milliseconds of `model`, at the speed that the computer had at the run's start."""
        found = self.medians({"model": model})
        return self.baseline_ms * found["model"] / found["baseline"]

    @property
    def has_learned(self) -> bool:
        """Whether a second network was measured, that told how much of the time is fixed."""
        return bool((self._folder.read_json(RUN_FILE) or {}).get("cut"))

    def learn(self, widths: NDArray[np.int64], share: float) -> None:
        """Move the prediction to a second network too, kept for all sittings.

        Args:
            widths: of a cut of the unpruned network.
            share: of the unpruned network's milliseconds that it was measured at.
        """
        cut = {"widths": widths.tolist(), "share": share}
        self._folder.write_json(RUN_FILE, {**(self._folder.read_json(RUN_FILE) or {}), "cut": cut})
        self._learn(cut)

    def _learn(self, cut: Mapping[str, Any]) -> None:
        milliseconds = cut["share"] * self.baseline_ms
        self.meter = self.meter.through(self._whole, np.array(cut["widths"]), milliseconds)

    def medians(self, models: Mapping[str, DetectionModel]) -> dict[str, float]:
        """Milliseconds of the models and of the unpruned one ("baseline"), timed in turn."""
        measured = self._measure(
            {"baseline": self._baseline, **models},
            self._config.imgsz,
            runs=_RUNS,
            ways=[self.way],
            tick=lambda _: self._ctx.check_stop(),
        )
        self.way = replace(self.way, hardware=measured[0].hardware)
        return {one.name: one.median_ms for one in measured}


def cut_by_the_clock(
    cut: Callable[[GroupTable], tuple[DetectionModel, Selection]],
    table: GroupTable,
    watch: Callable[[DetectionModel], float],
    *,
    low: float,
    high: float,
    attempts: int,
    before: tuple[float, float] | None = None,
) -> tuple[DetectionModel, Selection, float]:
    """The cut network, what was taken, and the milliseconds that it was measured at.

    Args:
        cut: one cut by this table's count.
        low, high: milliseconds between which it should be measured.
        before: count by the table, and measured milliseconds, of the network that is cut.
    """
    tries: list[tuple[float, DetectionModel, Selection, float]] = []
    points = [before] if before else []
    aim, factor = (low + high) / 2, 1.0
    for _ in range(attempts):
        model, selection = cut(table.rescaled(factor))
        milliseconds = watch(model)
        distance = max(milliseconds / high - 1, 1 - milliseconds / low, 0.0)
        tries.append((distance, model, selection, milliseconds))
        if distance <= NEAR:
            break
        here = (selection.count / factor, milliseconds)
        factor = aim / _count_for(aim, here, points)
        points.append(here)
    return min(tries, key=lambda one: one[0])[1:]


def _count_for(
    aim: float, here: tuple[float, float], others: Sequence[tuple[float, float]]
) -> float:
    """The count by the table at which a network should be measured at `aim` milliseconds.

    Along the line to another measured network: the nearest on the far side of the aim, else the
    nearest. In one attempt no further than to half or twice the count.
    """
    count, milliseconds = here
    far = [one for one in others if (one[1] - aim) * (milliseconds - aim) < 0]
    other = min(far or others, key=lambda one: abs(one[1] - aim), default=None)
    slope, fixed = line_through(other, here) or (milliseconds / count, 0.0)
    wanted = (aim - fixed) / slope
    return min(max(wanted, count / 2), count * 2)


def missed_by_the_clock(goal: Goal, milliseconds: float) -> str | None:
    """The sentence for a last cut that was measured too slow, else None."""
    reached = milliseconds / goal.baseline
    if reached <= goal.keep * (1 + FAR):
        return None
    return msg(
        "The goal of {keep:.1%} of the milliseconds was not reached: {reached:.1%} were "
        "measured after the last cut.",
        keep=goal.keep,
        reached=reached,
    )
