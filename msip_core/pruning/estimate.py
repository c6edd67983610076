"""Time, memory and disk of a pruning run, from a few measured steps on this computer."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from msip_core.allocation.budget import Budget
from msip_core.config import PruneConfig
from msip_core.data.dataset import open_dataset
from msip_core.detector.c2f import to_c2f_v2
from msip_core.detector.devices import resolve_device
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.detector.memory import memory_errors_named
from msip_core.detector.sources import load_source_model
from msip_core.pruning.clock import TRAIN_COST, plan
from msip_core.pruning.iteration import uses_weights
from msip_core.pruning.schedule import check_reachable
from msip_core.pruning.surgery import prunable_groups
from msip_core.workspace import Workspace

_STEPS, _IMAGES = 3, 4  # measured steps after one to warm up, images in each
# Reading, mosaic and colour of one training image at 640 px, on one core; grows with its area.
_AUGMENT_SECONDS = 0.02
_PROCESS_GB = 0.8  # torch, ultralytics and the program itself
_BACKWARD = 1.5  # peak of a training step over the activations that it keeps
_COPIES = 5  # weights, gradients, momentum, average, one spare


class Estimate(NamedTuple):
    """What to expect; `note` says in a sentence what it rests on."""

    seconds: float
    memory_gb: float
    disk_gb: float
    note: str


def estimate(config: PruneConfig, workspace: Workspace) -> Estimate:
    """Measure a few training steps of the unpruned model and extrapolate.

    Raises:
        GoalUnreachableError: the limits cannot reach the goal, whatever the time.
        InputError: model or dataset cannot be used.
    """
    dataset = open_dataset(workspace, config.dataset)
    model = to_c2f_v2(load_source_model(workspace, {"model": config.model})[0])
    _check_goal(model, config)
    counts = {split: len(dataset.split(split)) for split in ("train", "val", "test")}
    images = min(config.calibration.batches * config.calibration.batch, counts["train"])
    trials = uses_weights(config) and config.msip.dynamic_weights
    units = sum(p.units for p in plan(config, **counts, calibration=images, trials=trials))
    step = train_seconds(model, config)
    epochs = config.iterations * config.finetune.epochs
    epochs += config.pretrain.epochs if config.pretrain else 0
    area = (config.imgsz / 640) ** 2
    augment = epochs * counts["train"] * _AUGMENT_SECONDS * area
    seconds = units * step / TRAIN_COST + augment
    return Estimate(
        seconds=seconds,
        memory_gb=memory_gb(model, config, counts["train"]),
        disk_gb=_disk_gb(model, config),
        note=f"From {_STEPS} measured steps on this computer; other work on it makes it slower.",
    )


def train_seconds(model: DetectionModel, config: PruneConfig) -> float:
    """Seconds of forward and backward per image on the device of the run."""
    twin = copy_model(model).to(resolve_device(config.device)).train()
    images = min(_IMAGES, config.batch)
    device = next(twin.parameters()).device
    pixels = torch.rand(images, 3, config.imgsz, config.imgsz, device=device)
    times = []
    with memory_errors_named(batch=images, imgsz=config.imgsz):
        for _ in range(_STEPS + 1):
            started = time.perf_counter()
            output = twin(pixels)
            (output["boxes"].mean() + output["scores"].mean()).backward()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - started)
    return min(times[1:]) / images


def memory_gb(model: DetectionModel, config: PruneConfig, train_images: int) -> float:
    """Peak of a training step: activations that the backward pass needs, weights and images."""
    kept = activation_bytes(model, config.imgsz) * max(config.batch, config.calibration.micro_batch)
    weights = 4 * sum(p.numel() for p in model.parameters()) * _COPIES
    cache = 3 * config.imgsz**2 * train_images
    return _PROCESS_GB + (_BACKWARD * kept + weights + min(cache, 4e9)) / 1e9


@torch.no_grad()
def activation_bytes(model: DetectionModel, imgsz: int) -> float:
    """Bytes of all convolution, batch-norm and activation outputs of one image."""
    probe, total = 64, 0

    def count(_module: nn.Module, _inputs: Any, output: Any) -> None:
        nonlocal total
        if isinstance(output, Tensor):
            total += output.numel() * 4

    twin = copy_model(model).eval()
    for module in twin.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.SiLU):
            module.register_forward_hook(count)
    twin(torch.zeros(1, 3, probe, probe))
    return total * (imgsz / probe) ** 2


def _disk_gb(model: DetectionModel, config: PruneConfig) -> float:
    """Every iteration's model, one fit's state, and the final model twice."""
    whole = 4 * sum(p.numel() for p in model.parameters())
    kept = sum(config.keep_macs ** (t / config.iterations) for t in range(config.iterations + 1))
    return whole * (kept + _COPIES + 2) / 1e9


def _check_goal(model: DetectionModel, config: PruneConfig) -> None:
    budget = Budget(model, list(prunable_groups(model).groups.values()), config.imgsz)
    check_reachable(
        budget, budget.widths, keep=config.keep_macs, baseline=budget.macs_now,
        iterations=config.iterations, limits=config.limits,
    )  # fmt: skip
