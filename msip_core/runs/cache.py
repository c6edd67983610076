"""Keeps the cache of job results within bounds: what was looked at longest ago goes first."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil

_LIMIT = 4_000_000_000  # bytes


def trim_cache(cache: Path, limit: int = _LIMIT) -> None:
    """Remove drafts of processes that are gone, then old results beyond `limit` bytes.

    Called once at the start of a server, before anybody looks at a result.
    """
    kept = []
    for folder in cache.iterdir():
        if folder.name.startswith("."):
            pid = folder.name.rpartition(".")[2]
            if not (pid.isdigit() and psutil.pid_exists(int(pid))):
                shutil.rmtree(folder, ignore_errors=True)
        elif (result := folder / "result.json").is_file():
            size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
            kept.append((result.stat().st_mtime, size, folder))
    total = 0
    for _, size, folder in sorted(kept, reverse=True):
        total += size
        if total > limit:
            shutil.rmtree(folder, ignore_errors=True)
