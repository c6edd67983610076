"""One iteration: score, cut, measure, fine-tune, measure again. Each stage leaves its result on
disk, so a run that was stopped goes on with the stage it was in."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msip_core import catalog
from msip_core.allocation.base import Allocation
from msip_core.allocation.goal import Goal
from msip_core.allocation.table import Corridor, GroupTable, Selection
from msip_core.config import TERMS, WEIGHT_PRESETS, MsipWeights, PruneConfig
from msip_core.detector.checkpoints import round_to_half
from msip_core.detector.cost import count_cost
from msip_core.detector.fit_state import seed_everything, seed_from
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.detector.memory import memory_errors_named
from msip_core.detector.pool import DataPool
from msip_core.events import IterationRecord, LayerChannels, Metrics, MilestoneRecord, StageRecord
from msip_core.groups.budget import Budget
from msip_core.groups.coupling import prunable_groups
from msip_core.importance.calibration import CalibrationSet
from msip_core.importance.shared import gather_once
from msip_core.importance.statistics import Statistics, gather
from msip_core.messages import msg
from msip_core.pruning.block_scores import BlockScorer
from msip_core.pruning.bottlenecks import Site, bottlenecks, remove_bottlenecks
from msip_core.pruning.folder import RunFolder
from msip_core.pruning.granularity import Granularity, Scene
from msip_core.pruning.latency_goal import (
    ATTEMPTS,
    ON_THE_WAY,
    LatencyGoal,
    cut_by_the_clock,
    missed_by_the_clock,
)
from msip_core.pruning.progress import ProgressTracker
from msip_core.pruning.recovery import Aids
from msip_core.pruning.refit import kept_filters
from msip_core.pruning.repair import ABSORBED, AS_CUT, RECALIBRATED, repair, tried
from msip_core.pruning.schedule import corridor, stopped_by_caps
from msip_core.pruning.surgery import channel_counts, prune_channels
from msip_core.steps import (
    BLOCKS,
    CUTTING,
    ITERATION,
    MEASURING,
    REPAIRING,
    SCORING,
    SECONDS,
    TUNING,
    Step,
)
from msip_core.ways import Way


@dataclass(frozen=True)
class RunParts:
    """What every iteration of a run uses.

    Attributes:
        granularity: what a cut may take away.
        goal: of the run, and how it counts.
        latency_goal: measures networks, where milliseconds count; else None.
        baseline_macs: of the unpruned network.
        whole, sites: costs and bottlenecks of the unpruned network.
        original: group name -> channels in the unpruned network.
        layers: convolution name -> channels in the unpruned network.
    """

    config: PruneConfig
    ctx: ProgressTracker
    folder: RunFolder
    pool: DataPool
    calibration: CalibrationSet
    allocation: Allocation
    granularity: Granularity
    goal: Goal
    latency_goal: LatencyGoal | None
    baseline_macs: float
    whole: Budget
    sites: tuple[Site, ...]
    original: dict[str, int]
    layers: dict[str, int]

    @property
    def way(self) -> Way | None:
        """In which way the goal's milliseconds are measured."""
        return self.latency_goal.way if self.latency_goal and self.goal.kind == "latency" else None

    def begin(self, step: Step, iteration: int = 0) -> None:
        """Announce a step and seed it, so that a resumed run draws the same numbers."""
        self.ctx.check_stop()
        self.ctx.begin(step, iteration)
        self.ctx.emit(StageRecord(stage=step.stage, iteration=iteration))
        seed_everything(seed_from(self.config.seed, iteration, step.stage.value))


@dataclass(frozen=True)
class Feedback:
    """What earlier iterations tell this one."""

    gain: float = 1.0
    weights: MsipWeights | None = None


class Iteration:
    """Iteration `index` (from 1) of a run; `run()` returns its record."""

    def __init__(self, parts: RunParts, index: int, feedback: Feedback) -> None:
        self.parts, self.index, self.feedback = parts, index, feedback
        self.config, self.ctx = parts.config, parts.ctx
        self.files = parts.folder.iteration(index)

    def run(self) -> IterationRecord:
        """Do what is not done yet."""
        for step, work in self._work.items():
            if not self.files.done(step):
                started = time.perf_counter()
                self.parts.begin(step, self.index)
                found = work()
                self.files.write_json(step.mark, found | {"seconds": time.perf_counter() - started})
        self.parts.begin(TUNING, self.index)
        tuned, seconds = self._finetune()
        self.parts.begin(MEASURING, self.index)
        record = self._finish(tuned, seconds)
        self.ctx.emit(record)
        return record

    @property
    def _work(self) -> dict[Step, Callable[[], dict[str, object]]]:
        """What finds the result of each step that leaves one, in the order of the steps."""
        granularity = self.parts.granularity
        blocks = {BLOCKS: self._choose_blocks} if granularity.takes_blocks(self.index) else {}
        scores = {SCORING: self._score} if granularity.takes_channels else {}
        return {**blocks, **scores, CUTTING: self._cut, REPAIRING: self._measure_cut}

    # --- stages ----------------------------------------------------------------

    def _choose_blocks(self) -> dict[str, object]:
        """Which bottlenecks go; channels are then scored on the network without them."""
        parts, model = self.parts, self._previous
        budget = self._priced(model)[1]
        goal = self._goal(budget)
        before = goal.of(budget)
        band = self._corridor(before)
        scores = BlockScorer(
            self.config.block_score, model, self.parts.calibration, self.files, self.ctx,
            evaluate=lambda trial: self._evaluate(trial).map50,
        )  # fmt: skip
        names = parts.granularity.choose_blocks(
            Scene(
                sites=bottlenecks(model), budget=budget, whole_sites=parts.sites,
                whole_budget=parts.whole, iteration=self.index,
                edge=band.aim if self.index == self.config.iterations else band.high,
                goal=goal, scores=scores,
            )
        )  # fmt: skip
        if names:
            said = msg(
                "Iteration {index} takes out {n} of the {sites} blocks: {names}.",
                index=self.index,
                n=len(names),
                sites=len(parts.sites),
                names=", ".join(names),
            )
            self.ctx.emit(MilestoneRecord(message=said))
        return {"removed": list(names), "scores": scores.found, "before": before}

    def _score(self) -> dict[str, object]:
        model, groups = self._start, self._coupled[0]
        weights = self.feedback.weights
        options = self.config.msip.model_copy(update={"weights": weights} if weights else {})
        kind = catalog.find("criterion", self.config.method).load()
        with memory_errors_named(batch=self.parts.calibration.micro_batch, imgsz=self.config.imgsz):
            statistics = self._gather(model, kind.required(options))
        seed = seed_from(self.config.seed, self.index, "score")
        criterion = kind(statistics, options, seed)
        scores = {name: score.numpy() for name, score in criterion.scores(groups).items()}
        trials = None
        if weights and self.config.msip.dynamic_weights and self.index < self.config.iterations:
            trials = self._trials(model, criterion, groups)
        self.files.write_arrays("importance.npz", scores)
        told = weights.model_dump() if weights else None
        return {"weights": told, "term_map50": trials, "alike": self._alike(model, scores)}

    def _alike(self, model: DetectionModel, scores: Mapping[str, NDArray[np.float64]]) -> list[str]:
        """Layers that may lose channels and have one score for all of these; said when new."""
        names = list(scores)
        may_lose = self.parts.granularity.open_groups(model, names)
        flat = {n for n, score in scores.items() if 1 == len(np.unique(score)) < len(score)}
        alike = [name for name, is_open in zip(names, may_lose) if is_open and name in flat]
        before = self.parts.folder.iteration(self.index - 1).read_json(SCORING.mark) or {}
        if set(alike) - set(before.get("alike", ())):
            label = catalog.find("criterion", self.config.method).label
            said = msg(
                "{label} tells no channels apart in {n} of {groups} layers ({names}): their "
                "channels would go in the order of their numbers. Calibration images with objects "
                "of every size and class may tell more.",
                label=label,
                n=len(alike),
                groups=len(names),
                names=", ".join(alike[:3]) + (", …" if len(alike) > 3 else ""),
            )
            self.ctx.emit(MilestoneRecord(message=said, level="warning"))
        return alike

    def _gather(self, model: DetectionModel, needs: frozenset[str]) -> Statistics:
        """Once for all runs that start from this network; later networks are this run's own."""
        calibration = self.parts.calibration
        if self.index == 1:
            return gather_once(model, calibration, needs, self.ctx, self.ctx.workspace.cache)
        return gather(model, calibration, needs, self.ctx)

    def _trials(self, model: DetectionModel, criterion: Any, groups: Any) -> dict[str, float]:
        """mAP50 on validation of a copy pruned by each term alone to this iteration's MACs,
        repaired as the run repairs, not tuned: a term that knows about the repair (what a channel
        costs after the others made up for it) would be misjudged without."""
        found = {}
        for term in TERMS:
            alone = criterion.with_weights(WEIGHT_PRESETS[f"{term}-only"])
            scores = {name: score.numpy() for name, score in alone.scores(groups).items()}
            table = self._table(scores)
            trial = copy_model(model)
            chosen = self.parts.allocation.allocate(table, self._corridor(self._before(table)))
            prune_channels(trial, chosen.removed)
            kept = kept_filters(groups, chosen.removed, channel_counts(model))
            trial = tried(
                trial, self.config.repair, self.parts.calibration, (model, kept), ctx=self.ctx
            )
            found[term] = self._evaluate(trial).map50
        return found

    def _cut(self) -> dict[str, object]:
        model = self._start
        groups: Mapping[str, Any] = {}
        removed: Mapping[str, Sequence[int]] = {}
        found: dict[str, object] = {"alpha": None, "note": None, "latency_ms": None}
        if self.parts.granularity.takes_channels:
            groups = self._coupled[0]
            table = self._table(self.files.read_arrays("importance.npz"))
            watch, band = self.parts.latency_goal, self._corridor(self._before(table))
            if watch is not None and self.parts.goal.kind == "latency":
                last, goal = self.index == self.config.iterations, self.parts.goal.amount
                model, selection, measured = cut_by_the_clock(
                    lambda predicted: self._cut_channels(predicted, band), table, watch,
                    low=goal if last else band.low, high=goal if last else band.high,
                    attempts=ATTEMPTS if last else ON_THE_WAY, before=self._measured(table),
                )  # fmt: skip
                found["latency_ms"] = measured
                found["note"] = missed_by_the_clock(self.parts.goal, measured) if last else None
            else:
                model, selection = self._cut_channels(table, band)
                found["note"] = self._note(selection)
            found["alpha"], removed = selection.alpha, selection.removed
        kept = kept_filters(groups, removed, channel_counts(self._start))
        self.files.save("cut.pt", model)
        self.files.write_arrays("kept.npz", {name: k.numpy() for name, k in kept.items()})
        return found

    def _cut_channels(self, table: GroupTable, band: Corridor) -> tuple[DetectionModel, Selection]:
        selection = self.parts.allocation.allocate(table, band, self.feedback.gain)
        model = copy_model(self._start)
        prune_channels(model, selection.removed)
        return model, selection

    def _measure_cut(self) -> dict[str, object]:
        """Measure the network as cut and repaired, as the config says; keep the best."""
        found = repair(
            self.files.load("cut.pt").to(self.parts.pool.device), self.config.repair,
            self.parts.calibration, self._evaluate, self._before_the_cut, ctx=self.ctx,
        )  # fmt: skip
        self.files.save("pruned.pt", found.model)
        return {
            "metrics": found.metrics.model_dump(mode="json"),
            "repair": found.name,
            "bn_recalibrated": found.name == RECALIBRATED,
            "map50": found.map50,
        }

    def _finetune(self) -> tuple[DetectionModel, float]:
        model = self.files.load("pruned.pt")
        if not self.config.epochs_after(self.index):
            return model, 0.0
        recover = catalog.find("recovery", self.config.recovery).load()
        result = recover(
            model, self.config, self.config.finetune, workdir=self.files.fit_dir,
            pool=self.parts.pool, iteration=self.index, ctx=self.ctx,
            aids=Aids(self._unpruned, self.parts.calibration, self._averaged),
        )  # fmt: skip
        self.files.write_json("average.json", {"steps": result.averaged})
        return result.model, result.seconds

    def _finish(self, tuned: DetectionModel, seconds: float) -> IterationRecord:
        started = time.perf_counter()
        # Rounded before it is measured, so that the half-precision file is the measured model.
        model = round_to_half(tuned)
        metrics = self._evaluate(model)
        self.files.save("model.pt", model)
        record = self._record(model, metrics, seconds, started)
        self.files.finish(record)
        self.ctx.emit(MilestoneRecord(message=_sentence(record, self.config.iterations)))
        return record

    # --- pieces ----------------------------------------------------------------

    @cached_property
    def _previous(self) -> DetectionModel:
        """The model this iteration starts from, on the device."""
        model = self.parts.folder.iteration(self.index - 1).load("model.pt")
        return model.to(self.parts.pool.device)

    @cached_property
    def _start(self) -> DetectionModel:
        """The previous model without the blocks that go in this iteration."""
        names = self._blocks["removed"]
        if not names:
            return self._previous
        model = copy_model(self._previous)
        remove_bottlenecks(model, names)
        return model

    def _unpruned(self) -> DetectionModel:
        """Iteration 0: the network before any cut."""
        return self.parts.folder.iteration(0).load("model.pt")

    @property
    def _averaged(self) -> int:
        """Steps that the running average of the weights has counted before, where it goes on."""
        if self.config.average == "restart":
            return 0
        earlier = (self.parts.folder.iteration(i) for i in range(self.index - 1, 0, -1))
        counts = (files.read_json("average.json") for files in earlier)
        return next((int(found["steps"]) for found in counts if found), 0)

    def _before_the_cut(self) -> tuple[DetectionModel, dict[str, Tensor]]:
        """What a refit imitates: the network with the blocks and channels that went in this
        iteration, and the filters that stayed."""
        kept = self.files.read_arrays("kept.npz")
        return self._previous, {n: torch.from_numpy(k).long() for n, k in kept.items()}

    @property
    def _blocks(self) -> dict[str, Any]:
        return self.files.read_json(BLOCKS.mark) or {"removed": []}

    @cached_property
    def _coupled(self) -> tuple[Mapping[str, Any], Budget]:
        """Groups of the network that is cut and what they cost: traced once, for all its steps."""
        return self._priced(self._start)

    def _priced(self, model: DetectionModel) -> tuple[Mapping[str, Any], Budget]:
        groups = prunable_groups(model).groups
        return groups, Budget(model, list(groups.values()), self.config.imgsz)

    def _table(self, scores: Any) -> GroupTable:
        budget = self._coupled[1]
        may_lose = self.parts.granularity.open_groups(self._start, budget.names)
        latency = self.parts.latency_goal.meter if self.parts.latency_goal else None
        return GroupTable(
            budget, scores, self.parts.original, may_lose,
            meter=self._goal(budget).meter, latency=latency,
        )  # fmt: skip

    def _goal(self, budget: Budget) -> Goal:
        """The goal of the run; milliseconds count from what the previous cut was measured at."""
        record = self.parts.folder.iteration(self.index - 1).read_record()
        if record is None or record.latency_ms is None:
            return self.parts.goal
        return self.parts.goal.anchored(budget, record.latency_ms)

    def _before(self, table: GroupTable) -> float:
        """Count that this iteration started from, with the blocks that it takes out."""
        return float(self._blocks.get("before", table.count(table.budget.widths)))

    def _measured(self, table: GroupTable) -> tuple[float, float] | None:
        """Count by the table and milliseconds of the network that is cut, where that is the one
        that was measured: no block has gone from it since."""
        if self._blocks["removed"]:
            return None
        record = self.parts.folder.iteration(self.index - 1).read_record()
        measured = record.latency_ms if record else None
        count = float(table.count(table.budget.widths))
        return count, measured or self.parts.goal.baseline

    def _corridor(self, now: float) -> Corridor:
        goal = self.parts.goal
        return corridor(
            self.index, self.config.iterations, baseline=goal.baseline, now=now, keep=goal.keep,
            round_to=self.config.limits.multiple,
        )  # fmt: skip

    def _evaluate(self, model: DetectionModel) -> Metrics:
        return self.parts.pool.evaluator("val")(model)

    def _note(self, selection: Selection) -> str | None:
        if selection.reached or self.index < self.config.iterations:
            return None
        return stopped_by_caps(
            selection.capped, len(self.parts.original),
            selection.count / self.parts.goal.baseline, self.parts.goal.keep, self.config.limits,
            noun=self.parts.goal.noun,
        )  # fmt: skip

    def _record(
        self, model: DetectionModel, after: Metrics, tuning: float, started: float
    ) -> IterationRecord:
        cut, measured = (self.files.read_stage(s.mark) for s in (CUTTING, REPAIRING))
        scored = self.files.read_json(SCORING.mark) or {}
        before = Metrics.model_validate(measured["metrics"])
        cost = count_cost(model, self.config.imgsz)
        widths = channel_counts(model)
        previous = channel_counts(self._previous)
        return IterationRecord(
            index=self.index,
            macs=cost.macs,
            params=cost.params,
            size_mb=cost.size_mb,
            macs_ratio=cost.macs / self.parts.baseline_macs,
            map50_before=before.map50,
            map50_95_before=before.map50_95,
            map50_after=after.map50,
            map50_95_after=after.map50_95,
            loss_after=after.loss,
            bn_recalibrated=measured["bn_recalibrated"],
            # An older version noted only whether batch norm was recalibrated.
            repair=measured.get("repair", RECALIBRATED if measured["bn_recalibrated"] else AS_CUT),
            repair_map50=measured["map50"],
            seconds=self._seconds({TUNING: tuning, MEASURING: time.perf_counter() - started}),
            weights=scored.get("weights"),
            term_map50=scored.get("term_map50"),
            alpha=cut["alpha"],
            latency_ms=cut.get("latency_ms"),
            latency_way=self.parts.way if cut.get("latency_ms") else None,
            blocks=tuple(self._blocks["removed"]),
            # A layer of a block that has gone has no channels left.
            layers=tuple(
                LayerChannels(
                    name=n, before=previous.get(n, 0), after=widths.get(n, 0), original=original
                )
                for n, original in self.parts.layers.items()
            ),
            model=f"iterations/{self.index}/model.pt",
        )

    def _seconds(self, now: Mapping[Step, float]) -> dict[str, float]:
        """Column -> what its steps took, in this sitting or as their results say."""
        columns = dict.fromkeys(SECONDS, 0.0)
        for step in ITERATION:
            stored = self.files.read_json(step.mark) if step in self._work else None
            columns[step.seconds] += now.get(step, 0.0) + (stored or {}).get("seconds", 0.0)
        return columns


def uses_weights(config: PruneConfig) -> bool:
    """Whether the method has MSIP's four weights."""
    return catalog.find("criterion", config.method).has_term_weights


def widths_of(budget: Budget) -> dict[str, int]:
    """Group name -> channels."""
    return dict(zip(budget.names, (int(w) for w in np.asarray(budget.widths)), strict=True))


def _sentence(record: IterationRecord, iterations: int) -> str:
    facts = {
        "index": record.index, "iterations": iterations, "left": record.macs_ratio,
        "cut": record.map50_before, "tuned": record.map50_after,
    }  # fmt: skip
    if record.bn_recalibrated:
        return msg(
            "Iteration {index} of {iterations}: {left:.1%} of the multiply-adds left; mAP50 "
            "{cut:.3f} after the cut, batch norm recalibrated, {tuned:.3f} after fine-tuning.",
            **facts,
        )
    if record.repair == ABSORBED:
        return msg(
            "Iteration {index} of {iterations}: {left:.1%} of the multiply-adds left; mAP50 "
            "{cut:.3f} after the cut, lost constants absorbed, {tuned:.3f} after fine-tuning.",
            **facts,
        )
    if record.repair.startswith("refitted"):
        return msg(
            "Iteration {index} of {iterations}: {left:.1%} of the multiply-adds left; mAP50 "
            "{cut:.3f} after the cut, weights refitted, {tuned:.3f} after fine-tuning.",
            **facts,
        )
    return msg(
        "Iteration {index} of {iterations}: {left:.1%} of the multiply-adds left; mAP50 "
        "{cut:.3f} after the cut, {tuned:.3f} after fine-tuning.",
        **facts,
    )
