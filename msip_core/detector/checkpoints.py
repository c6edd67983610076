"""Weights files: read as data, without running code, and written in two kinds.

    model.pt   stock Ultralytics classes only; `YOLO("model.pt")` opens it anywhere
    work.pt    the fp32 module as it is, C2fV2 included: tensors and a description in JSON

Whatever is read, a person's file, a copied run or our own work, goes through one door: the archive
is checked and its pickle worked out without being run (msip_core.detector.archives), the detector
is described (blueprint, assembly), and a new one is built from that description.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from msip_core.detector.archives import Archive, fused_sentence, opened
from msip_core.detector.assembly import GAINS, Plan, assemble, plan_from_json, plan_of, plan_to_json
from msip_core.detector.blueprint import from_json, to_json
from msip_core.detector.c2f import to_stock
from msip_core.detector.kinds import FusedError, HookedError, UnfitError
from msip_core.detector.library import (
    DetectionModel,
    copy_model,
    hyperparameters,
    is_yolov8_yaml,
    new_network,
    reset,
)
from msip_core.detector.pickles import Made, TensorRef
from msip_core.errors import CheckpointError, UnsafeCheckpointError, WrongModelError
from msip_core.messages import msg
from msip_core.workspace import atomic_path

_FORMAT = "msip-detector-1"
_LARGEST_IMGSZ = 10_000


class CheckpointInfo(NamedTuple):
    """What a weights file holds.

    Attributes:
        architecture: "yolov8n", "yolov8s", ... of the unpruned model; "yolov8" if unknown.
        params: number of parameters.
        pruned: backbone and neck are narrower than the architecture's.
        imgsz: image size it was trained at, where the file says so.
    """

    architecture: str
    task: str
    classes: tuple[str, ...]
    params: int
    pruned: bool
    imgsz: int | None


class Weights(NamedTuple):
    """A weights file, read in one go: the model, what the file says, its SHA-256."""

    model: DetectionModel
    info: CheckpointInfo
    sha256: str


def load_model(path: Path | str, *, trusted: bool = False) -> DetectionModel:
    """Load a YOLOv8 detector: fp32, on the CPU, in eval mode, every parameter with gradients on.

    Args:
        path: a .pt file.
        trusted: decides nothing any more, since every file is read as data, whoever made it; kept
            for scripts from when it let a file run.

    Raises:
        NotFoundError: no such file.
        UnsafeCheckpointError: the file asks for something outside the allow-list.
        WrongModelError: not a YOLOv8 detector, or one that was fused or quantised.
        CheckpointError: the file cannot be read.
    """
    del trusted
    with _opened(Path(path)) as archive:
        return _model_of(archive)


def read_weights(path: Path | str) -> Weights:
    """Everything about a weights file, from one opening of it; the same errors as `load_model`."""
    with _opened(Path(path)) as archive:
        model = _model_of(archive)
        return Weights(model, _info(model, archive.value), archive.sha256())


def inspect_checkpoint(path: Path | str) -> CheckpointInfo:
    """What a weights file holds; the same errors as `load_model`."""
    return read_weights(path).info


def save_work(
    model: DetectionModel,
    path: Path,
    meta: Mapping[str, object] | None = None,
    *,
    half: bool = False,
) -> None:
    """Write the fp32 module as it is, with a JSON-like `meta` and the channels of every
    convolution. The pickle inside holds tensors in plain containers and nothing else.

    Args:
        half: weights in half precision, where small files matter more than the last bits.
    """
    twin = _portable(copy_model(model).float())
    channels = {
        name: (m.in_channels, m.out_channels)
        for name, m in twin.named_modules()
        if isinstance(m, nn.Conv2d)
    }
    plan = plan_of(twin, twin.args)
    rows, tensors = to_json(plan.layers)
    held = {
        name: value.detach().half() if half and value.is_floating_point() else value.detach()
        for name, value in tensors.items()
    }
    content = {
        "format": _FORMAT,
        "description": json.dumps({**plan_to_json(plan, twin.stride), "parts": rows}),
        "tensors": held,
        "msip": {"channels": channels, **(meta or {})},
    }
    _write(content, path)


def save_stock(model: DetectionModel, path: Path, *, imgsz: int | None = None) -> None:
    """Write a model.pt that opens in stock Ultralytics, with unchanged outputs.

    Weights are stored in half precision, as Ultralytics does, if that loses nothing (see
    `round_to_half`), else in full.
    """
    twin = _portable(to_stock(model).float())
    if _is_half_exact(twin):
        twin = twin.half()
    _write(_envelope(twin, imgsz), path)


def round_to_half(model: DetectionModel) -> DetectionModel:
    """A copy whose weights are fp16 values held in fp32.

    Ultralytics stores fp16. Round before the last evaluation, and the model that is measured is
    the very model that is shipped, in half the room.
    """
    twin = copy_model(model).float()
    with torch.no_grad():
        for value in _floats(twin):
            value.copy_(_half(value))
    return twin


def size_mb(model: DetectionModel) -> float:
    """MiB (2**20 bytes) of all parameters and buffers in half precision: the size of a stock .pt,
    which is what the paper's 21.5 MB for YOLOv8s means."""
    values = model.state_dict().values()
    return sum(v.numel() * (2 if v.is_floating_point() else v.itemsize) for v in values) / 2**20


def architecture_of(model: DetectionModel) -> str:
    """ "yolov8n", ... as the model's own description says; "yolov8" where it says nothing."""
    stem = Path(str(model.yaml.get("yaml_file", "yolov8"))).stem
    scale = str(model.yaml.get("scale", ""))
    return f"{stem}{scale}" if stem == "yolov8" and scale in "nsmlx" else stem


def is_pruned(model: DetectionModel) -> bool:
    """Whether backbone and neck have fewer parameters than the architecture's.

    The head is left out: its width also follows the number of classes it was first built for.
    """
    name = f"{architecture_of(model)}.yaml"
    if not is_yolov8_yaml(name):
        return False
    whole = new_network(name, len(model.names))
    return _body_parameters(model) < _body_parameters(whole)


def _body_parameters(model: DetectionModel) -> int:
    return sum(p.numel() for layer in list(model.model)[:-1] for p in layer.parameters())


# --- reading ------------------------------------------------------------------


def _opened(path: Path) -> AbstractContextManager[Archive]:
    if path.is_file() and path.suffix.lower() != ".pt":
        raise CheckpointError(
            "{name} is not a .pt file: give the weights that training wrote, not an export.",
            name=path.name,
        )
    return opened(path)


def _model_of(archive: Archive) -> DetectionModel:
    name = archive.name
    try:
        return assemble(_plan_in(archive), archive.tensor)
    except FusedError as error:
        raise WrongModelError(fused_sentence(name)) from error
    except HookedError as error:
        raise UnsafeCheckpointError(
            "{name} carries hooks, which weights never need.", name=name
        ) from error
    except UnfitError as error:
        raise WrongModelError(
            "{name} cannot be used as a YOLOv8 detector: {error}. Give a .pt file of YOLOv8 n, s, "
            "m, l or x, trained to detect boxes.",
            name=name,
            error=error,
        ) from error


def _plan_in(archive: Archive) -> Plan:
    content = _content(archive.value)
    if content.get("format") == _FORMAT:
        return _work_plan(content)
    if content.get("modelopt"):
        raise WrongModelError(
            "{name} was trained for 8-bit numbers: give the full-precision weights.",
            name=archive.name,
        )
    model = content.get("ema") if content.get("ema") is not None else content.get("model")
    if not (isinstance(model, Made) and model.name == "ultralytics.nn.tasks.DetectionModel"):
        raise WrongModelError(
            "{name} holds {held}, not a YOLOv8 detector. Give a .pt file of "
            "YOLOv8 n, s, m, l or x, trained to detect boxes.",
            name=archive.name,
            held=_held(model),
        )
    train_args = content.get("train_args")
    if train_args is not None and not isinstance(train_args, Mapping):
        raise UnfitError("its settings of training (train_args) are no table")
    return plan_of(model, train_args)


def _work_plan(content: Mapping[Any, Any]) -> Plan:
    tensors, text = content.get("tensors"), content.get("description")
    if not isinstance(tensors, dict) or not isinstance(text, str):
        raise UnfitError("its description is damaged")
    try:
        document = json.loads(text)
        rows = document["parts"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UnfitError("its description is damaged") from error
    return plan_from_json(document, from_json(rows, tensors))


def _content(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {"model": value}


def _held(value: Any) -> str:
    """What lies where the model should be, for a sentence."""
    if isinstance(value, Made):
        return f"a {value.name.rpartition('.')[2][:80]}"
    if value is None:
        return msg("no model")
    if isinstance(value, TensorRef):
        return msg("a tensor")
    return msg("bare weights") if isinstance(value, Mapping) else f"a {type(value).__name__}"


def _info(model: DetectionModel, value: Any) -> CheckpointInfo:
    train_args = _content(value).get("train_args")
    imgsz = train_args.get("imgsz") if isinstance(train_args, Mapping) else None
    return CheckpointInfo(
        architecture=architecture_of(model),
        task="detect",
        classes=tuple(model.names.values()),
        params=sum(p.numel() for p in model.parameters()),
        pruned=is_pruned(model),
        imgsz=imgsz if type(imgsz) is int and 0 < imgsz <= _LARGEST_IMGSZ else None,
    )


def normalise(model: DetectionModel, **gains: float) -> DetectionModel:
    """Bring a detector, in place, into the state that every room relies on; returns it.

    fp32, CPU, eval, gradients on for every parameter (torch-pruning traces autograd, and a loaded
    checkpoint has them all off, VainF/Torch-Pruning#211), `args` with attribute access (the loss
    reads args.box), no criterion, no cached anchors.
    """
    model = model.float().cpu().eval()
    model.task = "detect"
    model.names = {int(k): str(v) for k, v in model.names.items()}
    model.args = hyperparameters(**gains)
    if hasattr(model, "pt_path"):
        del model.pt_path
    for module in model.modules():
        if isinstance(module, nn.Upsample) and not hasattr(module, "recompute_scale_factor"):
            module.recompute_scale_factor = None  # files of torch 1.10
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return reset(model)


# --- writing ------------------------------------------------------------------


def _portable(model: DetectionModel) -> DetectionModel:
    """Strip what a file must not carry: paths of this computer, gradients' state, devices."""
    model = reset(model.cpu().eval())
    model.args = {"task": "detect", **{k: getattr(model.args, k) for k in GAINS}}
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


def _envelope(model: DetectionModel, imgsz: int | None = None) -> dict[str, object]:
    """The dictionary around a module that Ultralytics' loader expects."""
    train_args = dict(model.args)
    if imgsz is not None:
        train_args["imgsz"] = imgsz
    return {"epoch": -1, "model": model, "ema": None, "train_args": train_args}


def _write(value: Mapping[str, object], path: Path) -> None:
    # Through memory, not to a path: torch would write the name of the temporary file into the
    # archive (equal weights would never be equal files), and of a full disk only "unexpected pos".
    content = io.BytesIO()
    torch.save(value, content)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def _floats(model: nn.Module) -> list[torch.Tensor]:
    return [v for v in model.state_dict().values() if v.is_floating_point()]


def _half(value: torch.Tensor) -> torch.Tensor:
    limit = torch.finfo(torch.float16).max
    return value.clamp(-limit, limit).half()


def _is_half_exact(model: nn.Module) -> bool:
    return all(torch.equal(_half(v).to(v.dtype), v) for v in _floats(model))
