"""Files that run without MSIP Lab, written by Ultralytics' own exporter."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from ultralytics.cfg import DEFAULT_CFG_DICT
from ultralytics.engine.exporter import Exporter

from msip_core.detector.c2f import to_stock
from msip_core.detector.checkpoints import save_stock
from msip_core.detector.library import DetectionModel, threads_kept
from msip_core.errors import ConfigError, WorkError

ExportFormat = Literal["ultralytics", "onnx", "openvino", "torchscript", "tensorrt"]
FORMATS: tuple[str, ...] = get_args(ExportFormat)
_NEEDS = {"onnx": "onnx", "openvino": "openvino", "tensorrt": "tensorrt"}


def check_format(format: str) -> None:
    """Raise ConfigError, with what to do, unless this computer can write the format."""
    if format not in FORMATS:
        raise ConfigError(
            "There is no format '{format}'; choose one of {formats}.",
            format=format,
            formats=", ".join(FORMATS),
        )
    if format == "tensorrt" and not torch.cuda.is_available():
        raise ConfigError(
            "A TensorRT file is built for one NVIDIA GPU, on that GPU, and this computer has none: "
            "export ONNX here, or run the export on the computer with the GPU."
        )
    package = _NEEDS.get(format)
    if package and find_spec(package) is None:
        raise ConfigError(
            "This format needs the package '{package}': pip install {package}, then try again.",
            package=package,
        )


def check_size(model: DetectionModel, imgsz: int) -> None:
    """Raise ConfigError unless images of this side can be built in: the exporter would take
    another side without a word."""
    step = int(model.stride.max())
    if imgsz < step or imgsz % step:
        near = max(step, round(imgsz / step) * step)
        raise ConfigError(
            "Images of {imgsz} px cannot be built in: the side must be a multiple of {step} px. "
            "{near} px is the nearest.",
            imgsz=imgsz,
            step=step,
            near=near,
        )


def export_module(
    model: DetectionModel,
    format: str,
    out: Path,
    imgsz: int,
    *,
    batch: int = 1,
    dynamic: bool = False,
) -> Path:
    """Write a model in another format, for which `check_format` found this computer ready.

    Args:
        out: the file to write, or OpenVINO's folder.
        imgsz: side of the square input that is built in.
        dynamic: the file takes inputs of any size and number (ONNX, OpenVINO).

    Returns:
        `out`. Outputs are (1, 4 + classes, anchors): boxes as centre and size in input pixels,
        then class scores; metadata as Ultralytics reads them.

    Raises:
        ConfigError: the network cannot take this size.
        WorkError: the exporter failed.
    """
    check_size(model, imgsz)
    out.parent.mkdir(parents=True, exist_ok=True)
    if format == "ultralytics":
        save_stock(model, out, imgsz=imgsz)
        return out
    with tempfile.TemporaryDirectory(prefix="export-", dir=out.parent) as folder:
        built_in = {"imgsz": imgsz, "batch": batch, "dynamic": dynamic}
        made = _export(model, Path(folder), format, built_in)
        if out.is_dir():
            shutil.rmtree(out)
        shutil.move(made, out)
    return out


def _export(
    model: DetectionModel, folder: Path, format: str, built_in: Mapping[str, object]
) -> Path:
    on_gpu = format == "tensorrt"
    settings = {
        **built_in,
        "format": "engine" if on_gpu else format,
        "device": 0 if on_gpu else "cpu",
        "mode": "export",
        # Simplifying would need another package; ONNX Runtime does it when it loads the file.
        **({"simplify": False} if format in ("onnx", "tensorrt") else {}),
    }
    # The module itself, never a file: Ultralytics would read one with all that its pickle asks for,
    # and find it by a name without quotation marks.
    stock: Any = to_stock(model).float().eval()
    stock.args = {**DEFAULT_CFG_DICT, **vars(model.args), "imgsz": built_in["imgsz"]}
    stock.pt_path = str(folder / "model.pt")  # what the exporter names its file after
    try:
        with threads_kept(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on the tracing that Ultralytics chose
            made = Exporter(overrides=settings)(model=stock)
    except (RuntimeError, AssertionError, ValueError, ImportError, OSError) as error:
        raise WorkError(
            "The {format} file could not be written: {error}", format=format, error=error
        ) from error
    return Path(made)
