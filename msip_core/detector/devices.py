"""Which device the work runs on, how much room it has, and in which numbers it trains: bfloat16
where the device computes in it, else float32.

Mixed precision: weights, optimizer, batch-norm statistics and loss stay in float32; convolutions
multiply in bfloat16 (8 bits of mantissa, the exponent of float32, so that no loss scaling is
needed). On a processor with AVX-512 BF16 fine-tuning takes .6 of the time and ends as accurate
(benchmarks/finetuning.py). Calibration passes, evaluation and everything that is reported stay in
float32.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import psutil
import torch
from torch import Tensor

from msip_core.config import Precision
from msip_core.errors import ConfigError
from msip_core.gpus import list_gpus
from msip_core.messages import msg
from msip_core.processors import processor_name

if TYPE_CHECKING:  # it loads Ultralytics, which not everybody needs who asks for a device
    from msip_core.detector.library import DetectionModel

# Instructions that make bfloat16 faster than float32: measured with AVX-512 BF16; where they lack,
# bfloat16 is emulated. ARM processors are left in float32 until somebody measures one.
_NATIVE = ("avx512_bf16", "amx_bf16")


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


def training_dtype(device: str, wanted: Precision = "auto") -> torch.dtype | None:
    """torch.bfloat16 where `device` multiplies in it and `wanted` allows it; None is float32."""
    if wanted == "fp32":
        return None
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    if device == "cpu":
        can = torch.cpu.get_capabilities()
        return torch.bfloat16 if any(can.get(name) for name in _NATIVE) else None
    return None


def computing_in(dtype: torch.dtype | None, device: str) -> AbstractContextManager[Any]:
    """Convolutions and matrix products in `dtype`; None leaves everything as it is."""
    return nullcontext() if dtype is None else torch.autocast(device, dtype=dtype)


def laid_out(model: DetectionModel, device: str) -> DetectionModel:
    """`model`, in place, with its weights in the order that the kernels of `device` like: the same
    numbers, on a CPU a tenth to a quarter faster."""
    if device == "cpu":
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def as_float32(value: Any) -> Any:
    """The same nest of tuples, lists and dicts with every tensor in float32.

    A loss in bfloat16 would compare logits of 8 bits, and anchors beyond 128 cells would no longer
    differ by one.
    """
    if isinstance(value, Tensor):
        return value.float()
    if isinstance(value, dict):
        return {key: as_float32(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(as_float32(one) for one in value)
    return value
