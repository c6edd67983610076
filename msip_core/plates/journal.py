"""What was counted, line by line: appended, synced to disk, and gone on behind after a kill.

    counts/<role>/objects.jsonl     written first
    counts/<role>/images.jsonl      an image is counted when its line stands here, in whole

Lines of images stand in the order of the plan, and each tells how many objects it has: that is
how many lines of objects belong to it. A line that a kill tore, and all that stands behind what
every file agrees on, is cut off before the work goes on.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from msip_core.messages import Message, restored, stored
from msip_core.plates.rows import ImageRow, ObjectRow, Role

FOLDER = "counts"
_EVERY = 1.0  # seconds of work that a kill can cost, beside the images at hand
_MOST = 64  # images that wait for the next write
_NAMES = ("plate", "well", "field", "image", "class_name", "series", "state")
# Settings of the rows, and what each is where a line says nothing of it.
_USUAL: dict[type, dict[str, Any]] = {
    kind: {f.name: f.default for f in fields(kind)} for kind in (ObjectRow, ImageRow)
}
_ADAPTERS: dict[type, TypeAdapter[Any]] = {kind: TypeAdapter(kind) for kind in _USUAL}
R = TypeVar("R", ObjectRow, ImageRow)


class Journal:
    """The lines of a run, for the one process that writes them."""

    def __init__(self, run_dir: Path, roles: Sequence[Role], *, together: int = 1) -> None:
        """Open, and cut off what is not whole.

        Args:
            together: images that the device takes at once: the work goes on between two such
                groups, so that it gives what it would have given unbroken.
        """
        self._folders = {role: run_dir / FOLDER / role for role in roles}
        found = {role: _whole(folder) for role, folder in self._folders.items()}
        self.counted = min(len(lines) for lines in found.values()) // together * together
        for role, lines in found.items():
            _cut(self._folders[role], lines[: self.counted])
        self._objects: dict[Role, list[str]] = {role: [] for role in roles}
        self._images: dict[Role, list[str]] = {role: [] for role in roles}
        self._written = time.monotonic()

    def append(self, role: Role, image: ImageRow, objects: Sequence[ObjectRow]) -> None:
        """The next image of the plan, as one model sees it."""
        self._objects[role] += [_line(row) for row in objects]
        self._images[role].append(_line(image))

    def commit_if_due(self) -> None:
        """Between two groups of images."""
        waiting = max(map(len, self._images.values()))
        if waiting >= _MOST or time.monotonic() - self._written >= _EVERY:
            self.commit()

    def commit(self) -> None:
        """Write what waits: the objects of all models before any line of an image."""
        for name, waiting in (("objects", self._objects), ("images", self._images)):
            for role, folder in self._folders.items():
                _append(folder / f"{name}.jsonl", waiting[role])
                waiting[role] = []
        self._written = time.monotonic()


def image_rows(run_dir: Path, role: Role) -> list[ImageRow]:
    """The images that are counted so far."""
    return [_row(ImageRow, line) for line in _lines(run_dir / FOLDER / role / "images.jsonl")]


def object_rows(run_dir: Path, role: Role, images: Sequence[ImageRow]) -> Iterator[ObjectRow]:
    """The objects of these first images, one at a time."""
    most = sum(sum(image.counts.values()) for image in images)
    lines = _lines(run_dir / FOLDER / role / "objects.jsonl")
    for _, line in zip(range(most), lines):
        yield _row(ObjectRow, line)


# --- lines ---------------------------------------------------------------------


def _line(row: ObjectRow | ImageRow) -> str:
    """One JSON object; settings at their defaults are left out."""
    usual = _USUAL[type(row)]
    value = {key: item for key in usual if (item := getattr(row, key)) != usual[key]}
    if isinstance(row, ImageRow):
        value = stored(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


def _row(kind: type[R], line: bytes) -> R:
    """A line of this or a later version; names that stand in many rows are held once."""
    value: dict[str, Any] = json.loads(line)
    if kind is ImageRow:
        value = restored(value)
    if strange := value.keys() - _USUAL[kind].keys():
        value = {key: item for key, item in value.items() if key not in strange}
    for key in _NAMES:
        if isinstance(value.get(key), str):
            value[key] = sys.intern(value[key])
    row: R = _ADAPTERS[kind].validate_python(value)
    told: dict[str, Any] = {k: item for k, item in value.items() if isinstance(item, Message)}
    return replace(row, **told) if told else row  # checked ones are plain text


def _lines(path: Path) -> Iterator[bytes]:
    """Whole lines; one that is being written ends the reading."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield line


def _append(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write("".join(lines).encode())
        file.flush()
        os.fsync(file.fileno())


# --- going on ------------------------------------------------------------------


def _whole(folder: Path) -> list[tuple[int, int]]:
    """(bytes of its line, objects) of every image that is there with all its objects."""
    there = sum(_is_json(line) for line in _until_torn(folder / "objects.jsonl"))
    found: list[tuple[int, int]] = []
    needed = 0
    for line in _until_torn(folder / "images.jsonl"):
        objects = sum(_row(ImageRow, line).counts.values())
        needed += objects
        if needed > there:
            break
        found.append((len(line), objects))
    return found


def _until_torn(path: Path) -> Iterator[bytes]:
    for line in _lines(path):
        if not _is_json(line):  # zeros, as a power cut leaves them
            return
        yield line


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _cut(folder: Path, images: Sequence[tuple[int, int]]) -> None:
    """Shorten both files to these images."""
    sizes = {"images": sum(size for size, _ in images), "objects": 0}
    objects = sum(count for _, count in images)
    for _, line in zip(range(objects), _lines(folder / "objects.jsonl")):
        sizes["objects"] += len(line)
    for name, size in sizes.items():
        path = folder / f"{name}.jsonl"
        if path.is_file() and path.stat().st_size > size:
            with path.open("r+b") as file:
                file.truncate(size)
                os.fsync(file.fileno())
