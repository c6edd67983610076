"""provenance.json: with what, on what and from what a run was made.

The first attempt fills the file; each resume adds a line to `attempts` and says where the
computer or a version is no longer the same.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, TypedDict

import psutil

import msip_core
from msip_core import documents
from msip_core.config import RunBase
from msip_core.label_versions import content_hash_of, newest_version
from msip_core.messages import msg
from msip_core.processors import processor_name
from msip_core.questions.contents import sha256_of
from msip_core.workspace import Workspace, write_json

FILE_NAME = "provenance.json"
_PACKAGES = (
    "torch", "torchvision", "ultralytics", "torch-pruning", "numpy", "opencv-python", "scipy",
    "onnx", "onnxruntime", "openvino", "grad-cam", "shap", "tifffile", "supervision", "pydantic",
)  # fmt: skip


class Provenance(TypedDict):
    """What the first attempt writes; `attempts` come beside it."""

    msip_lab: str
    command: list[str]
    seed: int
    device: str
    dataset: Mapping[str, object]
    model: Mapping[str, object]
    versions: Mapping[str, str | None]
    hardware: Mapping[str, object]
    git: Mapping[str, object] | None


def record_provenance(run_dir: Path, config: RunBase, workspace: Workspace) -> list[str]:
    """Write or extend provenance.json.

    Returns:
        One sentence for each thing that changed since the first attempt (results of a resumed
        run may then differ in the last digits).
    """
    file = run_dir / FILE_NAME
    now = _collect(config, workspace)
    attempt = {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "versions": now["versions"],
        "hardware": now["hardware"],
        "git": now["git"],
    }
    first: Any = documents.facts_in(file, documents.Provenance)
    if not {"attempts", "versions", "hardware", "dataset", "model"} <= first.keys():
        if damaged := file.is_file():
            file.replace(file.with_suffix(".damaged"))
        write_json(file, {**now, "attempts": [attempt]})
        return [msg("{file} was damaged and is begun anew.", file=FILE_NAME)] if damaged else []
    write_json(file, {**first, "attempts": [*first["attempts"], attempt]})
    return _differences(first, now)


def _collect(config: RunBase, workspace: Workspace) -> Provenance:
    return {
        "msip_lab": msip_core.__version__,
        "command": sys.argv,
        "seed": config.seed,
        "device": config.device,
        "dataset": _dataset(config, workspace),
        "model": _model_source(config, workspace),
        "versions": {"python": platform.python_version(), **_versions()},
        "hardware": _hardware(),
        "git": _git_state(),
    }


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def _hardware() -> dict[str, object]:
    return {
        "system": platform.platform(),
        "processor": processor_name(),
        "cores": psutil.cpu_count(logical=False),
        "threads": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpus": _gpus(),
    }


def _gpus() -> list[str]:
    """Name, driver and memory of each NVIDIA GPU, as the driver tells them."""
    if not shutil.which("nvidia-smi"):
        return []
    fields = "name,driver_version,memory.total"
    return _lines(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]) or []


def _git_state() -> dict[str, object] | None:
    """Commit of the program's own source, and whether files differ from it; None without git."""
    home = Path(msip_core.__file__).resolve().parent.parent
    if not (home / ".git").exists() or not shutil.which("git"):
        return None
    commit = _lines(["git", "-C", str(home), "rev-parse", "HEAD"])
    changed = _lines(["git", "-C", str(home), "status", "--porcelain"])
    return {"commit": commit[0], "changed_files": changed} if commit else None


def _lines(command: list[str]) -> list[str] | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.splitlines()


def _dataset(config: RunBase, workspace: Workspace) -> dict[str, object]:
    """The data by content: what is corrected later is another version and changes nothing here."""
    if not config.dataset:  # a count of files that were never imported
        return {}
    manifest = workspace.dataset_dir(config.dataset) / "dataset.json"
    if not manifest.is_file():
        return {"name": config.dataset, "manifest_sha256": None}
    found: dict[str, object] = {"name": config.dataset, "manifest_sha256": sha256_of(manifest)}
    version = config.dataset_version or newest_version(manifest.parent)
    found["version"] = version
    found["content_sha256"] = content_hash_of(manifest.parent, version)
    return found


def _model_source(config: RunBase, workspace: Workspace) -> dict[str, object]:
    source = model_source(config)
    file = Path(source) if source.endswith(".pt") else workspace.models / source / "model.pt"
    return {"source": source, "sha256": sha256_of(file) if file.is_file() else None}


def model_source(config: RunBase) -> str:
    """The model a run starts from, as the config names it."""
    return str(getattr(config, "model", None) or getattr(config, "weights", ""))


def _differences(first: Provenance, now: Provenance) -> list[str]:
    found = [
        msg(
            "{name} was {old} when this run began and is {now} now.",
            name=name,
            old=old,
            now=now["versions"].get(name),
        )
        for name, old in first["versions"].items()
        if now["versions"].get(name) != old
    ]
    for what in ("processor", "gpus"):
        if first["hardware"].get(what) != now["hardware"][what]:
            found.append(
                msg(
                    "This run began on another computer ({that}).", that=first["hardware"].get(what)
                )
            )
    if _data_differ(first["dataset"], now["dataset"]):
        found.append(msg("The dataset was changed since this run began."))
    if first["model"] != now["model"]:
        found.append(msg("The model this run started from was changed since it began."))
    return found


def _data_differ(first: Mapping[str, object], now: Mapping[str, object]) -> bool:
    """Whether the run's data are others; older records know only the hash of the whole manifest."""
    content = "content_sha256"
    if first.get(content) and now.get(content):
        return bool(first[content] != now[content])
    known = ("name", "manifest_sha256")
    return [first.get(key) for key in known] != [now.get(key) for key in known]
