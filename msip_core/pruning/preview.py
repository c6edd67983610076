"""What a run would take away, before it runs: one cut to the goal, nothing trained.

The scores come from a few calibration images, looked at once and kept by content. Of MSIP the four
terms are kept, not their sum, so that a changed weight only fuses them anew. The run itself goes
to the goal in steps and scores anew at each, so its layers will differ.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import msip_core
from msip_core import catalog
from msip_core.allocation.searched import SearchedAllocation
from msip_core.allocation.table import GroupTable, Selection
from msip_core.config import BATCHES, CalibrationConfig, PruneConfig
from msip_core.data.dataset import Dataset, open_dataset
from msip_core.detector.devices import resolve_device
from msip_core.detector.evaluation import check_classes
from msip_core.detector.fit_state import seed_from
from msip_core.detector.library import copy_model
from msip_core.detector.memory import memory_errors_named
from msip_core.errors import GoalUnreachableError
from msip_core.events import LayerChannels, Record
from msip_core.importance.calibration import choose_images, load_calibration
from msip_core.importance.msip import Terms
from msip_core.importance.statistics import Statistics, gather
from msip_core.pruning.estimate import disk_gb, memory_gb
from msip_core.pruning.iteration import uses_weights, widths_of
from msip_core.pruning.loop import allocation_of
from msip_core.pruning.network import Network, open_network
from msip_core.pruning.schedule import check_reachable, final_window, least_macs
from msip_core.pruning.surgery import prunable_groups
from msip_core.workspace import Workspace, write_json

Scores = dict[str, NDArray[np.float64]]
Progress = Callable[[float, str], None]

_LARGE = 384  # px; images beyond it cost a CPU seconds each
_MARK = "result.json"  # by which the cache's cleaning knows a whole folder
_CALIBRATING = 0.9  # share of the work


class Preview(Record):
    """One cut to the goal, and what the run will need.

    Attributes:
        macs, params, size_mb: (before, after) the cut; MACs at the run's image size.
        refused: why the run cannot come to its goal even in steps, else None.
        least: smallest share of the MACs that the run's limits allow.
        images: calibration images that were looked at; 0 where only weights count.
        memory_gb: batch size -> peak of a training step.
        disk_gb: what the run will keep.
        note: what the picture cannot show of this run, or "".
    """

    macs: tuple[float, float]
    params: tuple[float, float]
    size_mb: tuple[float, float]
    layers: tuple[LayerChannels, ...]
    refused: str | None
    least: float
    images: int
    memory_gb: dict[int, float]
    disk_gb: float
    note: str = ""


def preview(config: PruneConfig, workspace: Workspace, progress: Progress) -> Preview:
    """Cut once, on paper.

    Raises:
        InputError: model or dataset cannot be used, or they do not fit.
    """
    progress(0.0, "Opening the detector")
    network = open_network(workspace, config.model, config.imgsz)
    dataset = open_dataset(workspace, config.dataset)
    check_classes(network.model, dataset.classes)
    scores, images = _scores(config, workspace, network, dataset, progress)
    progress(_CALIBRATING, "Choosing the channels")
    selection = one_cut(network, scores, config)
    budget = network.budget
    kept = budget.vector(selection.widths)
    after = budget.layer_widths(kept)
    images_to_learn = len(dataset.split("train"))
    return Preview(
        macs=(budget.macs_now, float(budget.macs(kept))),
        params=(float(budget.params_now), float(budget.params(kept))),
        size_mb=(network.size_mb, network.size_mb - budget.halves_freed(kept) * 2 / 2**20),
        layers=tuple(
            LayerChannels(name=name, before=width, after=after[name], original=width)
            for name, width in network.layers.items()
        ),
        refused=_refusal(network, config),
        least=least_macs(budget, budget.widths, config.iterations, config.limits) / budget.macs_now,
        images=images,
        memory_gb={
            batch: memory_gb(network, config.model_copy(update={"batch": batch}), images_to_learn)
            for batch in BATCHES
        },
        disk_gb=disk_gb(network, config),
        note=_note(config),
    )


def one_cut(network: Network, scores: Scores, config: PruneConfig) -> Selection:
    """The channels that go if the whole way is done at once, within what all steps together
    may take of a layer."""
    budget = network.budget
    table = GroupTable(budget, scores, widths_of(budget))
    goal = final_window(config.keep_macs * budget.macs_now, config.limits.round_to)
    return allocation_of(config).allocate(table, goal, iterations=config.iterations)


def _note(config: PruneConfig) -> str:
    if not isinstance(allocation_of(config), SearchedAllocation):
        return ""
    return (
        "The run first searches how much each layer loses; this shows where the search starts, the "
        "same share for every layer."
    )


def _refusal(network: Network, config: PruneConfig) -> str | None:
    budget = network.budget
    try:
        check_reachable(
            budget, budget.widths, keep=config.keep_macs, baseline=budget.macs_now,
            iterations=config.iterations, limits=config.limits,
        )  # fmt: skip
    except GoalUnreachableError as error:
        return error.message
    return None


def calibration_for(imgsz: int) -> CalibrationConfig:
    """Few images: on the drawn example, eight of them change the widths of layers by 2 % on
    average against all 52 of its training images, and take seconds on a CPU."""
    return CalibrationConfig(batches=2, batch=4 if imgsz <= _LARGE else 2, micro_batch=2)


# --- scores ---------------------------------------------------------------------


def _scores(
    config: PruneConfig, workspace: Workspace, network: Network, dataset: Dataset,
    progress: Progress,
) -> tuple[Scores, int]:  # fmt: skip
    """Score of every channel by group, and how many images were looked at for it."""
    entry = catalog.find("criterion", config.method)
    kind = entry.load()
    seed = seed_from(config.seed, 1, "score")
    if not entry.needs_data:
        criterion = kind(None, config.msip, seed)
        return {name: criterion(group).numpy() for name, group in network.groups.items()}, 0
    kept = _kept(config, workspace, network, dataset, progress)
    images = int(kept.pop("images"))
    if not uses_weights(config):
        return kept, images
    # Fusing needs no statistics: the terms are all that is left of them.
    fuse = kind(Statistics(gathered=kind.required(config.msip)), config.msip, seed).fuse
    terms = {name: Terms(*torch.from_numpy(kept[name])) for name in network.groups}
    return {name: fuse(term).numpy() for name, term in terms.items()}, images


def _kept(
    config: PruneConfig, workspace: Workspace, network: Network, dataset: Dataset,
    progress: Progress,
) -> Scores:  # fmt: skip
    """What the calibration pass says of each group: (4, channels) terms of MSIP, else (channels,)
    scores; and the number of images. From the cache where this was asked before."""
    weighted = uses_weights(config)
    question: dict[str, Any] = {
        "model": [str(network.path), network.path.stat().st_mtime_ns],
        "data": dataset.content_hash, "seed": config.seed,
        "imgsz": config.imgsz, "calibration": calibration_for(config.imgsz).model_dump(),
        # Both forms of MSIP fuse the same terms; their switches change the terms.
        "of": config.msip.model_dump(exclude={"weights", "dynamic_weights", "fusion"})
        if weighted else config.method,
    }  # fmt: skip
    folder = workspace.cache / f"scores-{_key(question)}"
    if not (folder / _MARK).is_file():
        found = _calibrate(config, network, dataset, progress, weighted)
        # Named so that the cache's own cleaning knows whose draft it is.
        draft = workspace.cache / f".{folder.name}.{os.getpid()}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            np.savez(draft / "scores.npz", **found)  # type: ignore[arg-type]
            write_json(draft / _MARK, question)
            shutil.rmtree(folder, ignore_errors=True)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    os.utime(folder / _MARK)  # what is looked at is the last to be cleared away
    with np.load(folder / "scores.npz") as file:
        return {name: file[name] for name in file.files}


def _key(question: dict[str, Any]) -> str:
    text = json.dumps([msip_core.__version__, question], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def _calibrate(
    config: PruneConfig, network: Network, dataset: Dataset, progress: Progress, weighted: bool
) -> Scores:
    """One pass over the calibration images, on a copy on the device of the run."""
    kind = catalog.find("criterion", config.method).load()
    few = calibration_for(config.imgsz)
    ids = choose_images(dataset, few, config.seed)
    calibration = load_calibration(dataset, ids, few, config.imgsz, config.seed)
    model = copy_model(network.model).to(resolve_device(config.device))
    groups = prunable_groups(model).groups
    # A look at every image, forward only, then forward and backward.
    ticks = _Ticks(progress, 2 * -(-len(ids) // few.micro_batch))
    with memory_errors_named(batch=few.micro_batch, imgsz=config.imgsz):
        statistics = gather(model, calibration, kind.required(config.msip), ticks)
    criterion = kind(statistics, config.msip, seed_from(config.seed, 1, "score"))
    if weighted:
        found = {
            name: np.stack([term.numpy() for term in criterion.terms(group).as_tuple()])
            for name, group in groups.items()
        }
    else:
        found = {name: criterion(group).numpy() for name, group in groups.items()}
    return {**found, "images": np.array(len(ids))}


class _Ticks:
    """Turns the safe points of a calibration pass into progress; `progress` raises on cancel."""

    def __init__(self, progress: Progress, points: int) -> None:
        self.progress, self._points, self._passed = progress, max(1, points), 0

    def check_stop(self) -> None:
        share = min(1.0, self._passed / self._points)
        self.progress(_CALIBRATING * share, "Looking at a few training images")
        self._passed += 1

    def beat(self) -> None:
        """Progress is the sign of life."""
