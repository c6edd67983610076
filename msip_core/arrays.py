"""Named arrays in .npz files, read as numbers only: no pickle inside is ever opened."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msip_core.cache import Form
from msip_core.errors import InputError
from msip_core.workspace import atomic_path

_FILE = "arrays.npz"  # of kept ones
_MOST_BYTES = 2**30  # of all arrays of one file, unpacked


class DamagedArraysError(InputError):
    """A file of arrays cannot be read as such."""


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of a .npz file, by name.

    Raises:
        FileNotFoundError: no such file.
        DamagedArraysError: it holds something else than arrays of numbers or text, or claims more
            than 1 GiB.
    """
    try:
        with zipfile.ZipFile(path) as packed:
            claimed = sum(info.file_size for info in packed.infolist())
        if claimed > _MOST_BYTES:
            raise ValueError(claimed)
        with np.load(path, allow_pickle=False) as content:
            return {name: np.asarray(content[name]) for name in content.files}
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, TypeError, EOFError, OSError, MemoryError, RuntimeError,
            NotImplementedError, OverflowError, SyntaxError, struct.error, zlib.error,
            zipfile.BadZipFile) as error:  # fmt: skip
        raise DamagedArraysError(
            "{path} is damaged: it does not hold the numbers that it should. Restore it from a "
            "backup, or delete it and repeat the step that made it.",
            path=path,
        ) from error


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a compressed .npz that `read_arrays` reads; whole, or not at all."""
    # A file object, since to a name without .npz the suffix would be added.
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _write(folder: Path, values: dict[str, NDArray[Any]]) -> None:
    with (folder / _FILE).open("wb") as file:
        np.savez(file, **values)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())


# How named arrays are kept (msip_core.cache).
ARRAYS: Form[dict[str, NDArray[Any]]] = Form(_write, lambda folder: read_arrays(folder / _FILE))
