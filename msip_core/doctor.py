"""Is this computer ready: device, versions, memory, disk, and each optional part.

Lists every GPU by its driver's tool. Imports torch inside `examine` only, and reports a torch that
cannot be imported instead of failing.
"""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

import psutil
from pydantic import BaseModel, ConfigDict

from msip_core.gpus import Gpu, list_gpus
from msip_core.settings import get_settings
from msip_core.workspace import Workspace

REQUIRED = (
    "torch", "torchvision", "ultralytics", "torch-pruning", "streamlit", "plotly", "matplotlib",
    "numpy", "opencv-python", "tifffile", "supervision", "grad-cam", "shap", "sqlalchemy",
)  # fmt: skip
OPTIONAL = {
    "onnx": "export to ONNX",
    "onnxruntime": "latency in ONNX Runtime",
    "openvino": "export to OpenVINO, latency in OpenVINO",
    "tensorrt": "export to TensorRT, latency in TensorRT (needs an NVIDIA GPU)",
    "ray": "runs on more than one computer",
}
LOW_MEMORY_GB = 4.0
_PATIENCE = 120.0  # seconds for the import of a library
_PROVIDERS = ("CUDA", "TensorRT")


class Finding(BaseModel):
    """One thing looked at.

    Attributes:
        level: "problem" stops some work, "note" is worth knowing.
    """

    model_config = ConfigDict(frozen=True)

    what: str
    found: str
    level: Literal["ok", "note", "problem"] = "ok"


class Health(BaseModel):
    """All findings; `ready` is False when one of them is a problem."""

    model_config = ConfigDict(frozen=True)

    findings: tuple[Finding, ...]

    @property
    def ready(self) -> bool:
        return all(finding.level != "problem" for finding in self.findings)


def examine(workspace: Workspace) -> Health:
    """Look at this computer and this workspace; changes nothing but a test file of one byte."""
    findings = [
        Finding(what="system", found=platform.platform(terse=True)),
        _python(),
        _device(),
        *_gpus(),
        _memory(),
        _disk(workspace),
        _writable(workspace),
        *map(_required, REQUIRED),
        _one_cv2(),
        *(_optional(name, use) for name, use in OPTIONAL.items()),
    ]  # fmt: skip
    return Health(findings=tuple(findings))


def _python() -> Finding:
    old = sys.version_info < (3, 11)
    found = platform.python_version() + (" (MSIP Lab needs 3.11 or newer)" if old else "")
    return Finding(what="Python", found=found, level="problem" if old else "ok")


def _device() -> Finding:
    try:
        from msip_core.detector.devices import describe_device

        device = describe_device()
    except (ImportError, OSError) as error:  # a torch wheel for another system or CUDA
        return Finding(what="device", found=f"torch cannot be imported: {error}", level="problem")
    if device.kind == "cpu":
        cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
        return Finding(
            what="device",
            found=f"no GPU, {cores} processor cores: fine for the example, slow for real runs",
            level="note",
        )
    return Finding(
        what="device",
        found=f"{device.name}, {device.free_gb:.1f} of {device.total_gb:.1f} GB free",
    )


def _gpus() -> list[Finding]:
    """Every GPU as its driver tells it, and what can compute on them."""
    found = list_gpus()
    if not found:
        return []
    return [*map(_gpu, found), _torch_on_gpus(), _onnx_on_gpus()]


def _gpu(gpu: Gpu) -> Finding:
    facts = [gpu.name]
    if gpu.driver:
        facts.append(f"driver {gpu.driver}")
    if gpu.free_gb is not None and gpu.total_gb is not None:
        facts.append(f"{gpu.free_gb:.1f} of {gpu.total_gb:.1f} GB free")
    native = {
        True: "bfloat16 native",
        False: "no native bfloat16: trains in float32, slower",
        None: "whether bfloat16 is native is not known",
    }
    facts.append(native[gpu.has_bf16])
    level: Literal["ok", "note"] = "note" if gpu.has_bf16 is False else "ok"
    return Finding(what=f"GPU {gpu.device}", found=", ".join(facts), level=level)


def _torch_on_gpus() -> Finding:
    said = _ask("torch", "torch.version.cuda,torch.cuda.device_count()")
    if said is None:
        return Finding(what="torch on GPUs", found="torch cannot be imported", level="problem")
    built, count = said.split()
    if built == "None":
        found = "this torch was built without CUDA: install the one for your driver (README)"
        return Finding(what="torch on GPUs", found=found, level="problem")
    none = count == "0"
    advice = ": is the driver too old for it?" if none else ""
    found = f"CUDA {built}, sees {count} of them{advice}"
    return Finding(what="torch on GPUs", found=found, level="problem" if none else "ok")


def _onnx_on_gpus() -> Finding:
    what = "ONNX Runtime on GPUs"
    said = _ask("onnxruntime", "*onnxruntime.get_available_providers()")
    if said is None:
        return Finding(what=what, found="ONNX Runtime cannot be imported", level="note")
    names = said.lower().split()
    there = [name for name in _PROVIDERS if f"{name.lower()}executionprovider" in names]
    lacks = [name for name in _PROVIDERS if name not in there]
    found = "; ".join(
        [*([f"has {' and '.join(there)}"] if there else []),
         *([f"lacks {' and '.join(lacks)} (pip install onnxruntime-gpu)"] if lacks else [])]
    )  # fmt: skip
    return Finding(what=what, found=found, level="note" if lacks else "ok")


def _ask(library: str, what: str) -> str | None:
    """What a fresh Python finds in a library: one that takes a GPU or ends its process does it
    there; None where it does not answer."""
    code = f"import {library}\nprint({what})"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            timeout=_PATIENCE, env=os.environ | {"ORT_DISABLE_TELEMETRY": "1"},
        )  # fmt: skip
    except (subprocess.SubprocessError, OSError):
        return None
    return done.stdout.strip()


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    free, total = memory.available / 1e9, memory.total / 1e9
    low = free < LOW_MEMORY_GB
    advice = f" (close other programs: training wants {LOW_MEMORY_GB:.0f} GB)" if low else ""
    return Finding(
        what="memory",
        found=f"{free:.1f} of {total:.1f} GB free{advice}",
        level="note" if low else "ok",
    )


def _disk(workspace: Workspace) -> Finding:
    usage = shutil.disk_usage(workspace.root)
    wanted = get_settings().min_free_disk_gb
    full = usage.free / 1e9 < wanted
    advice = f": a run needs {wanted:.0f} GB, clear some space" if full else ""
    return Finding(
        what="disk",
        found=f"{usage.free / 1e9:.1f} of {usage.total / 1e9:.1f} GB free{advice}",
        level="problem" if full else "ok",
    )


def _writable(workspace: Workspace) -> Finding:
    probe = workspace.root / f".probe-{secrets.token_hex(4)}"
    try:
        probe.write_bytes(b"1")
        probe.unlink()
    except OSError as error:
        return Finding(
            what="workspace", found=f"{workspace.root}: {error.strerror}", level="problem"
        )
    return Finding(what="workspace", found=str(workspace.root))


def _required(name: str) -> Finding:
    try:
        return Finding(what=name, found=version(name))
    except PackageNotFoundError:
        return Finding(what=name, found="not installed: run 'make run' again", level="problem")


def _optional(name: str, use: str) -> Finding:
    try:
        return Finding(what=name, found=f"{version(name)} ({use})")
    except PackageNotFoundError:
        return Finding(what=name, found=f"not there: no {use}", level="note")


def _one_cv2() -> Finding:
    """Both OpenCV builds own the folder cv2; two versions would be half of each."""
    found = {}
    for name in ("opencv-python", "opencv-python-headless"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    clash = len(set(found.values())) > 1
    text = ", ".join(f"{name} {number}" for name, number in found.items()) or "not installed"
    return Finding(
        what="one OpenCV",
        found=text + (": two versions share one folder, install one of them" if clash else ""),
        level="problem" if clash or not found else "ok",
    )
