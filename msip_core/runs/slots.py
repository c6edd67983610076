"""Which device a run will occupy, told without torch: one run a device, and on a processor as many
as the engineer allows."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from msip_core.settings import get_settings
from msip_core.workspace import cores


def slot_of(device: str) -> str:
    """ "cpu", "mps" or "cuda:N" for a device setting; "auto" takes what the worker would take."""
    name = device.strip().lower()
    if name == "auto":
        name = get_settings().device.strip().lower()
    if name == "auto":
        return _best_device()
    if name.isdecimal():  # Ultralytics' way to name a GPU
        return f"cuda:{name}"
    return "cuda:0" if name in ("cuda", "gpu") else name


def room_of(slot: str) -> int:
    """How many runs a device takes at a time."""
    return get_settings().cpu_runs if slot == "cpu" else 1


def share_cores(device: str) -> None:
    """Take no more threads than this run's part of the cores; before torch is imported.

    Runs on a GPU are alone there and keep all cores.
    """
    runs = room_of(slot_of(device))
    if runs > 1:
        allowed = int(os.environ.get("OMP_NUM_THREADS") or cores())
        os.environ["OMP_NUM_THREADS"] = str(min(allowed, max(1, cores() // runs)))


def _best_device() -> str:
    if Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi"):
        return "cuda:0"
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return "mps"
    return "cpu"
