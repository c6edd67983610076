"""What belongs to somebody else, for tests that root runs too: root may read and write all."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OVERRIDES = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH of linux/capability.h


@contextmanager
def rights(path: Path, mode: int) -> Iterator[None]:
    """A file or folder with these rights, which meanwhile hold for root too."""
    before = path.stat().st_mode
    path.chmod(mode)
    with _as_anybody():
        try:
            yield
        finally:
            if path.exists():
                path.chmod(before)


@contextmanager
def _as_anybody() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    head, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    library = ctypes.CDLL(None, use_errno=True)
    if library.capget(head, sets) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    whole = sets[0]  # the first 32 that are in effect
    try:
        sets[0] = whole & ~_OVERRIDES
        if library.capset(head, sets) != 0:
            raise OSError(ctypes.get_errno(), "capset")
        yield
    finally:
        sets[0] = whole
        library.capset(head, sets)
