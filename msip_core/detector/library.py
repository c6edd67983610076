"""The one door to Ultralytics: quiet, offline, without telemetry, and without a hold on threads.

Every process of ours calls `Workspace.isolate_libraries` first, which says the same through the
environment; this module says it again for those who use the package in a script of their own.
Ultralytics reads its environment once, at import, and on the way sets OMP_NUM_THREADS=1 for every
later child process and asks a name server whether it is online; neither is wanted here.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# torch first: it reads OMP_NUM_THREADS before ultralytics overwrites it.
import torch

_OMP = os.environ.get("OMP_NUM_THREADS")
os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("YOLO_VERBOSE", "false")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reports to its maker otherwise
# OpenVINO reports every import and conversion to its maker; without this package it cannot.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

from ultralytics.cfg import DEFAULT_CFG_DICT  # noqa: E402
from ultralytics.nn.tasks import DetectionModel, yaml_model_load  # noqa: E402
from ultralytics.utils import LOGGER, SETTINGS, IterableSimpleNamespace  # noqa: E402

from msip_core.groups.copies import twin_of  # noqa: E402

if _OMP is None:
    os.environ.pop("OMP_NUM_THREADS", None)
LOGGER.setLevel(logging.ERROR)
if SETTINGS.get("sync", False):
    SETTINGS.update({"sync": False})


# Not -p6, which is built of C2: neither can its weights be read nor its halves be pruned.
_YAML = re.compile(r"yolov8[nsmlx](-p2)?\.yaml")
# With depthwise-separable downsampling: see `_depthwise`.
_DEPTHWISE = re.compile(r"yolov8([nsmlx])-depthwise\.yaml")
# Half as wide as YOLOv8n, which is the smallest that comes with Ultralytics: what a study trains
# beside a pruned YOLOv8n as the next smaller model.
NARROW_YAML = "yolov8p.yaml"
_NARROW_SCALE = (0.33, 0.125, 1024)  # depth, width, most channels


@contextmanager
def threads_kept() -> Iterator[None]:
    """Give torch its thread count back; Ultralytics sets cores - 1 whenever it picks the CPU."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def hyperparameters(**changes: Any) -> IterableSimpleNamespace:
    """Ultralytics' settings with attribute access, as its loss and datasets want them."""
    return IterableSimpleNamespace(**{**DEFAULT_CFG_DICT, "task": "detect", **changes})


def is_yolov8_yaml(name: str) -> bool:
    """Whether this is one of the YOLOv8 descriptions that come with Ultralytics, or ours."""
    return name == NARROW_YAML or any(known.fullmatch(name) for known in (_YAML, _DEPTHWISE))


def new_network(name: str, classes: int) -> DetectionModel:
    """The network of a description, with fresh weights."""
    if scale := _DEPTHWISE.fullmatch(name):
        return DetectionModel(_depthwise(name, scale[1]), nc=classes, verbose=False)
    if name != NARROW_YAML:
        return DetectionModel(name, nc=classes, verbose=False)
    description = {
        **yaml_model_load("yolov8n.yaml"),
        "yaml_file": NARROW_YAML,
        "scale": "p",
        "scales": {"p": list(_NARROW_SCALE)},
    }
    return DetectionModel(description, nc=classes, verbose=False)


def _depthwise(name: str, scale: str) -> dict[str, object]:
    """YOLOv8 whose 3 x 3 convolutions of stride 2, but the first, are a depthwise one of stride 2
    and a pointwise one (Howard et al. 2017, arXiv:1704.04861).

    What reads an earlier layer by number reads the same one, wherever it now stands.
    """
    plain = yaml_model_load(f"yolov8{scale}.yaml")
    layers = [*plain["backbone"], *plain["head"]]
    place: list[int] = []  # old number -> new number
    made: list[list[Any]] = []
    widths: list[Any] = []  # channels that each old layer gives, before scaling
    for number, (source, repeats, kind, args) in enumerate(layers):
        moved = _moved(source, number, place, len(made))
        if number and kind == "Conv" and list(args[1:3]) == [3, 2]:
            # The depthwise half keeps what it reads: as many channels as the layer before gives.
            before = widths[source if source >= 0 else number + source]
            made += [[moved, 1, "DWConv", [before, 3, 2]], [-1, repeats, "Conv", [args[0], 1, 1]]]
        else:
            made.append([moved, repeats, kind, list(args)])
        place.append(len(made) - 1)
        same = kind in ("nn.Upsample", "Concat")
        widths.append(widths[-1] if same else args[0] if args else None)
    cut = place[len(plain["backbone"]) - 1] + 1
    return {**plain, "yaml_file": name, "backbone": made[:cut], "head": made[cut:]}


def _moved(source: Any, number: int, place: list[int], now: int) -> Any:
    """Where a layer reads from, in the new numbers; -1 stays the layer before."""
    if isinstance(source, list):
        return [_moved(one, number, place, now) for one in source]
    return source if source == -1 else place[source if source >= 0 else number + source]


def copy_model(model: DetectionModel) -> DetectionModel:
    """A copy that shares nothing with `model` and carries no leftovers of earlier work.

    Left out: the cached criterion (it holds the model again), gradients, and the anchors that
    Detect keeps after a forward; made under inference_mode, these would break the next backward.
    """
    criterion = getattr(model, "criterion", None)
    twin: DetectionModel = twin_of(model, {id(criterion): None} if criterion is not None else {})
    return reset(twin)


def reset(model: DetectionModel) -> DetectionModel:
    """Drop criterion, gradients and cached anchors of `model` in place; returns it."""
    model.criterion = None
    for parameter in model.parameters():
        parameter.grad = None
    head = model.model[-1]
    head.shape = None
    head.anchors = torch.empty(0)
    head.strides = torch.empty(0)
    return model
