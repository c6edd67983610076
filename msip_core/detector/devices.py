"""Which device the work runs on, and how much room it has."""

from __future__ import annotations

from functools import cache
from typing import Literal, NamedTuple

import psutil
import torch

from msip_core.errors import ConfigError
from msip_core.gpus import list_gpus
from msip_core.messages import msg
from msip_core.processors import processor_name


class DeviceInfo(NamedTuple):
    """One device; sizes in GB (1e9 bytes). `device` is the name that settings use."""

    name: str
    kind: Literal["cpu", "cuda", "mps"]
    free_gb: float
    total_gb: float
    device: str = "cpu"


def resolve_device(wanted: str = "auto") -> str:
    """The device that `wanted` means here: "cpu", "cuda:0", ... or "mps".

    "auto" takes the NVIDIA GPU with most free memory, else the CPU; a worker of a run sees only the
    one that it was given. (Apple's GPU is used when asked for by name:
    it gives other results from run to run.)

    Raises:
        ConfigError: that device is not there.
    """
    name = wanted.strip().lower()
    if name == "auto":
        return _roomiest(torch.cuda.device_count()) if torch.cuda.is_available() else "cpu"
    if name == "cpu" or (name == "mps" and torch.backends.mps.is_available()):
        return name
    index = "0" if name == "cuda" else name.removeprefix("cuda:")
    if index.isdecimal() and torch.cuda.is_available() and int(index) < torch.cuda.device_count():
        return f"cuda:{int(index)}"
    there = ", ".join(["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))])
    raise ConfigError(
        "There is no device '{wanted}' on this computer; there is: {there}.",
        wanted=wanted,
        there=there,
    )


@cache
def _roomiest(count: int) -> str:
    """Asked once in the life of a process: it keeps its models where they are."""
    seen = [gpu for gpu in list_gpus() if gpu.index < count] if count > 1 else []
    return max(seen, key=lambda gpu: gpu.free_gb or 0.0).device if seen else "cuda:0"


def describe_device(wanted: str = "auto") -> DeviceInfo:
    """Name and memory of a device."""
    device = resolve_device(wanted)
    if device.startswith("cuda"):
        free, total = torch.cuda.mem_get_info(device)
        return DeviceInfo(
            torch.cuda.get_device_name(device), "cuda", free / 1e9, total / 1e9, device
        )
    memory = psutil.virtual_memory()
    name = msg("Apple GPU") if device == "mps" else processor_name()
    kind: Literal["cpu", "mps"] = "mps" if device == "mps" else "cpu"
    return DeviceInfo(name, kind, memory.available / 1e9, memory.total / 1e9, device)
