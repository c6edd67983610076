"""A drawn dataset, thin detectors that compute in milliseconds, and a context that only listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from msip_core.config import TrainingRecipe
from msip_core.data.dataset import Dataset
from msip_core.detector.c2f import to_c2f_v2
from msip_core.detector.checkpoints import normalise
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.detector.pool import DataPool
from msip_core.detector.training import fit
from msip_core.errors import Stopped
from msip_core.events import EpochRecord, Payload
from msip_core.workspace import Workspace
from tests.drawn import copy_example

CLASSES = ("crypt", "no_crypt")
IMGSZ = 64
BATCH = 4


@pytest.fixture(scope="session")
def shared_workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One workspace with the drawn dataset; tests must not change it."""
    return Workspace.open(tmp_path_factory.mktemp("detector") / "workspace")


@pytest.fixture(scope="session")
def dataset(shared_workspace: Workspace) -> Dataset:
    return copy_example(shared_workspace, images=20, size=96)


def thin_model(classes: tuple[str, ...] = CLASSES, seed: int = 0) -> DetectionModel:
    """YOLOv8 with an eighth of the usual width, batch norms as after some training."""
    from ultralytics.nn.tasks import yaml_model_load

    description = yaml_model_load("yolov8n.yaml")
    description["scales"] = {"n": [0.33, 0.125, 512]}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = DetectionModel(description, nc=len(classes), verbose=False)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.1)
    model.names = dict(enumerate(classes))
    return normalise(model)


def finding(model: DetectionModel) -> DetectionModel:
    """`model`, in place, made to find something: boxes of four strides around every cell, with
    scores that differ by what the image looks like there."""
    head = model.model[-1]
    with torch.no_grad():
        for boxes, scores in zip(head.cv2, head.cv3, strict=True):
            boxes[-1].weight.mul_(10)
            boxes[-1].bias.copy_((-(torch.arange(16) - 2.0).abs() * 3).repeat(4))
            scores[-1].weight.mul_(100)
            scores[-1].bias.fill_(0.0)
    return model


def finding_model(classes: tuple[str, ...] = CLASSES) -> DetectionModel:
    """A thin detector that finds something on every image."""
    return finding(thin_model(classes))


def pruned_model(ratio: float = 0.4) -> DetectionModel:
    """A thin detector, opened and pruned by one global threshold: halves of unequal width."""
    return normalise(cut_by_threshold(to_c2f_v2(thin_model()), ratio))


def cut_by_threshold(model: DetectionModel, ratio: float) -> DetectionModel:
    """`model`, in place, pruned by one global threshold on its magnitudes."""
    import torch_pruning as tp

    head = model.model[-1]
    last = [branch[2] for pair in (head.cv2, head.cv3) for branch in pair]
    tp.pruner.MagnitudePruner(
        model, torch.zeros(1, 3, IMGSZ, IMGSZ), importance=tp.importance.MagnitudeImportance(),
        pruning_ratio=ratio, global_pruning=True, ignored_layers=[*last, head.dfl],
    ).step()  # fmt: skip
    return model


def outputs(model: DetectionModel, images: Tensor | None = None) -> Tensor:
    """Decoded predictions (n, 4 + classes, anchors) in eval mode, of a copy."""
    if images is None:
        images = torch.rand(2, 3, IMGSZ, IMGSZ, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return copy_model(model).eval()(images)[0]


def assert_same_boxes(a: object, b: object, atol: float) -> None:
    """Each row (corners, ...) has its like among the others; rows of equal score may lie in
    another order."""
    one, other = (np.asarray(rows, float) for rows in (a, b))
    assert len(one) == len(other) > 0
    distance = np.abs(one[:, None] - other[None]).max(axis=2)
    assert distance.min(axis=1).max() < atol
    assert distance.min(axis=0).max() < atol


@dataclass
class RunHistory:
    """A run context that keeps what it is told, and asks to pause after some batches."""

    workspace: Workspace
    run_dir: Path
    run_id: str = "run-1"
    stop_after: int | None = None
    asked: int = 0
    records: list[Payload] = field(default_factory=list)

    def emit(self, record: Payload) -> None:
        self.records.append(record)

    def check_stop(self) -> None:
        self.asked += 1
        if self.stop_after is not None and self.asked > self.stop_after:
            raise Stopped("pause")

    def epochs(self) -> list[EpochRecord]:
        return [record for record in self.records if isinstance(record, EpochRecord)]


@pytest.fixture
def history(workspace: Workspace, tmp_path: Path) -> Callable[..., RunHistory]:
    """Makes contexts on an empty workspace."""

    def make(stop_after: int | None = None) -> RunHistory:
        run_dir = tmp_path / "run"
        run_dir.mkdir(exist_ok=True)
        return RunHistory(workspace, run_dir, stop_after=stop_after)

    return make


def short(epochs: int = 2, **changes: object) -> TrainingRecipe:
    """A recipe with everything that is random in it, for a few epochs."""
    return TrainingRecipe(
        epochs=epochs, lr0=0.01, warmup_epochs=1, mixup=0.5, close_mosaic=1, **changes
    )


@pytest.fixture(scope="module")
def pool(dataset) -> DataPool:
    return DataPool(dataset, imgsz=IMGSZ, batch=BATCH)


@pytest.fixture
def train(pool, history, tmp_path):
    """fit() with everything filled in."""

    def run(model, recipe=None, **changes):
        settings = {
            "workdir": tmp_path / "fit", "seed": 0, "phase": "finetune", "iteration": 1,
            "ctx": history(), "pool": pool, **changes,
        }  # fmt: skip
        return fit(model, recipe or short(), **settings)

    return run
