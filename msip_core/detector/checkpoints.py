"""Weights files: read without running code, and written in two kinds.

    model.pt   stock Ultralytics classes only; `YOLO("model.pt")` opens it anywhere
    work.pt    the fp32 module as it is, C2fV2 included, to go on from

A file that a person brings is data, not a program. Its pickle is first searched for the names it
would import (msip_core.detector.pickles); only then Ultralytics' safe-only loader rebuilds the
known classes, and nothing else, from it.
"""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from ultralytics.nn.modules import Conv, Detect
from ultralytics.nn.tasks import torch_safe_load

from msip_core.detector.c2f import C2fV2, to_stock
from msip_core.detector.library import (
    DetectionModel,
    copy_model,
    hyperparameters,
    is_yolov8_yaml,
    new_network,
    reset,
)
from msip_core.detector.pickles import ALLOWED, is_foreign_model, names_in
from msip_core.errors import (
    CheckpointError,
    NotFoundError,
    UnsafeCheckpointError,
    WrongModelError,
)
from msip_core.workspace import atomic_path

torch.serialization.add_safe_globals([C2fV2])

_GAINS = ("box", "cls", "dfl")


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


def load_model(path: Path | str, *, trusted: bool = False) -> DetectionModel:
    """Load a YOLOv8 detector: fp32, on the CPU, in eval mode, every parameter with gradients on.

    Args:
        path: a .pt file.
        trusted: the file was written by this workspace; skips the search for names (faster).

    Raises:
        NotFoundError: no such file.
        UnsafeCheckpointError: the file asks for something outside the allow-list.
        WrongModelError: not a YOLOv8 detector, or one that was fused or quantised.
        CheckpointError: the file cannot be read.
    """
    return _model_of(_read(Path(path), trusted=trusted), Path(path))


def inspect_checkpoint(path: Path | str) -> CheckpointInfo:
    """What a weights file holds; the same errors as `load_model`."""
    path = Path(path)
    checkpoint = _read(path, trusted=False)
    model = _model_of(checkpoint, path)
    imgsz = checkpoint.get("train_args", {}).get("imgsz")
    return CheckpointInfo(
        architecture=architecture_of(model),
        task="detect",
        classes=tuple(model.names.values()),
        params=sum(p.numel() for p in model.parameters()),
        pruned=is_pruned(model),
        imgsz=imgsz if isinstance(imgsz, int) else None,
    )


def save_work(model: DetectionModel, path: Path, meta: dict[str, Any] | None = None) -> None:
    """Write the fp32 module as it is, with a JSON-like `meta` and the channels of every
    convolution. A state_dict alone could not be loaded again: widths differ from the yaml's."""
    twin = _portable(copy_model(model).float())
    channels = {
        name: (m.in_channels, m.out_channels)
        for name, m in twin.named_modules()
        if isinstance(m, nn.Conv2d)
    }
    _write({**_envelope(twin), "msip": {"channels": channels, **(meta or {})}}, path)


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
    return sum(v.numel() * 2 if v.is_floating_point() else v.numel() * v.element_size()
               for v in model.state_dict().values()) / 2**20  # fmt: skip


def sha256_of(path: Path | str) -> str:
    """SHA-256 of a file, as hexadecimal text."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def _read(path: Path, *, trusted: bool) -> dict[str, Any]:
    if not path.is_file():
        raise NotFoundError(f"There is no weights file {path}.")
    if path.suffix != ".pt":
        raise CheckpointError(
            f"{path.name} is not a .pt file: give the weights that training wrote, not an export."
        )
    if trusted:
        value = torch.load(path, map_location="cpu", weights_only=False)
        return value if isinstance(value, dict) else {"model": value}
    _refuse_strangers(path)
    try:
        # An absolute path: for a bare name the loader would look on the internet.
        checkpoint, _ = torch_safe_load(str(path.resolve()), safe_only=True)
    except (TypeError, RuntimeError, EOFError, pickle.UnpicklingError, AttributeError) as error:
        raise CheckpointError(
            f"{path.name} cannot be read as YOLOv8 weights: {_first_line(error)}"
        ) from error
    except ModuleNotFoundError as error:
        raise WrongModelError(
            f"{path.name} needs the program part '{error.name}', which is not YOLOv8's: give "
            "weights of a YOLOv8 detector."
        ) from error
    return dict(checkpoint)


def _refuse_strangers(path: Path) -> None:
    """Raise unless all that the file asks for belongs to a YOLOv8 detector."""
    strangers = sorted(names_in(path) - ALLOWED)
    dangerous = [name for name in strangers if not is_foreign_model(name)]
    if dangerous:
        raise UnsafeCheckpointError(
            f"{path.name} was refused: loading it would run '{dangerous[0]}', which no detector "
            "needs. Nothing of it was run. Use weights from a source you trust."
        )
    if strangers:
        name = min(strangers, key=_how_telling)
        raise WrongModelError(
            f"{path.name} is not a YOLOv8 detector: it holds '{name.rpartition('.')[2]}'. Give a "
            ".pt file of YOLOv8 n, s, m, l or x, trained to detect boxes and not fused."
        )
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path.name} is not a weights file that PyTorch wrote.")


def _how_telling(name: str) -> tuple[int, str]:
    """Order of names by how well they say which model a file holds."""
    homes = ("ultralytics.nn.tasks.", "ultralytics.nn.modules.head.", "ultralytics.")
    return next((n for n, home in enumerate(homes) if name.startswith(home)), len(homes)), name


def _model_of(checkpoint: dict[str, Any], path: Path) -> DetectionModel:
    model = checkpoint.get("ema") or checkpoint.get("model")
    _require_yolov8(model, path)
    if checkpoint.get("modelopt"):
        raise WrongModelError(
            f"{path.name} was trained for 8-bit numbers: give the full-precision weights."
        )
    train_args = checkpoint.get("train_args") or {}
    gains = {k: train_args[k] for k in _GAINS if isinstance(train_args.get(k), int | float)}
    return normalise(model, **gains)


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


def _require_yolov8(model: Any, path: Path) -> None:
    hint = "Give a .pt file of YOLOv8 n, s, m, l or x, trained to detect boxes."
    if type(model) is not DetectionModel:
        held = "no model" if model is None else f"a {type(model).__name__}"
        raise WrongModelError(f"{path.name} holds {held}, not a YOLOv8 detector. {hint}")
    if not isinstance(model.yaml, dict) or type(model.model[-1]) is not Detect:
        raise WrongModelError(f"{path.name} has no YOLOv8 detection head. {hint}")
    described = {str(row[2]) for part in ("backbone", "head") for row in model.yaml.get(part, [])}
    if "C2f" not in described:
        raise WrongModelError(f"{path.name} is a detector of another family than YOLOv8. {hint}")
    for module in model.modules():
        if "forward" in vars(module) or (isinstance(module, Conv) and not hasattr(module, "bn")):
            raise WrongModelError(
                f"{path.name} was fused for deployment and cannot be worked on: give the .pt file "
                "that training wrote."
            )
        if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
            raise UnsafeCheckpointError(f"{path.name} carries hooks, which weights never need.")


# --- writing ------------------------------------------------------------------


def _portable(model: DetectionModel) -> DetectionModel:
    """Strip what a file must not carry: paths of this computer, gradients' state, devices."""
    model = reset(model.cpu().eval())
    model.args = {"task": "detect", **{k: getattr(model.args, k) for k in _GAINS}}
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


def _envelope(model: DetectionModel, imgsz: int | None = None) -> dict[str, Any]:
    """The dictionary around a module that Ultralytics' loader expects."""
    train_args = dict(model.args)
    if imgsz is not None:
        train_args["imgsz"] = imgsz
    return {"epoch": -1, "model": model, "ema": None, "train_args": train_args}


def _write(value: dict[str, Any], path: Path) -> None:
    with atomic_path(path) as temporary:
        torch.save(value, temporary)


def _floats(model: nn.Module) -> list[torch.Tensor]:
    return [v for v in model.state_dict().values() if v.is_floating_point()]


def _half(value: torch.Tensor) -> torch.Tensor:
    limit = torch.finfo(torch.float16).max
    return value.clamp(-limit, limit).half()


def _is_half_exact(model: nn.Module) -> bool:
    return all(torch.equal(_half(v).to(v.dtype), v) for v in _floats(model))


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
