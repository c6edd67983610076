"""Files that run without MSIP Lab, written by Ultralytics' own exporter."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

import torch
from ultralytics import YOLO

from msip_core.detector.checkpoints import load_model, save_stock
from msip_core.detector.library import DetectionModel, threads_kept
from msip_core.errors import ConfigError, WorkError

ExportFormat = Literal["ultralytics", "onnx", "openvino", "torchscript", "tensorrt"]
FORMATS: tuple[str, ...] = get_args(ExportFormat)
_SUFFIX = {"ultralytics": ".pt", "onnx": ".onnx", "torchscript": ".torchscript",
           "tensorrt": ".engine", "openvino": "_openvino_model"}  # fmt: skip
_NEEDS = {"onnx": "onnx", "openvino": "openvino", "tensorrt": "tensorrt"}


def export_model(weights: Path, format: str, out: Path, imgsz: int) -> Path:
    """Write the model of a .pt file in another format.

    Args:
        weights: a .pt file of ours or of stock Ultralytics.
        format: "ultralytics", "onnx", "openvino", "torchscript" or "tensorrt".
        out: file to write; an existing folder takes a file named after the weights. OpenVINO
            writes a folder.
        imgsz: side of the square input that is built in.

    Returns:
        The file, or OpenVINO's folder. Outputs are (1, 4 + classes, anchors): boxes as centre
        and size in input pixels, then class scores; metadata as Ultralytics reads them.

    Raises:
        ConfigError: no such format, or it needs a GPU or a package that is not there.
        WorkError: the exporter failed.
    """
    check_format(format)
    return export_module(load_model(weights), format, _target(out, weights.stem, format), imgsz)


def check_format(format: str) -> None:
    """Raise ConfigError, with what to do, unless this computer can write the format."""
    if format not in FORMATS:
        raise ConfigError(f"There is no format '{format}'; choose one of {', '.join(FORMATS)}.")
    if format == "tensorrt" and not torch.cuda.is_available():
        raise ConfigError(
            "A TensorRT file is built for one NVIDIA GPU, on that GPU, and this computer has none: "
            "export ONNX here, or run the export on the computer with the GPU."
        )
    package = _NEEDS.get(format)
    if package and find_spec(package) is None:
        raise ConfigError(
            f"This format needs the package '{package}': pip install {package}, then try again."
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
    """Like `export_model`, from a model in memory; `out` is the file or folder to write.

    Args:
        dynamic: the file takes inputs of any size and number (ONNX, OpenVINO).
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    if format == "ultralytics":
        save_stock(model, out, imgsz=imgsz)
        return out
    with tempfile.TemporaryDirectory(prefix="export-", dir=out.parent) as folder:
        stock = Path(folder) / "model.pt"
        save_stock(model, stock, imgsz=imgsz)
        made = _export(stock, format, imgsz, batch, dynamic)
        if out.is_dir():
            shutil.rmtree(out)
        shutil.move(made, out)
    return out


def _export(stock: Path, format: str, imgsz: int, batch: int, dynamic: bool) -> Path:
    on_gpu = format == "tensorrt"
    # Simplifying would need another package; ONNX Runtime does it when it loads the file.
    settings = {"simplify": False} if format in ("onnx", "tensorrt") else {}
    try:
        with threads_kept(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on the tracing that Ultralytics chose
            made = YOLO(str(stock), task="detect").export(
                format="engine" if on_gpu else format,
                imgsz=imgsz,
                batch=batch,
                dynamic=dynamic,
                device=0 if on_gpu else "cpu",
                verbose=False,
                **settings,
            )
    except (RuntimeError, AssertionError, ValueError, ImportError, OSError) as error:
        raise WorkError(f"The {format} file could not be written: {error}") from error
    return Path(made)


def _target(out: Path, stem: str, format: str) -> Path:
    return out / f"{stem}{_SUFFIX[format]}" if out.is_dir() and not out.suffix else out
