"""The name of a job's result: made from all that the result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import msip_core
from msip_core.answers import meant
from msip_core.workspace import Workspace

# Folders below a folder that is looked through are noticed to this depth.
_DEPTH = 2


def content_key(workspace: Workspace, job: str, params: dict[str, Any]) -> str:
    """sha256 over job, params, program version, and the state of every file that params name.

    Params name files by path, by dataset, by model id, or by run and iteration. Datasets, models
    and runs count with their content, so that answers that come with the example fit on every
    computer; a file named by path, which may be very large, with size and time of change.
    """
    named = {place: _state(file, workspace) for place, file in _named_files(workspace, params, "")}
    parts = [msip_core.__version__, meant(job), params, named]
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def _named_files(
    workspace: Workspace, params: dict[str, Any], place: str
) -> Iterator[tuple[str, Path]]:
    for name, value in params.items():
        where = f"{place}/{name}"
        if isinstance(value, dict):
            yield from _named_files(workspace, value, where)
        elif isinstance(value, list):
            inner = {str(i): item for i, item in enumerate(value)}
            yield from _named_files(workspace, inner, where)
        elif isinstance(value, str | Path):
            for file in _candidates(workspace, params, name, str(value)):
                yield f"{where}:{file.name}", file


def _candidates(
    workspace: Workspace, params: dict[str, Any], name: str, value: str
) -> Iterator[Path]:
    if Path(value).is_absolute():
        yield Path(value)
    elif name.endswith("dataset"):
        yield workspace.datasets / value / "dataset.json"
    elif name.endswith("run"):
        iteration = params.get(name.removesuffix("run") + "iteration") or 0
        yield workspace.runs / value / "iterations" / str(iteration) / "model.pt"
    elif name.endswith(("model", "baseline", "pruned")):
        yield workspace.models / value / "model.pt"


def _state(path: Path, workspace: Workspace) -> list[Any]:
    """What tells one content from another; of a folder, the times of the folders in it, which
    change with each file that comes or goes."""
    if path.is_dir():
        return [[str(p), p.stat().st_mtime_ns] for p in sorted(_folders(path, _DEPTH))]
    if not path.is_file():
        return []
    stat = path.stat()
    if any(path.is_relative_to(f) for f in (workspace.datasets, workspace.models, workspace.runs)):
        return [stat.st_size, _digest(path, stat.st_size, stat.st_mtime_ns)]
    return [stat.st_size, stat.st_mtime_ns]


@lru_cache(maxsize=512)
def _digest(path: Path, size: int, changed: int) -> str:
    """sha256 of a file, read once per change of it: `size` and `changed` are its name here."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folders(path: Path, depth: int) -> Iterator[Path]:
    yield path
    if depth:
        for child in path.iterdir():
            if child.is_dir() and not child.is_symlink():
                yield from _folders(child, depth - 1)
