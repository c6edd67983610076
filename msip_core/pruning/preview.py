"""What a run would take away, before it runs: one cut to the goal, nothing trained.

The scores come from a few calibration images, looked at once and kept by content. Of MSIP the four
terms are kept, not their sum, so that a changed weight only fuses them anew. The run itself goes
to the goal in steps and scores anew at each, so its layers will differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from msip_core import catalog
from msip_core.allocation.goal import Goal, goal_of
from msip_core.allocation.table import GroupTable
from msip_core.arrays import ARRAYS
from msip_core.cache import ContentStore, key_of
from msip_core.combinations import allocation_name
from msip_core.config import BATCHES, WEIGHT_PRESETS, CalibrationConfig, PruneConfig
from msip_core.data.cut import open_for_run
from msip_core.data.dataset import Dataset
from msip_core.detector.devices import resolve_device
from msip_core.detector.evaluation import check_classes
from msip_core.detector.fit_state import seed_from
from msip_core.detector.library import copy_model
from msip_core.detector.memory import memory_errors_named
from msip_core.errors import ConfigError, GoalUnreachableError
from msip_core.events import LayerChannels
from msip_core.groups.budget import Budget, Widths
from msip_core.groups.coupling import prunable_groups
from msip_core.groups.latency import LatencyMeter
from msip_core.importance.calibration import choose_images, load_calibration
from msip_core.importance.msip import Terms
from msip_core.importance.statistics import Statistics, gather
from msip_core.messages import joined, msg
from msip_core.pruning.block_scores import gamma_scores
from msip_core.pruning.bottlenecks import bottlenecks
from msip_core.pruning.estimate import disk_gb, memory_gb
from msip_core.pruning.granularity import Scene, granularity_of
from msip_core.pruning.iteration import uses_weights, widths_of
from msip_core.pruning.latency_goal import in_macs, needs_milliseconds, predicted
from msip_core.pruning.loop import allocation_of
from msip_core.pruning.network import Network, open_network
from msip_core.pruning.outlook import outlook
from msip_core.pruning.recovery import check_recovery
from msip_core.pruning.schedule import final_window
from msip_core.questions.base import Job
from msip_core.questions.planning import PlannedCut, Preview
from msip_core.workspace import Workspace

Scores = dict[str, NDArray[np.float64]]
Progress = Callable[[float, str], None]

_LARGE = 384  # px; images beyond it cost a CPU seconds each
_FUSED = {"weights", "dynamic_weights", "fusion"}  # settings that leave the terms as they are
_CALIBRATING = 0.9  # share of the work


def preview(config: PruneConfig, workspace: Workspace, progress: Progress) -> PlannedCut:
    """Cut once, on paper.

    Raises:
        InputError: model or dataset cannot be used, or they do not fit.
    """
    progress(0.0, msg("Opening the detector"))
    network = open_network(workspace, config.model, config.imgsz, config.prox)
    device = resolve_device(config.device)
    meter = predicted(config, network.budget, workspace.cache, device)
    asked, config = config, config if meter else in_macs(config)
    dataset = open_for_run(workspace, config)
    check_classes(network.model, dataset.classes)
    check_recovery(config, network.model)
    scores, images = _scores(config, workspace, network, dataset, progress)
    progress(_CALIBRATING, msg("Choosing the channels"))
    cut = one_cut(network, scores, config, meter)
    budget, rest, kept = network.budget, cut.budget, cut.widths
    after = rest.layer_widths(kept)
    granularity, goal = granularity_of(config), goal_of(config, budget, meter)
    halves_freed = budget.halves(budget.widths) - rest.halves(kept)
    images_to_learn = len(dataset.split("train"))
    return PlannedCut(
        macs=(budget.macs_now, float(rest.macs(kept))),
        params=(float(budget.params_now), float(rest.params(kept))),
        size_mb=(network.size_mb, network.size_mb - halves_freed * 2 / 2**20),
        layers=tuple(
            LayerChannels(name=name, before=width, after=after[name], original=width)
            for name, width in network.layers.items()
        ),
        # What milliseconds can come down to is only known once layers are timed.
        refused=None if asked.goal[0] != goal.kind else _refusal(network, config, goal),
        blocks=cut.blocks,
        note=_note(asked, by_score=granularity.scores_blocks(1), timed=meter is not None),
        least=granularity.least(network.model, budget, goal) / goal.baseline,
        images=images,
        memory_gb={
            batch: memory_gb(network, config.model_copy(update={"batch": batch}), images_to_learn)
            for batch in BATCHES
        },
        disk_gb=disk_gb(network, config),
        outlook=outlook(
            asked, workspace, device, budget, lambda: (rest, kept),
            tick=lambda _: progress(_CALIBRATING, msg("Timing single layers on the GPU")),
        ),
        other_than_gradient=_other_than_gradient(
            cut, config, lambda alone: one_cut(
                network, _scores(alone, workspace, network, dataset, progress)[0], alone, meter
            ),
        ),
    )  # fmt: skip


def answer(question: Preview, at: Job) -> PlannedCut:
    """The same as a job of the compute process."""
    return preview(question.config, at.workspace, at.progress)


def _other_than_gradient(
    cut: OneCut, config: PruneConfig, again: Callable[[PruneConfig], OneCut]
) -> float | None:
    """How far the weights matter: the same cut once more with all weight on the gradient."""
    removed = _channels(cut)
    if not uses_weights(config) or not removed:
        return None
    weights = WEIGHT_PRESETS["gradient-only"]
    if config.msip.weights == weights:
        return None
    options = config.msip.model_copy(update={"weights": weights})
    alone = _channels(again(config.model_copy(update={"msip": options})))
    return 1 - len(removed & alone) / len(removed)


def _channels(cut: OneCut) -> set[tuple[str, int]]:
    return {(name, channel) for name, channels in cut.removed.items() for channel in channels}


class OneCut(NamedTuple):
    """What goes if the whole way is done at once.

    Attributes:
        blocks: bottlenecks that go whole.
        removed: group name -> channels, of the network without these blocks.
        budget, widths: of that network, and what each of its groups keeps.
    """

    blocks: tuple[str, ...]
    removed: Mapping[str, tuple[int, ...]]
    budget: Budget
    widths: Widths


def one_cut(
    network: Network, scores: Scores, config: PruneConfig, latency: LatencyMeter | None = None
) -> OneCut:
    """The blocks and channels that go if the whole way is done at once, within what all steps
    together may take of a layer.

    Args:
        latency: how milliseconds are told, where the config counts them.
    """
    granularity, budget = granularity_of(config), network.budget
    sites = {site.name: site for site in bottlenecks(network.model)}
    goal = goal_of(config, budget, latency)
    blocks: tuple[str, ...] = ()
    if granularity.takes_blocks(1):
        # Neither data nor trials: what the run measures, batch-norm scales stand for.
        everything = tuple(sites.values())
        blocks = granularity.choose_blocks(
            Scene(
                sites=everything, budget=budget, whole_sites=everything, whole_budget=budget,
                iteration=1, edge=goal.amount, goal=goal,
                scores=lambda some: gamma_scores(network.model, some),
            )
        )  # fmt: skip
    rest = budget.without([sites[name].branch for name in blocks])
    if not granularity.takes_channels:
        return OneCut(blocks, {}, rest, rest.widths)
    may_lose = granularity.open_groups(network.model, rest.names)
    table = GroupTable(rest, scores, widths_of(budget), may_lose, meter=goal.meter, latency=latency)
    window = final_window(goal.amount, config.limits.multiple)
    found = allocation_of(config).allocate(table, window, iterations=config.iterations)
    return OneCut(blocks, found.removed, rest, rest.vector(found.widths))


def _refusal(network: Network, config: PruneConfig, goal: Goal) -> str | None:
    try:
        granularity_of(config).check(network.model, network.budget, goal)
    except (GoalUnreachableError, ConfigError) as error:
        return error.message
    return None


def _note(config: PruneConfig, *, by_score: bool, timed: bool) -> str:
    notes = []
    if catalog.find("allocation", allocation_name(config)).searches:
        notes.append(
            msg(
                "The run first searches how much each layer loses; this shows where the search "
                "starts, the same share for every layer."
            )
        )
    if timed:
        notes.append(
            msg(
                "This preview adds up the milliseconds of single layers, timed on this computer; "
                "the run measures whole networks, so it may keep more or less."
            )
        )
    elif needs_milliseconds(config):
        notes.append(
            msg(
                "This preview counts multiply-adds; the run measures milliseconds on this computer "
                "before its first cut."
            )
        )
    if by_score and config.block_score != "gamma":
        notes.append(
            msg(
                "This preview ranks blocks by the scale of their last batch norm; the run measures "
                "each of them, so other blocks may go."
            )
        )
    return joined(" ", notes)


def calibration_for(imgsz: int) -> CalibrationConfig:
    """Few images: on the drawn example, eight of them change the widths of layers by 2 % on
    average against all 52 of its training images, and take seconds on a CPU."""
    return CalibrationConfig(batches=2, batch=4 if imgsz <= _LARGE else 2, micro_batch=2)


# --- scores ---------------------------------------------------------------------


def _scores(
    config: PruneConfig,
    workspace: Workspace,
    network: Network,
    dataset: Dataset,
    progress: Progress,
) -> tuple[Scores, int]:
    """Score of every channel by group, and how many images were looked at for it."""
    if not granularity_of(config).takes_channels:
        return {}, 0
    entry = catalog.find("criterion", config.method)
    kind = entry.load()
    seed = seed_from(config.seed, 1, "score")
    if not entry.needs_data:
        criterion = kind(None, config.msip, seed)
        return {n: score.numpy() for n, score in criterion.scores(network.groups).items()}, 0
    kept = _kept(config, workspace, network, dataset, progress)
    images = int(kept.pop("images"))
    if not uses_weights(config):
        return kept, images
    # Fusing needs no statistics: the terms are all that is left of them.
    criterion = kind(Statistics(gathered=kind.required(config.msip)), config.msip, seed)
    terms = {name: Terms(*torch.from_numpy(kept[name])) for name in network.groups}
    return {name: score.numpy() for name, score in criterion.fuse_all(terms).items()}, images


def _kept(
    config: PruneConfig,
    workspace: Workspace,
    network: Network,
    dataset: Dataset,
    progress: Progress,
) -> Scores:
    """What the calibration pass says of each group: (4, channels) terms of MSIP, else (channels,)
    scores; and the number of images. From the cache where this was asked before."""
    weighted = uses_weights(config)
    question: dict[str, object] = {
        "model": [str(network.path), network.path.stat().st_mtime_ns],
        "data": dataset.content_hash,
        "seed": config.seed,
        "groups": list(network.groups),
        "imgsz": config.imgsz,
        "prox": config.prox,
        "calibration": calibration_for(config.imgsz).model_dump(),
        # Schemes and switches change the terms, weights and fusion only what is made of them.
        "of": [config.method] + [config.msip.model_dump(exclude=_FUSED)] * weighted,
    }
    return ContentStore(workspace.cache, ARRAYS).get_or_make(
        f"scores-{key_of('scores', question)}",
        lambda: _calibrate(config, network, dataset, progress, weighted),
    )


def _calibrate(
    config: PruneConfig, network: Network, dataset: Dataset, progress: Progress, weighted: bool
) -> Scores:
    """One pass over the calibration images, on a copy on the device of the run."""
    kind = catalog.find("criterion", config.method).load()
    few = calibration_for(config.imgsz)
    ids = choose_images(dataset, few, config.seed)
    device = resolve_device(config.device)
    calibration = load_calibration(dataset, ids, few, config.imgsz, config.seed).kept_on(device)
    model = copy_model(network.model).to(device)
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
        found = {name: score.numpy() for name, score in criterion.scores(groups).items()}
    return {**found, "images": np.array(len(ids))}


class _Ticks:
    """Turns the safe points of a calibration pass into progress; `progress` raises on cancel."""

    def __init__(self, progress: Progress, points: int) -> None:
        self.progress, self._points, self._passed = progress, max(1, points), 0

    def check_stop(self) -> None:
        share = min(1.0, self._passed / self._points)
        self.progress(_CALIBRATING * share, msg("Looking at a few training images"))
        self._passed += 1
