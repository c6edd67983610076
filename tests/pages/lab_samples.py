"""A workspace as it looks after some work, made in a second: drawn images, models, runs.

Accuracies and costs are invented (tests.views.samples); images and boxes are really drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from msip_core.config import PruneConfig, TrainConfig, TrainingRecipe
from msip_core.data.dataset import Dataset
from msip_core.data.jobs import draw_job, import_job, inspect_job
from msip_core.data.synthetic import import_example
from msip_core.events import Cost, FinalRecord, ProgressRecord, Stage, StageRecord
from msip_core.models import ModelCard, write_card
from msip_core.runs.compute import TICKET
from msip_core.runs.events_log import EventLog
from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from msip_core.workspace import Workspace
from tests.views import samples

IMGSZ = 128
BASELINE, LIGHTER = "baseline-1", "pruned-1"


def draw_dataset(workspace: Workspace, images: int = 12) -> Dataset:
    return import_example(workspace, "example", images=images, size=IMGSZ, seed=0)


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
        "name": "Baseline on example", "dataset": "example", "weights": "yolov8n.yaml",
        "imgsz": IMGSZ, "device": "cpu",
    }  # fmt: skip
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
    between = {
        RunState.PAUSED: [RunState.PAUSING],
        RunState.CANCELLED: [RunState.CANCELLING],
    }.get(state, [])
    reasons = {
        RunState.FAILED: "The device ran out of memory: choose a smaller batch.",
        RunState.INTERRUPTED: "The worker was ended from outside (signal 9).",
    }
    for step in [*between, *([] if state is RunState.RUNNING else [state])]:
        log.transition(step, reason=reasons.get(step))


def fill(workspace: Workspace) -> str:
    """Dataset, two models, a finished training and a finished pruning run; its id."""
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


def answer(workspace: Workspace, job: str, params: dict[str, Any], out: Path) -> dict[str, Any]:
    """What each job would write, made up from the labels of the drawn image."""
    return _ANSWERS[job](workspace, params, out)


def _heat(params: dict[str, Any], out: Path, name: str = "heat.npz") -> dict[str, Any]:
    box = params["box"]
    y, x = np.mgrid[0:IMGSZ, 0:IMGSZ]
    centre = (box["x1"] + box["x2"]) / 2, (box["y1"] + box["y2"]) / 2
    radius = (box["x2"] - box["x1"]) / 2
    far = np.hypot(x - centre[0], y - centre[1])
    np.savez(out / name, heat=np.exp(-(((far - radius) / 6) ** 2)).astype(np.float32))
    scores = {
        "ber": 0.41, "enrichment": 3.2, "energy_in_box": 0.71, "hit": True, "contour": "mask",
        "band_px": 4.0,
    }  # fmt: skip
    return {"heat": name, "layers": [15, 18, 21], "skipped": [], "scores": scores}


def _shap(params: dict[str, Any], out: Path, name: str = "segments.npz") -> dict[str, Any]:
    if params.get("estimate"):
        return {"seconds": 20.0, "per_evaluation": 0.01, "batch": 8, "samples": 2048}
    segments = (np.mgrid[0:IMGSZ, 0:IMGSZ] // 32 * np.array([4, 1])[:, None, None]).sum(axis=0)
    np.savez(out / name, segments=segments.astype(np.int32))
    values = np.linspace(-0.02, 0.1, 16).tolist()
    return {
        "segments": name, "values": values, "score": 0.84, "base": 0.12, "c_at_10": 0.31,
        "converged": True, "evaluations": 392,
        "seconds": 3.0, "scores": {"ber": 0.36, "contour": "mask"},
    }  # fmt: skip


def _predict(workspace: Workspace, params: dict[str, Any], out: Path) -> dict[str, Any]:
    from msip_core.data.dataset import open_dataset

    images = []
    for asked in params["images"]:
        data = open_dataset(workspace, asked["dataset"])
        boxes = data.boxes(data.image(asked["image"]))
        found = [
            {**box.model_dump(), "score": 0.9 - 0.05 * n, "number": n + 1}
            for n, box in enumerate(boxes)
        ]
        images.append({"id": asked["image"], "detections": found})
    return {"images": images}


def _data(job: str) -> Callable[[Workspace, dict[str, Any], Path], dict[str, Any]]:
    """The real thing: looking into data and importing them needs no torch."""

    def run(workspace: Workspace, params: dict[str, Any], out: Path) -> dict[str, Any]:
        function = {"inspect": inspect_job, "import": import_job, "draw": draw_job}[job]
        asked = {key: value for key, value in params.items() if key != TICKET}
        return function(workspace, asked, out, lambda done, message: None)

    return run


def _upload(workspace: Workspace, params: dict[str, Any], out: Path) -> dict[str, Any]:
    card = add_model(workspace, "uploaded-1", name=params["name"], kind="uploaded")
    return card.model_dump(mode="json")


def _export(workspace: Workspace, params: dict[str, Any], out: Path) -> dict[str, Any]:
    (out / "model.onnx").write_bytes(b"onnx")
    return {"path": "model.onnx", "format": params["format"], "imgsz": IMGSZ}


def _preview(workspace: Workspace, params: dict[str, Any], out: Path) -> dict[str, Any]:
    keep = params["config"]["keep_macs"]
    macs, params_now = 4_060_000_000.0, 3_010_000.0
    layers = [
        {"name": name, "before": width, "after": round(width * keep), "original": width}
        for name, width in samples.LAYERS
    ]
    return {
        "macs": [macs, keep * macs], "params": [params_now, 0.5 * params_now],
        "size_mb": [6.2, 2.1], "layers": layers, "refused": None, "least": 0.045,
        "images": 8, "memory_gb": {str(b): 0.9 + 0.05 * b for b in (1, 2, 4, 8, 16, 32, 64)},
        "disk_gb": 0.13,
    }  # fmt: skip


_ANSWERS = {
    "data-inspect": _data("inspect"),
    "data-import": _data("import"),
    "data-draw": _data("draw"),
    "upload": _upload,
    "export": _export,
    "predict": _predict,
    "compare": lambda workspace, params, out: samples.compare_result(),
    "latency": lambda workspace, params, out: {"latency": samples.compare_result()["latency"]},
    "gradcam": lambda workspace, params, out: _heat(params, out),
    "shap": lambda workspace, params, out: _shap(params, out),
    "attention": lambda workspace, params, out: {
        side: {
            "gradcam": _heat(params, out, f"{side}-heat.npz"),
            "shap": _shap(params, out, f"{side}-segments.npz"),
        }
        for side in ("baseline", "pruned")
    },
    "preview": _preview,
    "estimate": lambda workspace, params, out: {
        "seconds": 1260.0, "memory_gb": 1.9, "disk_gb": 0.2, "note": "Measured on this computer.",
    },
}  # fmt: skip
