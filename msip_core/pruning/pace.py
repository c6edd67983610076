"""How fast this computer trains: what a few measured steps say of hours, however busy it is now.

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

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch

from msip_core.detector.library import copy_model
from msip_core.detector.memory import memory_errors_named
from msip_core.processors import EFFICIENCY, Processors
from msip_core.pruning.network import Network

STEPS, IMAGES = 3, 4  # measured steps after one to warm up, most images in each


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
