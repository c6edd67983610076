"""What a worker has written, as it stood at one moment.

Files of a run are replaced whole, by renaming, so a second name (a hard link) holds the old content
whatever the worker does next. If the list of files is the same before and after all of them got
such a name, and the story was read between, both together are what a worker that was killed then
would have left behind; from that a run goes on.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from msip_core.errors import WorkError
from msip_core.runs.events_log import FILE_NAME as EVENTS_FILE
from msip_core.runs.executors import HEARTBEAT_FILE, LOG_FILE, PLACE_FILE, STOP_FILE, WORKER_FILE
from msip_core.runs.folding import CONFIG_FILE

# Brought over in ways of their own, or of no meaning elsewhere.
NOT_FILES = frozenset(
    {EVENTS_FILE, LOG_FILE, CONFIG_FILE, WORKER_FILE, STOP_FILE, HEARTBEAT_FILE, PLACE_FILE}
)
_TRIES, _PAUSE = 40, 0.05

T = TypeVar("T")


class Stamp(NamedTuple):
    """Tells one content of a file from another.

    Attributes:
        changed: in nanoseconds; a copy elsewhere is given the same.
    """

    size: int
    changed: int


Files = dict[str, Stamp]  # path below a folder, with "/"


def run_files(run_dir: Path) -> Files:
    """The files of a run that another computer has to have to go on with it."""
    return {path: stamp for path, stamp in _files(run_dir) if path not in NOT_FILES}


def model_files(models: Path) -> Files:
    """The files of models that were made here (those that were sent here are links)."""
    made = [f for f in models.iterdir() if not f.is_symlink() and not f.name.startswith(".")]
    return {
        f"{folder.name}/{path}": stamp
        for folder in made
        if folder.is_dir()
        for path, stamp in _files(folder)
    }


def freeze(
    scan: Callable[[], Files],
    known: Mapping[str, Stamp],
    root: Path,
    target: Path,
    read: Callable[[], T],
) -> tuple[Files, T]:
    """Hold everything that differs from `known` under `target`, as of one moment.

    Args:
        scan: lists the files, with paths below `root`.
        read: what is to be of the same moment.

    Returns:
        All files, and what was read.

    Raises:
        WorkError: the files never stood still; a later try may succeed.
    """
    for _ in range(_TRIES):
        shutil.rmtree(target, ignore_errors=True)
        before = scan()
        found = read()
        held = _hold(before, known, root, target)
        if held and scan() == before:
            return before, found
        time.sleep(_PAUSE)
    raise WorkError("The files of the run did not stand still.")


def _hold(files: Files, known: Mapping[str, Stamp], root: Path, target: Path) -> bool:
    for path, stamp in files.items():
        if known.get(path) == stamp:
            continue
        link = target / path
        link.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(root / path, link)
        except FileNotFoundError:
            return False  # replaced in this moment
        except OSError:  # a disk without links: read before it is compared with what was listed
            shutil.copy2(root / path, link)
    return True


def _files(folder: Path) -> list[tuple[str, Stamp]]:
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith("."):
                continue  # locks, and what is not ready yet
            path = Path(parent, name)
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            relative = path.relative_to(folder).as_posix()
            found.append((relative, Stamp(stat.st_size, stat.st_mtime_ns)))
    return found
