"""Time, memory and disk of a pruning run, from a few measured steps on this computer.

A step's time on the clock grows with whatever else runs at that moment, more so since whoever
measures gives way to others. What it *computes* does not: processor seconds over the threads that
shared them. So

    free pace = min(time on the clock, processor seconds / (threads · EFFICIENCY))
    slowdown  = max(1, (threads + wanted) / cores)

with `wanted` the cores that others would take at once, without the workers of our own runs: a run
waits until those are done (`Processors.slowdown`). On a GPU the clock is right, since nobody shares
it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from msip_core.allocation.goal import goal_of
from msip_core.allocation.table import GroupTable
from msip_core.allocation.uniform import UniformAllocation
from msip_core.config import PruneConfig
from msip_core.data.cut import open_for_run
from msip_core.detector.devices import resolve_device
from msip_core.detector.engines import ready_engine
from msip_core.detector.library import copy_model
from msip_core.detector.memory import memory_errors_named
from msip_core.groups.budget import Widths
from msip_core.messages import msg
from msip_core.processors import EFFICIENCY, Processors, Sample
from msip_core.pruning.bottlenecks import bottlenecks
from msip_core.pruning.granularity import granularity_of
from msip_core.pruning.iteration import widths_of
from msip_core.pruning.latency_goal import needs_milliseconds, predicted
from msip_core.pruning.network import Network, open_network
from msip_core.pruning.outlook import outlook, outlook_sentence
from msip_core.pruning.progress import TRAIN_COST, Part, plan
from msip_core.pruning.recovery import check_recovery
from msip_core.pruning.schedule import final_window
from msip_core.pruning.search import search_units
from msip_core.questions.base import Job
from msip_core.questions.planning import Effort, Estimate
from msip_core.workspace import Workspace

STEPS, IMAGES = 3, 4  # measured steps after one to warm up, most images in each
# Reading, mosaic and colour of one training image at 640 px, on one core; grows with its area.
_AUGMENT_SECONDS = 0.02
# Before the first part, libraries are loaded and files opened; after the last, the saved model is
# opened by a process of its own, which loads the same. Seconds on two cores; less where a process
# was kept ready for the run.
START_SECONDS, CHECK_SECONDS = 6.0, 8.0
_PROCESS_GB = 0.8  # torch, ultralytics and the program itself
_BACKWARD = 1.5  # peak of a training step over the activations that it keeps
_COPIES = 5  # weights, gradients, momentum, average, one spare


def estimate(config: PruneConfig, workspace: Workspace) -> Effort:
    """Measure a few training steps of the unpruned model and extrapolate.

    Raises:
        GoalUnreachableError: the limits cannot reach the goal, whatever the time.
        InputError: model, dataset or recovery cannot be used, or milliseconds cannot be measured
            in the way that was asked for.
    """
    sample, device = Sample(without_runs=True), resolve_device(config.device)
    if needs_milliseconds(config):
        ready_engine(config.latency_way(device))
    dataset = open_for_run(workspace, config)
    network = open_network(workspace, config.model, config.imgsz, config.prox)
    check_recovery(config, network.model)
    meter = predicted(config, network.budget, workspace.cache, device)
    if meter or config.goal[0] != "latency":  # else the run times its layers first
        goal = goal_of(config, network.budget, meter)
        granularity_of(config).check(network.model, network.budget, goal)
    counts = {split: len(dataset.split(split)) for split in ("train", "val", "test")}
    images = min(config.calibration.batches * config.calibration.batch, counts["train"])
    search = search_units(config, val=counts["val"], calibration=images)
    parts = plan(
        config,
        **counts,
        calibration=images,
        search=search,
        blocks=len(bottlenecks(network.model)),
        table=meter is None,
    )
    pace = measure_pace(network, config.imgsz, config.batch, device, sample.look())
    found = sample.look()  # over all that was done here: one moment says little of the next minutes
    pace = replace(pace, slowdown=found.slowdown if device == "cpu" else 1.0)
    return Effort(
        seconds=run_seconds(config, parts, pace, counts["train"]),
        memory_gb=memory_gb(network, config, counts["train"]),
        disk_gb=disk_gb(network, config),
        note=_note(pace, found),
        pace=found.pace if device == "cpu" else None,
        speed=outlook_sentence(
            outlook(
                config,
                workspace,
                device,
                network.budget,
                lambda: (network.budget, _evenly(config, network)),
            )
        ),
    )


def answer(question: Estimate, at: Job) -> Effort:
    """The same as a job of the compute process."""
    at.progress(0.0, msg("Measuring a few steps on this computer"))
    return estimate(question.config, at.workspace)


def _evenly(config: PruneConfig, network: Network) -> Widths:
    """Widths with the same share of every layer gone, at the goal: nothing was scored yet."""
    budget, goal = network.budget, goal_of(config, network.budget)
    flat = {n: np.zeros(w) for n, w in zip(budget.names, budget.widths, strict=True)}
    table = GroupTable(budget, flat, widths_of(budget), meter=goal.meter)
    window = final_window(goal.amount, config.limits.multiple)
    limits = config.limits.model_copy(update={"cost": "macs"})
    found = UniformAllocation(limits).allocate(table, window, iterations=config.iterations)
    return budget.vector(found.widths)


class Step(NamedTuple):
    """What one training step took: seconds on the clock, and of the processor (all threads)."""

    clock: float
    processor: float


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of forward and backward per training image.

    Attributes:
        free: while nothing else is at work.
        slowdown: how many times longer it takes beside what others do now, at least 1.
    """

    free: float
    slowdown: float = 1.0


def pace_of(steps: Sequence[Step], images: int, threads: int, found: Processors) -> Pace:
    """The pace on a processor, from measured steps of so many images by so many threads."""
    free = min(
        min(step.clock, step.processor / (threads * (EFFICIENCY if threads > 1 else 1.0)))
        for step in steps
    )
    return Pace(free / images, found.slowdown)


def measure_pace(network: Network, imgsz: int, batch: int, device: str, found: Processors) -> Pace:
    """Train a copy for a few steps, on a processor with the threads that a run would get now."""
    images = min(IMAGES, batch)
    if device != "cpu":
        steps = _steps(network, imgsz, images, device, 0)
        return Pace(min(step.clock for step in steps) / images)
    threads = found.threads()
    return pace_of(_steps(network, imgsz, images, device, threads), images, threads, found)


@lru_cache(maxsize=16)
def _steps(
    network: Network, imgsz: int, images: int, device: str, threads: int
) -> tuple[Step, ...]:
    """Measured once in the life of a process: the same question comes again with every setting
    that changes. What others do meanwhile is looked at anew each time."""
    twin = copy_model(network.model).to(device).train()
    pixels = torch.rand(images, 3, imgsz, imgsz, device=device)

    def step() -> None:
        output = twin(pixels)
        (output["boxes"].mean() + output["scores"].mean()).backward()
        if pixels.is_cuda:
            torch.cuda.synchronize(device)

    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        with memory_errors_named(batch=images, imgsz=imgsz):
            return tuple(_timed(step) for _ in range(STEPS + 1))[1:]
    finally:
        torch.set_num_threads(before)


def _timed(step: Callable[[], None]) -> Step:
    clock, processor = time.perf_counter(), time.process_time()
    step()
    return Step(time.perf_counter() - clock, time.process_time() - processor)


def run_seconds(config: PruneConfig, parts: Sequence[Part], pace: Pace, train_images: int) -> float:
    """From the click to "done": start, all parts, and the check of what was saved."""
    epochs = config.finetune_epochs
    epochs += config.preparation.epochs if config.preparation else 0
    area = (config.imgsz / 640) ** 2
    augment = epochs * train_images * _AUGMENT_SECONDS * area
    units = math.fsum(part.units for part in parts)
    work = units * pace.free / TRAIN_COST + augment
    return (START_SECONDS + work + CHECK_SECONDS) * pace.slowdown


def _note(pace: Pace, found: Processors) -> str:
    """What the estimate rests on."""
    if pace.slowdown < 1.1:
        return msg(
            "From {steps} measured steps on this computer; other work on it makes it slower.",
            steps=STEPS,
        )
    return msg(
        "From {steps} measured steps on this computer, times {slowdown:.1f} for other work "
        "that keeps {busy:.1f} of its {cores} cores busy now.",
        steps=STEPS,
        slowdown=pace.slowdown,
        busy=found.busy,
        cores=found.cores,
    )


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
