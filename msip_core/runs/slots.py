"""Which device a run will occupy, told without torch.

A slot is a device ("cpu", "mps", "cuda:1"), or `ANY_GPU` for a run that takes whichever of several
GPUs is least busy when it starts (msip_core.runs.placing chooses; on other computers
msip_core.runs.far.placing).
"""

from __future__ import annotations

import platform

from msip_core.gpus import gpu_count
from msip_core.settings import get_settings

ANY_GPU = "cuda:any"


def slot_of(device: str) -> str:
    """ "cpu", "mps", "cuda:N" or ANY_GPU for a device setting; "auto" takes what the worker would
    take."""
    name = device.strip().lower()
    if name == "auto":
        name = get_settings().device.strip().lower()
    if name == "auto":
        return _best_device()
    if name.isdecimal():  # Ultralytics' way to name a GPU
        return f"cuda:{name}"
    return "cuda:0" if name in ("cuda", "gpu") else name


def is_gpu(slot: str) -> bool:
    """An NVIDIA GPU, known by its number or not yet."""
    return slot.startswith("cuda")


def compete(slot: str, other: str) -> bool:
    """Whether runs of these two slots may want the same device."""
    return slot == other or (ANY_GPU in (slot, other) and is_gpu(slot) and is_gpu(other))


def room_of(slot: str) -> int:
    """How many runs a device surely takes at a time; a GPU takes more where their memory fits."""
    if slot == "cpu":
        return get_settings().cpu_runs
    if not is_gpu(slot):
        return 1
    return (get_settings().gpu_runs or 1) * (max(1, gpu_count()) if slot == ANY_GPU else 1)


def _best_device() -> str:
    if get_settings().executor != "local":
        return ANY_GPU  # of any computer; where none has one, a processor (runs/far/placing.py)
    if count := gpu_count():
        return "cuda:0" if count == 1 else ANY_GPU
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return "mps"
    return "cpu"
