"""The life of a pruning run: one config in, a stream of events and a smaller model out.

    baseline evaluation -> C2f to C2f_v2 (-> pre-training) -> T times [score, cut, measure,
    fine-tune, measure] -> test of baseline and pruned model -> model in the workspace

Called again on the same folder, a run goes on where it stopped. Every stage starts from a seed
made of (seed, iteration, stage), so a resumed run ends like an unbroken one.
"""

from __future__ import annotations

import time
from pathlib import Path

from msip_core import catalog
from msip_core.allocation.base import Allocation
from msip_core.allocation.goal import goal_of
from msip_core.combinations import allocation_name, check_combination, what_chose
from msip_core.config import PruneConfig
from msip_core.data.cut import CutDataset, open_for_run
from msip_core.data.dataset import ensure_ready
from msip_core.detector.build import register_model
from msip_core.detector.c2f import to_c2f_v2
from msip_core.detector.cost import count_cost
from msip_core.detector.devices import resolve_device
from msip_core.detector.evaluation import check_classes
from msip_core.detector.library import DetectionModel
from msip_core.detector.pool import DataPool
from msip_core.detector.sources import load_source_model
from msip_core.documents import read_record
from msip_core.events import (
    BaselineRecord,
    Cost,
    FinalRecord,
    IterationRecord,
    Metrics,
    MilestoneRecord,
    RunContext,
    Stage,
    StageRecord,
)
from msip_core.groups.budget import Budget
from msip_core.groups.coupling import prunable_groups
from msip_core.importance.calibration import CalibrationSet, choose_images, load_calibration
from msip_core.messages import msg
from msip_core.models import open_card
from msip_core.pruning.bottlenecks import bottlenecks, count_bottlenecks
from msip_core.pruning.folder import RunFolder
from msip_core.pruning.granularity import granularity_of
from msip_core.pruning.iteration import Feedback, Iteration, RunParts, widths_of
from msip_core.pruning.latency_goal import (
    LatencyGoal,
    finds_multiple,
    needs_milliseconds,
    predicted,
)
from msip_core.pruning.multiples import is_settled, settled
from msip_core.pruning.progress import Part, ProgressTracker, plan
from msip_core.pruning.recovery import check_recovery, finetune
from msip_core.pruning.schedule import next_alpha, next_weights
from msip_core.pruning.search import search_units, settle_ratios
from msip_core.pruning.surgery import channel_counts
from msip_core.questions.sources import model_named
from msip_core.steps import BASELINE, ITERATION, LAYERS, MULTIPLE, PRETRAINING, TESTING, Step
from msip_core.workspace import Workspace

# Metrics of the opened network, where it is not the baseline to the last bit.
_OPENED = "opened.json"


def run(config: PruneConfig, ctx: RunContext) -> None:
    """Prune `config.model` on `config.dataset`; go on where an earlier sitting stopped.

    Raises:
        Stopped: a person asked to pause or cancel; what is finished is kept.
        GoalUnreachableError: the limits cannot reach the goal; said before any work.
        InputError: model, dataset or settings cannot be used.
    """
    PruneRun(config, ctx).go()


class PruneRun:
    """One run; `go` does what is not done yet."""

    def __init__(self, config: PruneConfig, ctx: RunContext) -> None:
        check_combination(config)
        self.config = config
        self.folder = RunFolder(ctx.run_dir)
        self.dataset = ensure_ready(open_for_run(ctx.workspace, config))
        self.source = load_source_model(ctx.workspace, model_named(config.model))[0]
        check_classes(self.source, self.dataset.classes)
        check_recovery(config, self.source)
        self.calibration_ids = self._calibration_ids()
        self.criterion = catalog.find("criterion", config.method)
        self.ctx = ProgressTracker(ctx, self._plan())
        self.device = resolve_device(config.device)
        self.pool = DataPool(
            self.dataset, imgsz=config.imgsz, batch=config.batch, device=self.device,
            workers=config.workers, loader=config.loader, parts=config.parts,
            tick=self.ctx.check_stop,
        )  # fmt: skip

    def go(self) -> None:
        final = read_record(self.folder.root / TESTING.mark, FinalRecord)
        if final is None:
            try:
                final = self._work()
            finally:
                self.pool.close()
        self.ctx.end()
        self.ctx.emit(final)

    def _work(self) -> FinalRecord:
        network = to_c2f_v2(self.source, self.config.prox)
        groups = prunable_groups(network).groups
        budget = Budget(network, list(groups.values()), self.config.imgsz)
        granularity, latency_goal = granularity_of(self.config), self._latency_goal(budget)
        if latency_goal:
            if finds_multiple(self.config):
                (self.ctx.skip if is_settled(self.folder) else self.ctx.begin)(MULTIPLE)
            self.config = settled(self.config, self.ctx, network, budget, latency_goal)
            granularity = granularity_of(self.config)
        hopeful = latency_goal.meter.hopeful() if latency_goal else None
        granularity.check(network, budget, goal_of(self.config, budget, hopeful))
        goal = goal_of(self.config, budget, latency_goal.meter if latency_goal else None)
        baseline = self._baseline()
        reference = self._prepare(network, baseline)
        parts = RunParts(
            config=self.config, ctx=self.ctx, folder=self.folder, pool=self.pool,
            calibration=self._calibration(), allocation=allocation_of(self.config),
            granularity=granularity, goal=goal, latency_goal=latency_goal,
            baseline_macs=budget.macs_now, whole=budget, sites=bottlenecks(network),
            original=widths_of(budget), layers=channel_counts(network),
        )  # fmt: skip
        settle_ratios(parts)
        good, stopped_by = self._iterate(parts, baseline, reference)
        return self._finish(good, stopped_by, baseline, parts)

    def _latency_goal(self, budget: Budget) -> LatencyGoal | None:
        """Measures milliseconds, if the run counts them; the table of layers is filled first."""
        if not needs_milliseconds(self.config):
            return None
        if predicted(self.config, budget, self.ctx.workspace.cache, self.device):
            self.ctx.skip(LAYERS)
        else:
            self.ctx.begin(LAYERS)
        return LatencyGoal(
            self.config,
            self.ctx,
            self.source,
            budget,
            device=self.device,
            progress=self.ctx.advance,
        )

    # --- before the iterations ---------------------------------------------------

    def _baseline(self) -> BaselineRecord:
        record = self.folder.read_baseline()
        if record is None:
            self._begin(BASELINE)
            if isinstance(self.dataset, CutDataset):
                self._say(self.dataset.words)
            started = time.perf_counter()
            metrics = self.pool.evaluator("val")(self.source)
            record = BaselineRecord(
                metrics=metrics,
                cost=count_cost(self.source, self.config.imgsz),
                seconds=time.perf_counter() - started,
            )
            self.folder.write_baseline(record)
        else:
            self.ctx.skip(BASELINE)
        self.ctx.emit(record)
        return record

    def _prepare(self, network: DetectionModel, baseline: BaselineRecord) -> float | None:
        """Write iteration 0, pre-trained if asked; returns the loss that feedback compares with."""
        files = self.folder.iteration(0)
        recipe = self.config.preparation
        if recipe is None or not recipe.epochs:
            if not files.model_path.is_file():
                files.save("model.pt", network)
            return (
                self._opened_loss(network, baseline) if self.config.prox else baseline.metrics.loss
            )
        if not files.done(PRETRAINING):
            self._begin(PRETRAINING)
            result = finetune(
                network, self.config, recipe, workdir=files.fit_dir, pool=self.pool,
                iteration=0, ctx=self.ctx, phase="pretrain",
            )  # fmt: skip
            if result.taken:  # says nothing about how long training takes
                self.ctx.skip(PRETRAINING)
            metrics = result.metrics or self.pool.evaluator("val")(result.model)
            files.save("model.pt", result.model)
            files.write_json(PRETRAINING.mark, metrics.model_dump(mode="json"))
            files.tidy()
            before = baseline.metrics.map50
            self._say(
                msg(
                    "Pre-training took mAP50 from {before:.3f} to {after:.3f}.",
                    before=before,
                    after=metrics.map50,
                )
            )
        return Metrics.model_validate(files.read_json(PRETRAINING.mark)).loss

    def _opened_loss(self, network: DetectionModel, baseline: BaselineRecord) -> float | None:
        """Loss of the network whose copied weights were thresholded, which is another one."""
        files = self.folder.iteration(0)
        stored = files.read_json(_OPENED)
        if stored is None:
            metrics = self.pool.evaluator("val")(network)
            stored = metrics.model_dump(mode="json")
            files.write_json(_OPENED, stored)
            self._say(
                msg(
                    "Thresholding the copied weights by {prox:g} took mAP50 from {before:.3f} to "
                    "{after:.3f}.",
                    prox=self.config.prox,
                    before=baseline.metrics.map50,
                    after=metrics.map50,
                )
            )
        return Metrics.model_validate(stored).loss

    def _calibration_ids(self) -> tuple[str, ...]:
        """The images of this run: chosen once, then read from the run folder."""
        stored = self.folder.read_json("calibration.json")
        if stored is not None:
            return tuple(stored["images"])
        ids = choose_images(self.dataset, self.config.calibration, self.config.seed)
        self.folder.write_json(
            "calibration.json",
            {
                "dataset": self.dataset.name,
                "dataset_hash": self.dataset.content_hash,
                "seed": self.config.seed,
                "images": list(ids),
            },
        )
        return ids

    def _calibration(self) -> CalibrationSet:
        wanted = self.config.calibration.batches * self.config.calibration.batch
        if len(self.calibration_ids) < wanted:
            self._say(
                msg(
                    "The dataset has {n} labelled training images, fewer "
                    "than the {wanted} that calibration asks for: it uses these.",
                    n=len(self.calibration_ids),
                    wanted=wanted,
                )
            )
        return load_calibration(
            self.dataset,
            self.calibration_ids,
            self.config.calibration,
            self.config.imgsz,
            self.config.seed,
        ).kept_on(self.device)

    # --- the iterations -----------------------------------------------------------

    def _iterate(
        self, parts: RunParts, baseline: BaselineRecord, reference: float | None
    ) -> tuple[int, str | None]:
        """Run the iterations; returns the last good one and why fewer ran than asked."""
        records = self.folder.finished()
        for record in records:
            for step in ITERATION:
                self.ctx.skip(step, record.index)
        if records:
            # A kill between the file and the event would have lost it; readers go by index.
            self.ctx.emit(records[-1])
        while True:
            reason = self._guard(records, baseline)
            if reason:
                return records[-1].index - 1, reason
            if len(records) == self.config.iterations:
                return len(records), self._cap_note(len(records))
            feedback = self._feedback(records, reference)
            records.append(Iteration(parts, len(records) + 1, feedback).run())

    def _feedback(self, records: list[IterationRecord], reference: float | None) -> Feedback:
        """What alpha and the weights should be, from the records alone."""
        weights = self.config.msip.weights if self.criterion.has_term_weights else None
        gain = 1.0
        if records:
            last = records[-1]
            if last.alpha and last.loss_after is not None and reference:
                gain = next_alpha(last.alpha, last.loss_after, reference) / last.alpha
            if weights and last.weights:
                weights = type(weights)(**last.weights)
                if last.term_map50:
                    trials = list(last.term_map50.values())
                    weights = next_weights(weights, trials, self.criterion.adapted)
        return Feedback(gain, weights)

    def _guard(self, records: list[IterationRecord], baseline: BaselineRecord) -> str | None:
        """The sentence of the guard rail, if the last iteration fell through it."""
        limit = self.config.max_map50_drop
        if limit is None or not records:
            return None
        last = records[-1]
        drop = baseline.metrics.map50 - last.map50_after
        if drop <= limit:
            return None
        kept = (
            msg("iteration {index}", index=last.index - 1)
            if last.index > 1
            else msg("the unpruned model")
        )
        return msg(
            "Stopped after iteration {index}: mAP50 fell by {drop:.3f} below the baseline's "
            "{map50:.3f}, more than the {limit:.3f} allowed. Kept {kept}.",
            index=last.index,
            drop=drop,
            map50=baseline.metrics.map50,
            limit=limit,
            kept=kept,
        )

    def _cap_note(self, index: int) -> str | None:
        cut = self.folder.iteration(index).read_json("cut.json")
        return cut["note"] if cut else None

    # --- after the iterations ------------------------------------------------------

    def _finish(
        self, good: int, stopped_by: str | None, baseline: BaselineRecord, parts: RunParts
    ) -> FinalRecord:
        self._begin(TESTING, good)
        if stopped_by:
            self._say(stopped_by, warning=True)
        model = self.folder.iteration(good).load("model.pt")
        metrics = self.pool.evaluator("val")(model)
        test = before = None
        if self.dataset.split("test"):
            test = self.pool.evaluator("test")(model)
            before = self.pool.evaluator("test")(self.source)
        cost = count_cost(model, self.config.imgsz)
        ratio = cost.macs / baseline.cost.macs
        self.ctx.emit(StageRecord(stage=Stage.SAVING, iteration=good))
        model_id = f"pruned-{self.ctx.run_id}"[:64]
        register_model(
            self.ctx.workspace, model, name=self.config.name, kind="pruned",
            imgsz=self.config.imgsz, model_id=model_id, dataset=self.dataset, val=metrics,
            test=test, baseline_id=_card_id(self.config.model, self.ctx.workspace),
            macs_ratio=ratio,
            origin={
                "run_id": self.ctx.run_id, "iteration": good, "method": what_chose(self.config),
                "baseline": Path(self.config.model).name,
            },
            note=stopped_by or "",
        )  # fmt: skip
        final = FinalRecord(
            iteration=good, metrics=metrics, test=test, baseline_test=before, cost=cost,
            macs_ratio=ratio, goal_ratio=_goal_ratio(model, cost, baseline, parts),
            latency_way=parts.way,
            channel_multiple=parts.config.limits.multiple, stopped_by=stopped_by, model_id=model_id,
            artifacts=self._artifacts(model_id, good),
        )  # fmt: skip
        self.folder.write_json(TESTING.mark, final.model_dump(mode="json"))
        return final

    def _artifacts(self, model_id: str, good: int) -> dict[str, str]:
        """Name -> path below the workspace of what a person may want."""
        root = self.ctx.workspace.root
        folder = self.ctx.workspace.model_dir(model_id)
        paths = {
            "model": folder / "model.pt",
            "work": folder / "work.pt",
            "card": folder / "model.json",
            "layers": self.folder.iteration(good).root / "layers.json",
            "calibration": self.folder.root / "calibration.json",
        }
        return {name: p.relative_to(root).as_posix() for name, p in paths.items() if p.is_file()}

    # --- small pieces --------------------------------------------------------------

    def _plan(self) -> list[Part]:
        val, calibration = len(self.dataset.split("val")), len(self.calibration_ids)
        return plan(
            self.config,
            train=len(self.dataset.split("train")),
            val=val,
            test=len(self.dataset.split("test")),
            calibration=calibration,
            blocks=count_bottlenecks(self.source),
            search=search_units(self.config, val=val, calibration=calibration),
        )

    def _begin(self, step: Step, iteration: int = 0) -> None:
        self.ctx.check_stop()
        self.ctx.begin(step)
        self.ctx.emit(StageRecord(stage=step.stage, iteration=iteration))

    def _say(self, message: str, *, warning: bool = False) -> None:
        self.ctx.emit(MilestoneRecord(message=message, level="warning" if warning else "info"))


def allocation_of(config: PruneConfig) -> Allocation:
    """The allocation that a config asks for; without adaptive threshold, the same share for all."""
    kind = catalog.find("allocation", allocation_name(config)).load()
    allocation: Allocation = kind(config.limits)
    return allocation


def _goal_ratio(
    model: DetectionModel, cost: Cost, baseline: BaselineRecord, parts: RunParts
) -> float:
    """What is left of what the goal counts; milliseconds are measured once more."""
    if parts.goal.kind == "params":
        return cost.params / baseline.cost.params
    if parts.goal.kind == "latency" and parts.latency_goal:
        return parts.latency_goal(model) / parts.latency_goal.baseline_ms
    return cost.macs / baseline.cost.macs


def _card_id(model: str, workspace: Workspace) -> str | None:
    return None if Path(model).suffix == ".pt" else open_card(workspace, model).id
