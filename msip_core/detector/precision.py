"""In which numbers a network is trained: bfloat16 where the device computes in it, else float32.

Mixed precision: weights, optimizer, batch-norm statistics and loss stay in float32; convolutions
multiply in bfloat16 (8 bits of mantissa, the exponent of float32, so that no loss scaling is
needed). On a processor with AVX-512 BF16 fine-tuning takes .6 of the time and ends as accurate
(benchmarks/finetuning.py). Calibration passes, evaluation and everything that is reported stay in
float32.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from msip_core.config import Precision
from msip_core.detector.library import DetectionModel

# Instructions that make bfloat16 faster than float32: measured with AVX-512 BF16; where they lack,
# bfloat16 is emulated. ARM processors are left in float32 until somebody measures one.
_NATIVE = ("avx512_bf16", "amx_bf16")


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
