"""A workspace as it looks after some work, made in a second: drawn images, models, runs.

Accuracies and costs are invented (tests.views.samples); images and boxes are really drawn.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from msip_core.boxes import Detection
from msip_core.config import PruneConfig, TrainConfig, TrainingRecipe
from msip_core.data.dataset import Dataset, open_dataset
from msip_core.data.questions import Draw, Import, Inspect
from msip_core.events import Cost, FinalRecord, LayerChannels, ProgressRecord, Stage, StageRecord
from msip_core.models import ModelCard, write_card
from msip_core.questions.base import Job, Question
from msip_core.questions.detecting import (
    Compare,
    Export,
    Exported,
    Predict,
    PredictedImage,
    Predictions,
    Upload,
)
from msip_core.questions.looking import GradCam, HeatMap, Shap, ShapTime, ShapValues, TimeShap
from msip_core.questions.planning import Effort, Estimate, PlannedCut, Preview
from msip_core.questions.sources import DatasetImage
from msip_core.questions.speed import Timed, TimeModels
from msip_core.runs.events_log import EventLog
from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from msip_core.runs.store import RunStore
from msip_core.workspace import Workspace
from tests.drawn import copy_example
from tests.views import samples

IMGSZ = 128
BASELINE, LIGHTER = "baseline-1", "pruned-1"


def draw_dataset(workspace: Workspace, images: int = 12) -> Dataset:
    return copy_example(workspace, images=images, size=IMGSZ)


def add_model(workspace: Workspace, model_id: str, **changes: Any) -> ModelCard:
    first = samples.baseline_record()
    fields: dict[str, Any] = {
        "id": model_id, "name": "Example baseline", "kind": "baseline", "architecture": "yolov8n",
        "classes": ("crypt", "no_crypt"), "imgsz": IMGSZ, "dataset": "example",
        "val": first.metrics, "test": samples.metrics(0.889, "test"), "cost": first.cost,
    }  # fmt: skip
    card = ModelCard(**{**fields, **changes})
    write_card(workspace, card)
    (workspace.model_dir(model_id) / "model.pt").write_bytes(b"weights " * 1000)
    return card


def prune_config(**changes: Any) -> PruneConfig:
    fields: dict[str, Any] = {
        "name": "Example to 33 %", "dataset": "example", "model": BASELINE, "imgsz": IMGSZ,
        "iterations": 5, "keep_macs": 0.335, "finetune": TrainingRecipe(epochs=4), "device": "cpu",
    }  # fmt: skip
    return PruneConfig(**{**fields, **changes})


def train_config(**changes: Any) -> TrainConfig:
    fields: dict[str, Any] = {
        "name": "Baseline on example",
        "dataset": "example",
        "weights": "yolov8n.yaml",
        "imgsz": IMGSZ,
        "device": "cpu",
    }
    return TrainConfig(**{**fields, **changes})


def begin(
    service: RunService, config: PruneConfig | TrainConfig, run_id: str | None = None
) -> tuple[str, EventLog]:
    """A run whose worker has just started."""
    run_id = service.submit(config, run_id=run_id)
    log = EventLog(service.run_dir(run_id))
    log.transition(RunState.RUNNING)
    return run_id, log


def prune_run(
    workspace: Workspace,
    state: RunState,
    steps: int = 5,
    *,
    run_id: str | None = None,
    **changes: Any,
) -> str:
    """A pruning run in any state, with `steps` finished steps of five."""
    service = RunService(workspace)
    config = prune_config(**changes)
    if state is RunState.QUEUED:
        return service.submit(config, run_id=run_id)
    run_id, log = begin(service, config, run_id)
    log.emit(samples.baseline_record())
    epochs = samples.epoch_records()
    for record in samples.iteration_records()[:steps]:
        for epoch in epochs:
            if epoch.iteration == record.index:
                log.emit(epoch)
        log.emit(record)
        log.append({"kind": "milestone", "level": "info", "message": f"Step {record.index} done."})
    if state is RunState.COMPLETED:
        log.emit(_final())
    else:
        log.emit(StageRecord(stage=Stage.FINETUNING, iteration=steps + 1))
        log.emit(ProgressRecord(done=0.42, seconds_left=200.0, message="epoch 2 of 4"))
    _finish(log, state)
    (service.run_dir(run_id) / "log.txt").write_text("one line of the log\n", encoding="utf-8")
    return run_id


def train_run(workspace: Workspace, state: RunState = RunState.COMPLETED) -> str:
    """A baseline run with a few epochs."""
    service = RunService(workspace)
    run_id, log = begin(service, train_config())
    for epoch in samples.epoch_records(1, 6):
        log.emit(epoch.model_copy(update={"phase": "train", "iteration": 0}))
    if state is RunState.COMPLETED:
        log.emit(_final().model_copy(update={"iteration": 0, "model_id": BASELINE}))
    _finish(log, state)
    return run_id


def _final() -> FinalRecord:
    return samples.final_record()


def _finish(log: EventLog, state: RunState) -> None:
    between = {RunState.PAUSED: [RunState.PAUSING], RunState.CANCELLED: [RunState.CANCELLING]}.get(
        state, []
    )
    reasons = {
        RunState.FAILED: "The device ran out of memory: choose a smaller batch.",
        RunState.INTERRUPTED: "The worker was ended from outside (signal 9).",
    }
    for step in [*between, *([] if state is RunState.RUNNING else [state])]:
        log.transition(step, reason=reasons.get(step))


def fill(workspace: Workspace) -> str:
    """Dataset, two models, a finished training and a finished pruning run; its id.

    Made once a process and copied: a workspace holds no path of its own.
    """
    made, run_id = _filled()
    index = shutil.ignore_patterns("lab.sqlite*")
    shutil.copytree(made, workspace.root, ignore=index, dirs_exist_ok=True)
    RunStore(workspace).reindex()
    return run_id


@functools.cache
def _filled() -> tuple[Path, str]:
    folder = Path(tempfile.mkdtemp(prefix="msip-filled-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder, fill_anew(Workspace.open(folder))


def fill_anew(workspace: Workspace) -> str:
    """The same, made by the samples as they are now, for who has changed them."""
    draw_dataset(workspace)
    add_model(workspace, BASELINE)
    train_run(workspace)
    run_id = prune_run(workspace, RunState.COMPLETED)
    small = Cost(macs=1_352_000_000, params=900_000, size_mb=2.1, imgsz=IMGSZ)
    add_model(
        workspace, LIGHTER, name="Example, a third", kind="pruned", cost=small, macs_ratio=0.333,
        baseline_id=BASELINE, origin={"run_id": run_id, "iteration": 5},
    )  # fmt: skip
    return run_id


# --- answers of the compute process ---------------------------------------------


def answer(workspace: Workspace, question: Question[Any], out: Path) -> BaseModel:
    """What each job would answer, made up from the labels of the drawn image."""
    if isinstance(question, Inspect | Import | Draw):
        # The real thing: looking into data and importing them needs no torch.
        return question.answer(Job(workspace, out, lambda done, message: None))
    if isinstance(question, Upload):
        return add_model(workspace, "uploaded-1", name=question.name, kind="uploaded")
    if isinstance(question, Predict):
        return _predicted(workspace, question)
    if isinstance(question, Compare):
        return samples.compare_result().model_copy(update={"latency": ()})
    if isinstance(question, Preview):
        return planned_cut(question.config.keep_macs)
    for kind, make in _MADE_UP.items():
        if isinstance(question, kind):
            return make(question, out)
    raise TypeError(f"No answer is made up for {type(question).__name__}.")


def changed(kind: type[Question[Any]], **fields: Any) -> Callable[..., BaseModel]:
    """The usual answers, those to one kind of question with other values."""

    def answers(workspace: Workspace, question: Question[Any], out: Path) -> BaseModel:
        usual = answer(workspace, question, out)
        return usual.model_copy(update=fields) if isinstance(question, kind) else usual

    return answers


def _heat(question: GradCam, out: Path) -> HeatMap:
    box = question.box
    assert box is not None
    y, x = np.mgrid[0:IMGSZ, 0:IMGSZ]
    far = np.hypot(x - (box.x1 + box.x2) / 2, y - (box.y1 + box.y2) / 2)
    radius = (box.x2 - box.x1) / 2
    np.savez(out / "heat.npz", heat=np.exp(-(((far - radius) / 6) ** 2)).astype(np.float32))
    return samples.heat_map(box, method=question.method)


def _shap(question: Shap, out: Path) -> ShapValues:
    segments = (np.mgrid[0:IMGSZ, 0:IMGSZ] // 32 * np.array([4, 1])[:, None, None]).sum(axis=0)
    np.savez(out / "segments.npz", segments=segments.astype(np.int32))
    return samples.shap_values(question.box)


def _export(question: Export, out: Path) -> Exported:
    (out / "model.onnx").write_bytes(b"onnx")
    return Exported(path="model.onnx", format=question.format, imgsz=IMGSZ)


def _predicted(workspace: Workspace, question: Predict) -> Predictions:
    images = []
    for asked in question.images:
        assert isinstance(asked, DatasetImage)
        data = open_dataset(workspace, asked.dataset)
        record = data.image(asked.image)
        found = tuple(
            Detection(**box.model_dump(), score=0.9 - 0.05 * n, number=n + 1)
            for n, box in enumerate(data.boxes(record))
        )
        images.append(
            PredictedImage(
                id=record.id,
                width=record.width,
                height=record.height,
                detections=found,
            )
        )
    return Predictions(
        classes=samples.CLASSES, imgsz=IMGSZ, recipe=None, sizes_known=True, images=tuple(images)
    )


def planned_cut(keep: float) -> PlannedCut:
    macs = 4_060_000_000.0
    layers = tuple(
        LayerChannels(name=name, before=width, after=round(width * keep), original=width)
        for name, width in samples.LAYERS
    )
    return PlannedCut(
        macs=(macs, keep * macs), params=(3_010_000.0, 1_505_000.0), size_mb=(6.2, 2.1),
        layers=layers, refused=None, least=0.045, images=8, disk_gb=0.13,
        memory_gb={batch: 0.9 + 0.05 * batch for batch in (1, 2, 4, 8, 16, 32, 64)},
    )  # fmt: skip


_MADE_UP: dict[type[Question[Any]], Callable[[Any, Path], BaseModel]] = {
    GradCam: _heat,
    Shap: _shap,
    Export: _export,
    TimeShap: lambda question, out: ShapTime(
        seconds=20.0, per_evaluation=0.01, batch=8, samples=2048
    ),
    TimeModels: lambda question, out: Timed(latency=samples.compare_result().latency),
    Estimate: lambda question, out: Effort(
        seconds=1260.0, memory_gb=1.9, disk_gb=0.2, note="Measured on this computer."
    ),
}
