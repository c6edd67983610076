"""The search of a run: ratios for the groups, found before the first cut.

    search/
      trials.jsonl       widths, mAP50 and seconds of every finished trial
      *.json, *.jsonl    what the method keeps (curves, episodes, studies, steps)
      allocation.json    the ratios; once it is there, the search is done

All trials see the same images: the run's own validation images in memory, and one set of
calibration images for batch norm. A trial is masked (see `masking`), or cut where a CPU would lose
more time in the masked channels than in surgery; both are the same network.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from msip_core import catalog
from msip_core.allocation.ratios import RatioAllocation, unscaled_sentence, unscaled_share
from msip_core.allocation.searched import Journal, LayerFacts, SearchedAllocation, named
from msip_core.allocation.table import GroupTable
from msip_core.combinations import allocation_name
from msip_core.config import PruneConfig
from msip_core.detector.checkpoints import load_model, save_work
from msip_core.detector.evaluation import Evaluator
from msip_core.detector.fit_state import seed_from
from msip_core.detector.library import DetectionModel, copy_model, hyperparameters, reset
from msip_core.detector.memory import memory_errors_named
from msip_core.events import MilestoneRecord, RunContext
from msip_core.groups.budget import Budget, Widths
from msip_core.groups.coupling import prunable_groups
from msip_core.groups.layout import layer_of
from msip_core.importance.calibration import CalibrationSet
from msip_core.importance.shared import gather_once
from msip_core.importance.statistic import Scene
from msip_core.importance.statistics import multiply_gradients
from msip_core.pruning.bn import recalibrate
from msip_core.pruning.folder import IterationFolder
from msip_core.pruning.iteration import RunParts, widths_of
from msip_core.pruning.masking import Mask
from msip_core.pruning.progress import FIXED_COST, SPEED_EXPONENT, TRAIN_COST
from msip_core.pruning.schedule import final_window
from msip_core.pruning.surgery import prune_channels
from msip_core.steps import SEARCHING

FOLDER = "search"
_GROUPS = 59  # of YOLOv8n and s; larger ones have more, and only the estimate suffers


def settle_ratios(parts: RunParts) -> None:
    """Give the allocation of a run its ratios, from a search where it needs one.

    Done once in the life of a run; after that, read from its folder.
    """
    allocation = parts.allocation
    if not isinstance(allocation, RatioAllocation):
        return
    stored = parts.folder.read_json(SEARCHING.mark)
    if stored is None:
        stored = _settled(parts, allocation)
        parts.folder.write_json(SEARCHING.mark, stored)
        parts.ctx.emit(MilestoneRecord(message=stored["note"]))
    else:
        parts.ctx.skip(SEARCHING)
    if isinstance(allocation, SearchedAllocation):
        allocation.adopt(stored["ratios"])


def _settled(parts: RunParts, allocation: RatioAllocation) -> dict[str, Any]:
    """Ratios, what they leave unscaled, and how they were found."""
    started, map50 = time.perf_counter(), None
    problem = NetworkProblem(parts, scored=isinstance(allocation, SearchedAllocation))
    table = problem.table
    if isinstance(allocation, SearchedAllocation):
        parts.begin(SEARCHING)
        with memory_errors_named(batch=parts.pool.piece, imgsz=parts.config.imgsz):
            found = allocation.search(problem)
        allocation.adopt(found.ratios)
        map50 = found.map50
    ratios = allocation.ratios(table)
    share, goal = unscaled_share(table, ratios), parts.goal
    return {
        "allocation": parts.config.allocation,
        "ratios": named(table, ratios),
        "unscaled": share,
        "map50": map50,
        "trials": len(problem.tried),
        "seconds": time.perf_counter() - started,
        "note": unscaled_sentence(share, goal.keep, goal.noun),
    }


def search_units(config: PruneConfig, *, val: int, calibration: int) -> float:
    """Cost of the search of the run's allocation, in the clock's units; 0 without one."""
    entry, options = catalog.find("allocation", allocation_name(config)), config.search
    if not entry.searches:
        return 0.0
    work = entry.load().work(options, _GROUPS)
    trial = min(options.images, val) + min(options.recalibration, calibration) + FIXED_COST
    tuning = options.short_steps * TRAIN_COST * min(config.calibration.batch, calibration)
    return work.trials * trial + work.tunings * (trial + tuning + FIXED_COST)


class NetworkProblem:
    """The unpruned network of a run as a `SearchProblem`.

    Attributes:
        scored: channels go in the order of the run's criterion. Preset ratios try nothing, so
            they need no order and no calibration pass.
    """

    def __init__(self, parts: RunParts, *, scored: bool = True) -> None:
        config, self.scored = parts.config, scored
        self.parts, self.ctx, self.options = parts, parts.ctx, config.search
        self.iterations, self.seed = config.iterations, seed_from(config.seed, 0, FOLDER)
        self.folder = parts.folder.root / FOLDER
        self.window = final_window(parts.goal.amount, config.limits.multiple)
        self._network = parts.folder.iteration(0).load("model.pt").to(parts.pool.device)
        self._groups = prunable_groups(self._network).groups
        self._journal = Journal(self.folder / "trials.jsonl")
        self.tried: dict[tuple[int, ...], float] = {
            tuple(entry["widths"]): float(entry["map50"]) for entry in self._journal.entries()
        }

    # --- what a search may ask -----------------------------------------------------

    @cached_property
    def table(self) -> GroupTable:
        budget = Budget(self._network, list(self._groups.values()), self.parts.config.imgsz)
        may_lose = self.parts.granularity.open_groups(self._network, budget.names)
        flat = {n: np.zeros(w) for n, w in zip(budget.names, budget.widths, strict=True)}
        scores = self._scores() if self.scored else flat
        watch = self.parts.latency_goal
        return GroupTable(
            budget,
            scores,
            widths_of(budget),
            may_lose,
            meter=self.parts.goal.meter,
            latency=watch.meter if watch else None,
        )

    @cached_property
    def layers(self) -> dict[str, LayerFacts]:
        modules = dict(self._network.named_modules())
        return {name: _facts(modules, name) for name in self._groups}

    def trial(self, widths: Widths) -> float:
        key = tuple(int(w) for w in widths)
        if key not in self.tried:
            started = time.perf_counter()
            map50 = self._measure(self._without(widths))
            self._journal.append(
                {"widths": list(key), "map50": map50, "seconds": time.perf_counter() - started}
            )
            self.tried[key] = map50
        return self.tried[key]

    def short_tune(self, widths: Widths, start: Path | None) -> TunedNetwork:
        model = copy_model(self._network) if start is None else self._load(start)
        prune_channels(model, self._further(model, widths))
        tune_shortly(
            model,
            self.parts.calibration,
            steps=self.options.short_steps,
            rate=self.options.short_lr,
            ctx=self.ctx,
        )
        return TunedNetwork(model, self._measure(model))

    def tick(self, done: float) -> None:
        self.ctx.check_stop()
        self.ctx.advance(done)

    def say(self, message: str) -> None:
        self.ctx.emit(MilestoneRecord(message=message))

    # --- inside ----------------------------------------------------------------------

    def _without(self, widths: Widths) -> DetectionModel:
        """The network at these widths: masked, or cut where that saves a CPU more than it costs."""
        removed, budget = self.table.removed(widths), self.table.budget
        share = float(budget.macs(widths)) / budget.macs_now
        forwards = self._evaluator.batches.images + len(self._statistics)
        saved = forwards * (1 - share**SPEED_EXPONENT)
        if self.parts.pool.device != "cpu" or saved < FIXED_COST:
            return self._mask.masked(removed)
        model = copy_model(self._network)
        prune_channels(model, removed)
        return model

    @cached_property
    def _mask(self) -> Mask:
        return Mask(self._network, self._groups)

    @cached_property
    def _evaluator(self) -> Evaluator:
        pool, images = self.parts.pool, self.options.images
        # The run's own evaluator where it has no more images: they are in memory already.
        return pool.evaluator("val", images if images < len(pool.dataset.split("val")) else None)

    @cached_property
    def _statistics(self) -> CalibrationSet:
        """The calibration images whose batch-norm statistics a trial takes."""
        full, n = self.parts.calibration, self.options.recalibration
        return replace(full, images=full.images[:n], labels=full.labels[:n], ids=full.ids[:n])

    def _measure(self, model: DetectionModel) -> float:
        recalibrate(model, self._statistics, self.ctx)
        return self._evaluator(model).map50

    def _scores(self) -> dict[str, NDArray[np.float64]]:
        """Of the run's criterion on this network; kept, so that every sitting cuts by the same."""
        files = IterationFolder(self.folder)
        if not files.has("scores.npz"):
            config = self.parts.config
            kind = catalog.find("criterion", config.method).load()
            statistics = gather_once(
                self._network,
                self.parts.calibration,
                kind.required(config.msip),
                self.ctx,
                self.ctx.workspace.cache,
            )
            criterion = kind(statistics, config.msip, seed_from(config.seed, 1, "score"))
            scores = {name: s.numpy() for name, s in criterion.scores(self._groups).items()}
            files.write_arrays("scores.npz", scores)
        return files.read_arrays("scores.npz")

    def _load(self, start: Path) -> DetectionModel:
        return load_model(start).to(self.parts.pool.device)

    def _further(self, model: DetectionModel, widths: Widths) -> dict[str, list[int]]:
        """What is still to go for `widths`, as channels of a network that was cut before."""
        modules: Mapping[str, Any] = dict(model.named_modules())
        removed = {}
        for name, order, kept in zip(self.table.names, self.table.order, widths, strict=True):
            left = sorted(order[len(order) - modules[name].out_channels :])
            stay = set(order[len(order) - int(kept) :])
            removed[name] = [place for place, channel in enumerate(left) if channel not in stay]
        return removed


@dataclass(frozen=True)
class TunedNetwork:
    """A network after a short tuning, and its mAP50 with batch norm recalibrated."""

    model: DetectionModel
    map50: float

    def save(self, path: Path) -> None:
        save_work(self.model, path)


def _facts(modules: Mapping[str, Any], name: str) -> LayerFacts:
    conv = modules[name]
    return LayerFacts(
        module=type(modules[f"model.{layer_of(name)}"]).__name__,
        inputs=conv.in_channels,
        outputs=conv.out_channels,
        stride=conv.stride[0],
        kernel=conv.kernel_size[0],
        weights=conv.weight.numel(),
    )


# --- a short tuning -------------------------------------------------------------

MOMENTUM, WEIGHT_DECAY, CLIP = 0.9, 5e-4, 10.0


def tune_shortly(
    model: DetectionModel, calibration: CalibrationSet, *, steps: int, rate: float, ctx: RunContext
) -> None:
    """Train `model` in place for so many steps, which show how well a cut network recovers.

    Plain SGD (momentum .9, weight decay 5e-4) at a constant learning rate on the calibration
    images, batch after batch, without augmentation; batch norm in train mode, gradients clipped as
    in the full fine-tuning. Nothing is drawn, so the same network ends the same. Gradients are
    those of the loss of a whole batch, in however many parts it passes (Ultralytics divides a loss
    by what its own images were assigned); batch norm alone takes the statistics of each part.
    Source: Yang et al. 2018, arXiv:1804.03230 (10 to 500 steps at 1e-3 in the authors' code).

    Args:
        steps: one batch of the calibration set each.
        rate: learning rate.
    """
    args, model.args = model.args, hyperparameters()
    fixed = {id(p) for p in model.model[-1].dfl.parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) not in fixed)
    free = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(free, rate, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    model.train()
    scene = Scene(model, calibration, calibration.micro_batch, ctx)
    with torch.enable_grad():
        for batch in islice(cycle(calibration.batches()), steps):
            optimizer.zero_grad()
            assigned = torch.zeros((), device=scene.device)
            for part in scene.parts(batch):
                loss = scene.loss(part)
                (loss * scene.assigned.clamp(min=1) / len(part)).backward()
                assigned += scene.assigned
            multiply_gradients(model, len(batch) / assigned.clamp(min=1))
            if torch.isfinite(nn.utils.clip_grad_norm_(free, CLIP)):
                optimizer.step()
    optimizer.zero_grad()
    model.args = args
    reset(model.eval())
