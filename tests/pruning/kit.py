"""A workspace with drawn data and a thin baseline, and contexts that listen, stop and break."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from msip_core.config import CalibrationConfig, PruneConfig, TrainingRecipe
from msip_core.detector.checkpoints import size_mb
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.errors import Stopped
from msip_core.events import (
    IterationRecord,
    MilestoneRecord,
    Payload,
    ProgressRecord,
    Stage,
    StageRecord,
)
from msip_core.groups.budget import Budget
from msip_core.groups.coupling import prunable_groups
from msip_core.importance.random import RandomImportance
from msip_core.pruning.bottlenecks import remove_bottlenecks
from msip_core.pruning.network import Network
from msip_core.pruning.preview import OneCut, one_cut
from msip_core.pruning.surgery import channel_counts, prune_channels
from msip_core.workspace import Workspace

DATASET, BASELINE, IMGSZ = "drawn", "thin", 64


class Listener:
    """A plain RunContext that keeps what it is told."""

    def __init__(self, workspace: Workspace, run_id: str) -> None:
        self.workspace, self.run_id = workspace, run_id
        self.run_dir: Path = workspace.run_dir(run_id)
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.records: list[Payload] = []

    def emit(self, record: Payload) -> None:
        self.records.append(record)

    def check_stop(self) -> None: ...

    def of(self, kind: type) -> list:
        return [r for r in self.records if isinstance(r, kind)]

    @property
    def stages(self) -> list[tuple[str, int]]:
        return [(r.stage.value, r.iteration) for r in self.of(StageRecord)]

    @property
    def iterations(self) -> list[IterationRecord]:
        return self.of(IterationRecord)

    @property
    def sentences(self) -> list[str]:
        return [r.message for r in self.of(MilestoneRecord)]

    @property
    def progress(self) -> list[ProgressRecord]:
        return self.of(ProgressRecord)


class Counter:
    """Counts the safe points after a stage has begun: `reached` at the n-th of them."""

    def __init__(self, stage: Stage, iteration: int, points: int = 1) -> None:
        self.stage, self.iteration, self.points = stage, iteration, points
        self._armed = False

    def begins(self, record: Payload) -> bool:
        """Whether a record that begins a stage is already the point."""
        if isinstance(record, StageRecord):
            self._armed = record.stage is self.stage and record.iteration == self.iteration
            return self._armed and not self.points
        return False

    def reached(self) -> bool:
        """Whether this safe point is the one."""
        self.points -= self._armed
        return self._armed and self.points == 0


class Breaker(Listener):
    """Raises Stopped at the n-th safe point after a stage has begun: as a kill would, everything
    that was not written is lost."""

    def __init__(
        self, workspace: Workspace, run_id: str, stage: Stage, iteration: int, points: int = 1
    ) -> None:
        super().__init__(workspace, run_id)
        self._counter = Counter(stage, iteration, points)

    def emit(self, record: Payload) -> None:
        super().emit(record)
        if self._counter.begins(record):
            raise Stopped("pause")

    def check_stop(self) -> None:
        if self._counter.reached():
            raise Stopped("pause")


class Camera(Listener):
    """Keeps what a kill at the n-th safe point after a stage has begun would leave, as another
    run's folder: one unbroken run then stands in for many that are begun and broken.

    Args:
        ends: the run itself goes no further than the last of them.

    Attributes:
        left: that run's id -> a listener that has heard what was told until then.
    """

    def __init__(
        self, workspace: Workspace, run_id: str, stops: dict[str, Counter], *, ends: bool = False
    ) -> None:
        super().__init__(workspace, run_id)
        self._stops, self._ends = dict(stops), ends
        self.left: dict[str, Listener] = {}

    def emit(self, record: Payload) -> None:
        super().emit(record)
        self._keep([name for name, stop in self._stops.items() if stop.begins(record)])

    def check_stop(self) -> None:
        self._keep([name for name, stop in self._stops.items() if stop.reached()])

    def _keep(self, names: list[str]) -> None:
        for name in names:
            del self._stops[name]
            self.left[name] = Listener(self.workspace, name)
            self.left[name].records = list(self.records)
            shutil.copytree(self.run_dir, self.left[name].run_dir, dirs_exist_ok=True)
        if names and self._ends and not self._stops:
            raise Stopped("pause")


def config(**changes) -> PruneConfig:
    """A run of seconds."""
    settings = {
        "dataset": DATASET, "model": BASELINE, "imgsz": IMGSZ, "batch": 4, "device": "cpu",
        "iterations": 2, "keep_macs": 0.5, "max_map50_drop": None,
        "finetune": TrainingRecipe(epochs=2, mixup=0, close_mosaic=1, nbs=4),
        "calibration": CalibrationConfig(batches=2, batch=4, micro_batch=2),
        "limits": {"round_to": 1},
        "repair": "recalibrate",  # "auto" tries six, three of them refits: its own tests do
    }  # fmt: skip
    return PruneConfig.model_validate(settings | changes)


def network_of(model: DetectionModel, imgsz: int = IMGSZ) -> Network:
    """A model as the preview sees it."""
    groups = prunable_groups(model).groups
    return Network(
        path=Path("model.pt"), model=model, groups=groups,
        budget=Budget(model, list(groups.values()), imgsz), layers=channel_counts(model),
        size_mb=size_mb(model), activation_bytes=0, weight_bytes=0,
    )  # fmt: skip


def cut_of(network: Network, asked: PruneConfig, seed: int = 0) -> OneCut:
    """What the granularity of `asked` takes away at once, channels by lot."""
    lot = RandomImportance(seed=seed)
    scores = {name: lot(group).numpy() for name, group in network.groups.items()}
    return one_cut(network, scores, asked)


def after(model: DetectionModel, cut: OneCut) -> DetectionModel:
    """A copy with the cut made."""
    twin = copy_model(model)
    remove_bottlenecks(twin, cut.blocks)
    prune_channels(twin, cut.removed)
    return twin


def masked(model: DetectionModel, cut: OneCut) -> DetectionModel:
    """A copy of the same shape in which all that the cut takes away is silent: gamma and beta of
    the last batch norm of each block, and of the channels of each group, are zero."""
    twin, rest = copy_model(model), copy_model(model)
    remove_bottlenecks(rest, cut.blocks)
    layers: dict[str, Any] = dict(twin.named_modules())
    with torch.no_grad():
        for name in cut.blocks:
            layers[name].cv2.bn.weight.zero_()
            layers[name].cv2.bn.bias.zero_()
        for name, group in prunable_groups(rest).groups.items():
            gone = set(cut.removed.get(name, ()))
            for item in group.items:
                if isinstance(item.dep.layer, nn.BatchNorm2d):
                    norm = layers[item.dep.target._name]
                    places = [i for i, r in zip(item.idxs, item.root_idxs) if r in gone]
                    norm.weight[places] = 0
                    norm.bias[places] = 0
    return twin
