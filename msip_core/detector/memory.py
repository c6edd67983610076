"""Too little memory, said in one sentence that names what to change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from msip_core.errors import OutOfMemoryError
from msip_core.messages import msg

_SIGNS = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR",
)


@contextmanager
def memory_errors_named(*, batch: int, imgsz: int) -> Iterator[None]:
    """Turn any library's out-of-memory error into ours, with a smaller batch to try."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        advice = (
            msg("a batch of {batch}", batch=batch // 2)
            if batch > 1
            else msg("images of {side} px", side=max(32, imgsz // 64 * 32))
        )
        raise OutOfMemoryError(
            "The device has too little memory for a batch of {batch} images of {imgsz} px: "
            "use {advice}.",
            batch=batch,
            imgsz=imgsz,
            advice=advice,
        ) from error


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(sign.lower() in str(error).lower() for sign in _SIGNS)
