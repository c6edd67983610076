"""`doctor --repair`: put a workspace right after a crash, and say what was done.

Nothing that may be somebody's work is thrown away: a broken index is moved aside, and temporary
files go only when the process that wrote them is gone. Models and datasets are only compared with
their hashes; what differs is reported, never changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from msip_core.data.dataset import open_dataset
from msip_core.data.writing import content_hash
from msip_core.doctor import Finding
from msip_core.errors import MsipError
from msip_core.runs.service import RunService
from msip_core.workspace import Workspace, folders_in

# What atomic_path, the importer and the deletion call what is not ready: see Workspace.
_TEMPORARY = re.compile(r"\..+\.(?:(?P<pid>\d+)-)?[0-9a-f]{8}(\.[^.]*)?")
_BUILDING = re.compile(r"\.building-.+-(?P<pid>\d+)-[0-9a-f]+")
_DELETED = re.compile(r"\.deleted-.+")
_PROBE = re.compile(r"\.probe[.-].*")
_OLD = 3600.0  # seconds: a name without a process is given up after this


def repair(workspace: Workspace) -> tuple[Finding, ...]:
    """Repair the workspace; one finding for each thing looked after.

    Raises:
        OSError, MsipError: the workspace cannot be written.
    """
    aside = _set_aside(workspace)
    service = RunService(workspace)  # a broken index is moved aside as soon as it is opened
    # Read before anything is mended: a list settles what is dead and adopts what is new.
    before = {row.id: row.state for row in service.store.rows(limit=1_000_000)}
    swept = list(_sweep(workspace))
    found = service.reindex()
    after = {row.id: row.state for row in service.list(limit=1_000_000)}
    adopted = sorted(set(after) - set(before))
    settled = sorted(i for i, s in after.items() if i in before and before[i] is not s)
    moved = [f"it was broken and lies in {name} now" for name in _set_aside(workspace) - aside]
    return (
        _finding("index", moved, f"{found.runs} runs"),
        _finding("runs taken in", adopted, "none was missing"),
        _finding("runs settled", [f"{i} is {after[i]}" for i in settled], "none was in limbo"),
        _finding("folders that are no runs", list(found.skipped), "none"),
        _finding("temporary files", swept, "none was left", done="removed: "),
        _finding("models", list(_changed_models(workspace)), "as they were saved", "problem"),
        _finding(
            "datasets", list(_changed_datasets(workspace)), "as they were imported", "problem"
        ),
    )


def _set_aside(workspace: Workspace) -> set[str]:
    path = workspace.index_path
    ends = ("-wal", "-shm")
    return {p.name for p in path.parent.glob(f"{path.name}.broken-*") if not p.name.endswith(ends)}


def _finding(
    what: str, found: list[str], none: str, level: Any = "note", *, done: str = ""
) -> Finding:
    if not found:
        return Finding(what=what, found=none)
    return Finding(what=what, found=done + "; ".join(found), level=level)


# --- temporary files ----------------------------------------------------------


def _sweep(workspace: Workspace) -> Iterator[str]:
    for path in list(_hidden(workspace.root)):
        if not _is_abandoned(path):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        yield str(path.relative_to(workspace.root))


def _hidden(folder: Path) -> Iterator[Path]:
    """Everything whose name begins with a dot; not what lies inside such a folder, nor what only
    somebody else can read."""
    for path in sorted(folder.iterdir()) if os.access(folder, os.R_OK | os.X_OK) else ():
        if path.name.startswith("."):
            yield path
        elif path.is_dir() and not path.is_symlink():
            yield from _hidden(path)


def _is_abandoned(path: Path) -> bool:
    if _DELETED.fullmatch(path.name):
        return True
    draft = path.parent.name == "runs" and path.is_dir()  # a run that was never submitted whole
    known = [p.fullmatch(path.name) for p in (_TEMPORARY, _BUILDING)]
    match = next((m for m in known if m), None)
    if match is None and not draft and not _PROBE.fullmatch(path.name):
        return False
    pid = match["pid"] if match else None
    if pid is not None:
        return not _wrote(int(pid), path)
    return time.time() - _newest(path) > _OLD


def _wrote(pid: int, path: Path) -> bool:
    """The process that made the file is still there (one born later took only its number)."""
    try:
        return psutil.Process(pid).create_time() <= _newest(path) + 2.0
    except psutil.Error:
        return False


def _newest(path: Path) -> float:
    inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
    times = [path.lstat().st_mtime]
    for file in inside:
        try:
            times.append(file.lstat().st_mtime)
        except FileNotFoundError:
            continue
    return max(times)


# --- hashes -------------------------------------------------------------------


def _changed_models(workspace: Workspace) -> Iterator[str]:
    """Models whose files cannot be what was saved."""
    for folder in folders_in(workspace.models):
        try:
            json.loads((folder / "model.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            yield f"{folder.name}: its card model.json cannot be read ({error}); import it again"
            continue
        if not (folder / "model.pt").is_file():
            yield f"{folder.name}: model.pt is missing; import it again or delete the folder"
        for file in sorted(folder.glob("*.pt")):
            if (wrong := _damage(file)) is not None:
                yield f"{folder.name}/{file.name} {wrong}; do not use it"


def _damage(weights: Path) -> str | None:
    """What is wrong with a weights file, by the checksum that each of its parts carries."""
    if not zipfile.is_zipfile(weights):
        return "is not whole"
    try:
        with zipfile.ZipFile(weights) as parts:
            bad = parts.testzip()
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        return f"cannot be read ({error})"
    return None if bad is None else f"is damaged (in {bad})"


def _changed_datasets(workspace: Workspace) -> Iterator[str]:
    for folder in folders_in(workspace.datasets):
        try:
            dataset = open_dataset(workspace, folder.name)
            document = dataset.document
        except (MsipError, OSError, ValueError) as error:
            yield f"{folder.name}: it cannot be opened ({_first_line(error)}); import it again"
            continue
        images = document.images
        bad = [image.file for image in images if _hash(folder / image.file) != image.sha256]
        if bad:
            shown = ", ".join(bad[:3]) + (", …" if len(bad) > 3 else "")
            yield (
                f"{folder.name}: {len(bad)} of {len(images)} images are missing or are not what "
                f"was imported ({shown}); import the dataset again under a new name"
            )
            continue
        labels = [_hash(dataset.label_path(image)) or "" for image in images]
        now = content_hash(document.classes, document.recipe, images, labels)
        if now != document.content_hash:
            yield (
                f"{folder.name}: its labels are not what was imported or saved; import the dataset "
                "again under a new name"
            )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _hash(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
