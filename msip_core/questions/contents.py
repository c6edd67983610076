"""What tells one content of a file from another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from msip_core.workspace import Workspace

# Folders below a folder that is looked through are noticed to this depth.
_DEPTH = 2


def state(path: Path, workspace: Workspace) -> list[Any]:
    """JSON values that change with the content of a file or folder.

    Datasets, models and runs count with their content, so that answers that come with the example
    fit on every computer; other files, which may be very large, with size and time of change. Of a
    folder it is the times of the folders in it, which change with each file that comes or goes.
    """
    if path.is_dir():
        return [[str(p), p.stat().st_mtime_ns] for p in sorted(_folders(path, _DEPTH))]
    if not path.is_file():
        return []
    stat = path.stat()
    if any(path.is_relative_to(f) for f in (workspace.datasets, workspace.models, workspace.runs)):
        return [stat.st_size, sha256_of(path)]
    return [stat.st_size, stat.st_mtime_ns]


def sha256_of(path: Path) -> str:
    """Of a file that is read once per change of it."""
    found = path.stat()
    return _sha256(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=1 << 17)
def _sha256(path: Path, _size: int, _changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folders(path: Path, depth: int) -> Iterator[Path]:
    yield path
    if depth:
        for child in path.iterdir():
            if child.is_dir() and not child.is_symlink():
                yield from _folders(child, depth - 1)
