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
from msip_core.messages import Telling, Words, joined, mark, msg
from msip_core.settings import get_settings
from msip_core.workspace import Workspace

REQUIRED = (
    "torch", "torchvision", "ultralytics", "torch-pruning", "streamlit", "plotly", "matplotlib",
    "numpy", "opencv-python", "tifffile", "supervision", "grad-cam", "shap", "sqlalchemy",
)  # fmt: skip
OPTIONAL = {
    "onnx": mark("export to ONNX"),
    "onnxruntime": mark("latency in ONNX Runtime"),
    "openvino": mark("export to OpenVINO, latency in OpenVINO"),
    "tensorrt": mark("export to TensorRT, latency in TensorRT (needs an NVIDIA GPU)"),
    "ray": mark("runs on more than one computer"),
}
LOW_MEMORY_GB = 4.0
_PATIENCE = 120.0  # seconds for the import of a library
_PROVIDERS = ("CUDA", "TensorRT")


class Finding(Telling):
    """One thing looked at.

    Attributes:
        level: "problem" stops some work, "note" is worth knowing.
    """

    model_config = ConfigDict(frozen=True)

    what: Words
    found: Words
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
        Finding(what=msg("system"), found=platform.platform(terse=True)),
        _python(),
        _device(),
        *_gpus(),
        _memory(),
        _disk(workspace),
        _writable(workspace),
        *map(_required, REQUIRED),
        _one_cv2(),
        *(_optional(name, use) for name, use in OPTIONAL.items()),
    ]
    return Health(findings=tuple(findings))


def _python() -> Finding:
    old = sys.version_info < (3, 11)
    found = platform.python_version() + (" (MSIP Lab needs 3.11 or newer)" if old else "")
    return Finding(what=msg("Python"), found=found, level="problem" if old else "ok")


def _device() -> Finding:
    try:
        from msip_core.detector.devices import describe_device

        device = describe_device()
    except (ImportError, OSError) as error:  # a torch wheel for another system or CUDA
        return Finding(
            what=msg("device"),
            found=msg("torch cannot be imported: {error}", error=error),
            level="problem",
        )
    if device.kind == "cpu":
        cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
        return Finding(
            what=msg("device"),
            found=msg(
                "no GPU, {cores} processor cores: fine for the example, slow for real runs",
                cores=cores,
            ),
            level="note",
        )
    return Finding(
        what=msg("device"),
        found=msg(
            "{name}, {free_gb:.1f} of {total_gb:.1f} GB free",
            name=device.name,
            free_gb=device.free_gb,
            total_gb=device.total_gb,
        ),
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
        facts.append(msg("driver {version}", version=gpu.driver))
    if gpu.free_gb is not None and gpu.total_gb is not None:
        facts.append(_free(gpu.free_gb, gpu.total_gb))
    native = {
        True: msg("bfloat16 native"),
        False: msg("no native bfloat16: trains in float32, slower"),
        None: msg("whether bfloat16 is native is not known"),
    }
    facts.append(native[gpu.has_bf16])
    level: Literal["ok", "note"] = "note" if gpu.has_bf16 is False else "ok"
    return Finding(
        what=msg("GPU {device}", device=gpu.device), found=joined(", ", facts), level=level
    )


def _torch_on_gpus() -> Finding:
    said = _ask("torch", "torch.version.cuda,torch.cuda.device_count()")
    if said is None:
        return Finding(
            what=msg("torch on GPUs"), found=msg("torch cannot be imported"), level="problem"
        )
    built, count = said.split()
    if built == "None":
        found = msg("this torch was built without CUDA: install the one for your driver (README)")
        return Finding(what=msg("torch on GPUs"), found=found, level="problem")
    none = count == "0"
    found = msg("CUDA {built}, sees {count} of them", built=built, count=count)
    if none:
        found = msg(
            "CUDA {built}, sees {count} of them: is the driver too old for it?",
            built=built,
            count=count,
        )
    return Finding(what=msg("torch on GPUs"), found=found, level="problem" if none else "ok")


def _onnx_on_gpus() -> Finding:
    what = msg("ONNX Runtime on GPUs")
    said = _ask("onnxruntime", "*onnxruntime.get_available_providers()")
    if said is None:
        return Finding(what=what, found=msg("ONNX Runtime cannot be imported"), level="note")
    names = said.lower().split()
    there = [name for name in _PROVIDERS if f"{name.lower()}executionprovider" in names]
    lacks = [name for name in _PROVIDERS if name not in there]
    said_of = []
    if there:
        said_of.append(msg("has {there}", there=" and ".join(there)))
    if lacks:
        said_of.append(
            msg("lacks {lacks} (pip install onnxruntime-gpu)", lacks=" and ".join(lacks))
        )
    found = joined("; ", said_of)
    return Finding(what=what, found=found, level="note" if lacks else "ok")


def _ask(library: str, what: str) -> str | None:
    """What a fresh Python finds in a library: one that takes a GPU or ends its process does it
    there; None where it does not answer."""
    code = f"import {library}\nprint({what})"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            timeout=_PATIENCE,
            env=os.environ | {"ORT_DISABLE_TELEMETRY": "1"},
        )
    except (subprocess.SubprocessError, OSError):
        return None
    return done.stdout.strip()


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    free, total = memory.available / 1e9, memory.total / 1e9
    low = free < LOW_MEMORY_GB
    found = _free(free, total)
    if low:
        found = msg(
            "{free:.1f} of {total:.1f} GB free (close other programs: training wants "
            "{wanted:.0f} GB)",
            free=free,
            total=total,
            wanted=LOW_MEMORY_GB,
        )
    return Finding(what=msg("memory"), found=found, level="note" if low else "ok")


def _free(free: float, total: float) -> str:
    return msg("{free:.1f} of {total:.1f} GB free", free=free, total=total)


def _disk(workspace: Workspace) -> Finding:
    usage = shutil.disk_usage(workspace.root)
    wanted = get_settings().min_free_disk_gb
    free, total = usage.free / 1e9, usage.total / 1e9
    full, found = free < wanted, _free(free, total)
    if full:
        found = msg(
            "{free:.1f} of {total:.1f} GB free: a run needs {wanted:.0f} GB, clear some space",
            free=free,
            total=total,
            wanted=wanted,
        )
    return Finding(what=msg("disk"), found=found, level="problem" if full else "ok")


def _writable(workspace: Workspace) -> Finding:
    probe = workspace.root / f".probe-{secrets.token_hex(4)}"
    try:
        probe.write_bytes(b"1")
        probe.unlink()
    except OSError as error:
        return Finding(
            what=msg("workspace"), found=f"{workspace.root}: {error.strerror}", level="problem"
        )
    return Finding(what=msg("workspace"), found=str(workspace.root))


def _required(name: str) -> Finding:
    try:
        return Finding(what=name, found=version(name))
    except PackageNotFoundError:
        return Finding(what=name, found=msg("not installed: run 'make run' again"), level="problem")


def _optional(name: str, use: str) -> Finding:
    try:
        return Finding(what=name, found=msg("{version} ({use})", version=version(name), use=use))
    except PackageNotFoundError:
        return Finding(what=name, found=msg("not there: no {use}", use=use), level="note")


def _one_cv2() -> Finding:
    """Both OpenCV builds own the folder cv2; two versions would be half of each."""
    found = {}
    for name in ("opencv-python", "opencv-python-headless"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    clash = len(set(found.values())) > 1
    text = ", ".join(f"{name} {number}" for name, number in found.items()) or msg("not installed")
    return Finding(
        what=msg("one OpenCV"),
        found=text + (": two versions share one folder, install one of them" if clash else ""),
        level="problem" if clash or not found else "ok",
    )
