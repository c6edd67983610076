"""One iteration: score, cut, measure, fine-tune, measure again. Each stage leaves its result on
disk, so a run that was stopped goes on with the stage it was in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from msip_core import catalog
from msip_core.allocation.base import Allocation
from msip_core.allocation.budget import Budget
from msip_core.allocation.table import Corridor, GroupTable, Selection
from msip_core.config import TERMS, WEIGHT_PRESETS, MsipWeights, PruneConfig
from msip_core.detector.checkpoints import round_to_half
from msip_core.detector.cost import count_cost
from msip_core.detector.fit_state import seed_everything, seed_from
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.detector.memory import memory_errors_named
from msip_core.detector.pool import DataPool
from msip_core.events import (
    IterationRecord,
    LayerChannels,
    Metrics,
    MilestoneRecord,
    Stage,
    StageRecord,
)
from msip_core.importance.calibration import CalibrationSet
from msip_core.importance.msip import MsipImportance, MsipLiteralImportance
from msip_core.importance.statistics import gather
from msip_core.pruning.bn import recalibrated
from msip_core.pruning.clock import Clock
from msip_core.pruning.folder import RunFolder
from msip_core.pruning.recovery import Aids
from msip_core.pruning.schedule import corridor, stopped_by_caps
from msip_core.pruning.surgery import channel_counts, prunable_groups


@dataclass(frozen=True)
class RunParts:
    """What every iteration of a run uses.

    Attributes:
        baseline_macs: of the unpruned network.
        original: group name -> channels in the unpruned network.
        layers: convolution name -> channels in the unpruned network.
    """

    config: PruneConfig
    ctx: Clock
    folder: RunFolder
    pool: DataPool
    calibration: CalibrationSet
    allocation: Allocation
    baseline_macs: float
    original: dict[str, int]
    layers: dict[str, int]


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
        if not self.files.has("importance.json"):
            with self._stage(Stage.IMPORTANCE, "importance"):
                self._score()
        if not self.files.has("cut.json"):
            with self._stage(Stage.PRUNING, "pruning"):
                self._cut()
        if not self.files.has("pruned.json"):
            with self._stage(Stage.EVALUATION_BEFORE, "before"):
                self._measure_cut()
        with self._stage(Stage.FINETUNING, "fit"):
            tuned, seconds = self._finetune()
        with self._stage(Stage.EVALUATION_AFTER, "after"):
            record = self._finish(tuned, seconds)
        self.ctx.emit(record)
        return record

    # --- stages ----------------------------------------------------------------

    def _score(self) -> None:
        started = time.perf_counter()
        model = self._previous
        groups = prunable_groups(model).groups
        weights = self.feedback.weights
        options = self.config.msip.model_copy(update={"weights": weights} if weights else {})
        kind = catalog.find("criterion", self.config.method).load()
        with memory_errors_named(batch=self.parts.calibration.micro_batch, imgsz=self.config.imgsz):
            statistics = gather(model, self.parts.calibration, kind.required(options), self.ctx)
        seed = seed_from(self.config.seed, self.index, "score")
        criterion = kind(statistics, options, seed)
        scores = {name: criterion(group).numpy() for name, group in groups.items()}
        trials = None
        if weights and self.config.msip.dynamic_weights and self.index < self.config.iterations:
            trials = self._trials(model, criterion, groups)
        self.files.write_arrays("importance.npz", scores)
        self.files.write_json(
            "importance.json",
            {"weights": weights.model_dump() if weights else None, "term_map50": trials,
             "seconds": time.perf_counter() - started},
        )  # fmt: skip

    def _trials(self, model: DetectionModel, criterion: Any, groups: Any) -> dict[str, float]:
        """mAP50 on validation of a copy pruned by each term alone to this iteration's MACs,
        recalibrated, not tuned."""
        found = {}
        for term in TERMS:
            alone = criterion.with_weights(WEIGHT_PRESETS[f"{term}-only"])
            scores = {name: alone(group).numpy() for name, group in groups.items()}
            table = self._table(model, groups, scores)
            trial = copy_model(model)
            self._surgery(trial, self.parts.allocation.allocate(table, self._corridor(table)))
            trial = recalibrated(trial, self.parts.calibration, self.ctx)
            found[term] = self._evaluate(trial).map50
        return found

    def _cut(self) -> None:
        started = time.perf_counter()
        model = copy_model(self._previous)
        groups = prunable_groups(model).groups
        table = self._table(model, groups, self.files.read_arrays("importance.npz"))
        selection = self.parts.allocation.allocate(table, self._corridor(table), self.feedback.gain)
        self._surgery(model, selection)
        note = self._note(selection)
        self.files.save("cut.pt", model)
        self.files.write_json(
            "cut.json",
            {"alpha": selection.alpha, "macs": selection.macs, "note": note,
             "seconds": time.perf_counter() - started},
        )  # fmt: skip

    def _measure_cut(self) -> None:
        """Measure with the batch-norm statistics as they are and recalibrated; keep the better."""
        started = time.perf_counter()
        model = self.files.load("cut.pt").to(self.parts.pool.device)
        choices: list[tuple[bool, DetectionModel, Metrics]] = []
        if self.config.bn_recalibration != "always":
            choices.append((False, model, self._evaluate(model)))
        if self.config.bn_recalibration != "never":
            fresh = recalibrated(model, self.parts.calibration, self.ctx)
            choices.append((True, fresh, self._evaluate(fresh)))
        new, kept, metrics = max(choices, key=lambda c: (c[2].map50, c[2].map50_95))
        self.files.save("pruned.pt", kept)
        self.files.write_json(
            "pruned.json",
            {"metrics": metrics.model_dump(mode="json"), "bn_recalibrated": new,
             "map50": {"recalibrated" if c[0] else "as cut": c[2].map50 for c in choices},
             "seconds": time.perf_counter() - started},
        )  # fmt: skip

    def _finetune(self) -> tuple[DetectionModel, float]:
        model = self.files.load("pruned.pt")
        if not self.config.finetune.epochs:
            return model, 0.0
        recover = catalog.find("recovery", self.config.recovery).load()
        result = recover(
            model, self.config, self.config.finetune, workdir=self.files.fit_dir,
            pool=self.parts.pool, iteration=self.index, ctx=self.ctx,
            aids=Aids(self._unpruned, self.parts.calibration),
        )  # fmt: skip
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

    def _unpruned(self) -> DetectionModel:
        """Iteration 0: the network before any cut."""
        return self.parts.folder.iteration(0).load("model.pt")

    def _table(self, model: DetectionModel, groups: Any, scores: Any) -> GroupTable:
        budget = Budget(model, list(groups.values()), self.config.imgsz)
        return GroupTable(budget, scores, self.parts.original)

    def _corridor(self, table: GroupTable) -> Corridor:
        return corridor(
            self.index, self.config.iterations, baseline=self.parts.baseline_macs,
            now=table.budget.macs_now, keep=self.config.keep_macs,
            round_to=self.config.limits.round_to,
        )  # fmt: skip

    def _surgery(self, model: DetectionModel, selection: Selection) -> None:
        catalog.find("granularity", self.config.granularity).load()(model, selection.removed)

    def _evaluate(self, model: DetectionModel) -> Metrics:
        return self.parts.pool.evaluator("val")(model)

    def _note(self, selection: Selection) -> str | None:
        if selection.reached or self.index < self.config.iterations:
            return None
        return stopped_by_caps(
            selection.capped, len(self.parts.original),
            selection.macs / self.parts.baseline_macs, self.config.keep_macs, self.config.limits,
        )  # fmt: skip

    def _record(
        self, model: DetectionModel, after: Metrics, tuning: float, started: float
    ) -> IterationRecord:
        scored, cut, measured = (
            self.files.read_stage(f"{name}.json") for name in ("importance", "cut", "pruned")
        )
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
            seconds={
                "importance": scored["seconds"],
                "pruning": cut["seconds"],
                "evaluation": measured["seconds"] + time.perf_counter() - started,
                "finetuning": tuning,
            },
            weights=scored["weights"],
            term_map50=scored["term_map50"],
            alpha=cut["alpha"],
            layers=tuple(
                LayerChannels(name=n, before=previous[n], after=widths[n], original=original)
                for n, original in self.parts.layers.items()
            ),
            model=f"iterations/{self.index}/model.pt",
        )

    @contextmanager
    def _stage(self, stage: Stage, key: str) -> Iterator[None]:
        """Announce a stage and seed it, so that a resumed run draws the same numbers."""
        self.ctx.check_stop()
        self.ctx.begin((key, self.index))
        self.ctx.emit(StageRecord(stage=stage, iteration=self.index))
        seed_everything(seed_from(self.config.seed, self.index, stage.value))
        yield


def uses_weights(config: PruneConfig) -> bool:
    """Whether the method has MSIP's four weights."""
    kind = catalog.find("criterion", config.method).load()
    return issubclass(kind, MsipImportance | MsipLiteralImportance)


def widths_of(budget: Budget) -> dict[str, int]:
    """Group name -> channels."""
    return dict(zip(budget.names, (int(w) for w in np.asarray(budget.widths)), strict=True))


def _sentence(record: IterationRecord, iterations: int) -> str:
    new = ", batch norm recalibrated" if record.bn_recalibrated else ""
    return (
        f"Iteration {record.index} of {iterations}: {record.macs_ratio:.1%} of the multiply-adds "
        f"left; mAP50 {record.map50_before:.3f} after the cut{new}, {record.map50_after:.3f} "
        "after fine-tuning."
    )
