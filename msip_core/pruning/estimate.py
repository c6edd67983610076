"""Time, memory and disk of a pruning run, from a few measured steps on this computer."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from msip_core.allocation.budget import Widths
from msip_core.allocation.goal import goal_of
from msip_core.allocation.table import GroupTable
from msip_core.allocation.uniform import UniformAllocation
from msip_core.config import PruneConfig
from msip_core.data.dataset import open_dataset
from msip_core.detector.devices import resolve_device
from msip_core.detector.engines import ready_engine
from msip_core.detector.library import copy_model
from msip_core.detector.memory import memory_errors_named
from msip_core.pruning.bottlenecks import bottlenecks
from msip_core.pruning.clock import TRAIN_COST, plan
from msip_core.pruning.granularity import granularity_of
from msip_core.pruning.iteration import uses_weights, widths_of
from msip_core.pruning.loop import allocation_of
from msip_core.pruning.network import Network, open_network
from msip_core.pruning.outlook import outlook, outlook_sentence
from msip_core.pruning.recovery import check_recovery
from msip_core.pruning.schedule import final_window
from msip_core.pruning.search import search_units
from msip_core.pruning.stopwatch import needs_milliseconds, predicted
from msip_core.workspace import Workspace

_STEPS, _IMAGES = 3, 4  # measured steps after one to warm up, images in each
# Reading, mosaic and colour of one training image at 640 px, on one core; grows with its area.
_AUGMENT_SECONDS = 0.02
_PROCESS_GB = 0.8  # torch, ultralytics and the program itself
_BACKWARD = 1.5  # peak of a training step over the activations that it keeps
_COPIES = 5  # weights, gradients, momentum, average, one spare


class Estimate(NamedTuple):
    """What to expect.

    Attributes:
        note: says in a sentence what it rests on.
        speed: what the goal does to milliseconds where it does not count them, or "".
    """

    seconds: float
    memory_gb: float
    disk_gb: float
    note: str
    speed: str = ""


def estimate(config: PruneConfig, workspace: Workspace) -> Estimate:
    """Measure a few training steps of the unpruned model and extrapolate.

    Raises:
        GoalUnreachableError: the limits cannot reach the goal, whatever the time.
        InputError: model, dataset or recovery cannot be used, or milliseconds cannot be measured
            in the way that was asked for.
    """
    device = resolve_device(config.device)
    if needs_milliseconds(config):
        ready_engine(config.latency_way(device))
    dataset = open_dataset(workspace, config.dataset)
    network = open_network(workspace, config.model, config.imgsz)
    check_recovery(config, network.model)
    meter = predicted(config, network.budget, workspace.cache, device)
    if meter or config.goal[0] != "latency":  # else the run times its layers first
        goal = goal_of(config, network.budget, meter)
        granularity_of(config).check(network.model, network.budget, goal)
    counts = {split: len(dataset.split(split)) for split in ("train", "val", "test")}
    images = min(config.calibration.batches * config.calibration.batch, counts["train"])
    trials = uses_weights(config) and config.msip.dynamic_weights
    search = search_units(
        config, type(allocation_of(config)), val=counts["val"], calibration=images
    )
    parts = plan(
        config, **counts, calibration=images, trials=trials, search=search,
        blocks=len(bottlenecks(network.model)),
        table=meter is None,
    )  # fmt: skip
    units = sum(part.units for part in parts)
    step = train_seconds(network, config.imgsz, min(_IMAGES, config.batch), device)
    epochs = config.finetune_epochs
    epochs += config.preparation.epochs if config.preparation else 0
    area = (config.imgsz / 640) ** 2
    augment = epochs * counts["train"] * _AUGMENT_SECONDS * area
    seconds = units * step / TRAIN_COST + augment
    return Estimate(
        seconds=seconds,
        memory_gb=memory_gb(network, config, counts["train"]),
        disk_gb=disk_gb(network, config),
        note=f"From {_STEPS} measured steps on this computer; other work on it makes it slower.",
        speed=outlook_sentence(
            outlook(
                config, workspace, device, network.budget,
                lambda: (network.budget, _evenly(config, network)),
            )
        ),
    )  # fmt: skip


def _evenly(config: PruneConfig, network: Network) -> Widths:
    """Widths with the same share of every layer gone, at the goal: nothing was scored yet."""
    budget, goal = network.budget, goal_of(config, network.budget)
    flat = {n: np.zeros(w) for n, w in zip(budget.names, budget.widths, strict=True)}
    table = GroupTable(budget, flat, widths_of(budget), meter=goal.meter)
    window = final_window(goal.amount, config.limits.multiple)
    limits = config.limits.model_copy(update={"cost": "macs"})
    found = UniformAllocation(limits).allocate(table, window, iterations=config.iterations)
    return budget.vector(found.widths)


@lru_cache(maxsize=16)
def train_seconds(network: Network, imgsz: int, images: int, device: str) -> float:
    """Seconds of forward and backward per image. Measured once in the life of a process: the same
    question comes again with every setting that changes."""
    twin = copy_model(network.model).to(device).train()
    pixels = torch.rand(images, 3, imgsz, imgsz, device=device)
    times = []
    with memory_errors_named(batch=images, imgsz=imgsz):
        for _ in range(_STEPS + 1):
            started = time.perf_counter()
            output = twin(pixels)
            (output["boxes"].mean() + output["scores"].mean()).backward()
            if pixels.is_cuda:
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - started)
    return min(times[1:]) / images


def memory_gb(network: Network, config: PruneConfig, train_images: int) -> float:
    """Peak of a training step: activations that the backward pass needs, weights and images."""
    cache = 3 * config.imgsz**2 * train_images
    images = max(config.batch // config.parts, config.calibration.micro_batch)
    activations = _BACKWARD * network.activation_bytes * images
    return _PROCESS_GB + (activations + _COPIES * network.weight_bytes + min(cache, 4e9)) / 1e9


def disk_gb(network: Network, config: PruneConfig) -> float:
    """Every iteration's model, one fit's state, and the final model twice."""
    _, keep = config.goal
    kept = sum(keep ** (t / config.iterations) for t in range(config.iterations + 1))
    return network.weight_bytes * (kept + _COPIES + 2) / 1e9
