"""New detectors: from scratch, for other classes, and into the workspace as a model with a card."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from msip_core.data.cut import sizes_learned, uncut
from msip_core.data.dataset import Dataset
from msip_core.detector.checkpoints import (
    architecture_of,
    is_pruned,
    normalise,
    read_weights,
    save_stock,
    save_work,
)
from msip_core.detector.cost import count_cost
from msip_core.detector.library import DetectionModel, copy_model, is_yolov8_yaml, new_network
from msip_core.errors import ConfigError
from msip_core.events import Metrics
from msip_core.messages import msg
from msip_core.models import ModelCard
from msip_core.workspace import Workspace, new_id, whole_folder, write_json

_DEFAULT_IMGSZ = 640


class Adapted(NamedTuple):
    """A detector with the wanted classes, and one sentence on what was kept of the old one."""

    model: DetectionModel
    note: str


def build_model(name: str, classes: tuple[str, ...], seed: int = 0) -> DetectionModel:
    """A detector from scratch; the same seed gives the same weights.

    Args:
        name: "yolov8n.yaml", "yolov8s.yaml", ..., or "yolov8p.yaml", half as wide as n.
    """
    if not is_yolov8_yaml(name):
        raise ConfigError(
            "'{name}' is no YOLOv8 description: choose yolov8n.yaml, yolov8s.yaml, yolov8m.yaml, "
            "yolov8l.yaml or yolov8x.yaml.",
            name=name,
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = new_network(name, len(classes))
    model.names = dict(enumerate(classes))
    return normalise(model)


def adapt_classes(model: DetectionModel, classes: tuple[str, ...], seed: int = 0) -> Adapted:
    """A copy of `model` that detects `classes`.

    The last class convolutions get one row per new class. Rows of classes that the old model knows
    by the same name (case apart) are kept; the others start anew, with the bias that Ultralytics
    gives (5 objects per 640 px image). All other weights stay.
    """
    twin = copy_model(model)
    old = tuple(model.names.values())
    if old == tuple(classes):
        return Adapted(twin, msg("Classes unchanged ({old}).", old=", ".join(old)))
    known = {name.strip().lower(): row for row, name in enumerate(old)}
    rows = [known.get(name.strip().lower()) for name in classes]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = twin.model[-1]
        for branch, stride in zip(head.cv3, head.stride.tolist(), strict=True):
            branch[-1] = _class_conv(branch[-1], rows, stride)
    head.nc = len(classes)
    head.no = head.nc + 4 * head.reg_max
    twin.names = dict(enumerate(classes))
    twin.nc = len(classes)
    twin.yaml = {**deepcopy(twin.yaml), "nc": len(classes)}
    kept = [name for name, row in zip(classes, rows, strict=True) if row is not None]
    new = [name for name, row in zip(classes, rows, strict=True) if row is None]
    return Adapted(twin, _kept_from(architecture_of(model), ", ".join(kept), ", ".join(new)))


def _kept_from(source: str, kept: str, new: str) -> str:
    if kept and new:
        return msg(
            "Backbone, neck and boxes kept from {source}; classes kept: {kept}; classes learned "
            "anew: {new}.",
            source=source,
            kept=kept,
            new=new,
        )
    if kept:
        return msg(
            "Backbone, neck and boxes kept from {source}; classes kept: {kept}.",
            source=source,
            kept=kept,
        )
    if new:
        return msg(
            "Backbone, neck and boxes kept from {source}; classes learned anew: {new}.",
            source=source,
            new=new,
        )
    return msg("Backbone, neck and boxes kept from {source}.", source=source)


def _class_conv(old: nn.Conv2d, rows: list[int | None], stride: float) -> nn.Conv2d:
    conv = nn.Conv2d(old.in_channels, len(rows), 1)
    weight, bias = dict(conv.named_parameters()).values()
    old_weight, old_bias = dict(old.named_parameters()).values()
    with torch.no_grad():
        bias.fill_(math.log(5 / len(rows) / (640 / stride) ** 2))
        for new_row, old_row in enumerate(rows):
            if old_row is not None:
                weight[new_row] = old_weight[old_row]
                bias[new_row] = old_bias[old_row]
    return conv


def register_model(
    workspace: Workspace,
    model: DetectionModel,
    *,
    name: str,
    kind: Literal["baseline", "pruned", "uploaded"],
    imgsz: int,
    model_id: str | None = None,
    architecture: str | None = None,
    dataset: Dataset | None = None,
    val: Metrics | None = None,
    test: Metrics | None = None,
    baseline_id: str | None = None,
    macs_ratio: float | None = None,
    origin: Mapping[str, object] | None = None,
    note: str = "",
) -> ModelCard:
    """Put a model into the workspace: model.pt for everyone, work.pt for pruned ones, and the card;
    all of it or nothing.

    `model_id` given again overwrites that model: a resumed run registers once. `dataset` is what it
    learned from.
    """
    model_id = model_id or new_id("model")
    card = ModelCard(
        id=model_id,
        name=name or model_id,
        kind=kind,
        architecture=architecture or architecture_of(model),
        classes=tuple(model.names.values()),
        imgsz=imgsz,
        val=val,
        test=test,
        cost=count_cost(model, imgsz),
        baseline_id=baseline_id,
        macs_ratio=macs_ratio,
        origin=dict(origin or {}),
        note=note or _note(model, kind),
        **({} if dataset is None else _learned_from(dataset)),
    )
    place = workspace.model_dir(model_id)
    with nullcontext(place) if place.is_dir() else whole_folder(place) as folder:
        save_stock(model, folder / "model.pt", imgsz=imgsz)
        if kind == "pruned":
            save_work(model, folder / "work.pt", {"model_id": model_id})
        write_json(folder / "model.json", card.model_dump(mode="json"))
    return card


def _learned_from(dataset: Dataset) -> dict[str, Any]:
    return {
        "dataset": dataset.name,
        "dataset_hash": uncut(dataset).content_hash,
        "recipe": dataset.recipe,
        "trained": sizes_learned(dataset),
    }


def _note(model: DetectionModel, kind: str) -> str:
    further = kind == "baseline" and is_pruned(model)
    return msg("Trained on from a pruned model.") if further else ""


def add_upload(workspace: Workspace, path: Path, name: str = "") -> ModelCard:
    """Bring a person's .pt file into the workspace.

    It is opened once, read as data and written anew, so that nothing of the original pickle is
    kept; its SHA-256 is.
    """
    model, info, sha256 = read_weights(path)
    imgsz = info.imgsz if info.imgsz and info.imgsz % 32 == 0 else _DEFAULT_IMGSZ
    return register_model(
        workspace,
        model,
        name=name or path.stem,
        kind="uploaded",
        imgsz=imgsz,
        architecture=info.architecture,
        origin={"file": path.name, "sha256": sha256},
        note=msg("Already pruned when it was uploaded.") if info.pruned else "",
    )
