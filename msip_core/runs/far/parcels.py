"""What a run needs on another computer: datasets and models, each named by its content.

A parcel is a folder of files. Its key is the SHA-256 of all their names and contents, so that a
computer which has it already, from whichever run, is not sent it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from msip_core.config import AnyRun, TrainConfig
from msip_core.errors import MsipError
from msip_core.models import open_card
from msip_core.questions.contents import sha256_of
from msip_core.workspace import Workspace

INPUTS = "inputs"  # below the workspace there: weights that lie outside the workspace here
PIECE = 8 << 20  # bytes that go over at a time
# What libraries leave beside images for themselves, with paths of this computer in it.
_DERIVED = frozenset({".cache", ".lock"})


class Piece(NamedTuple):
    """A part of a file on its way.

    Attributes:
        path: below the folder that it belongs to, with "/".
        changed: time of change of the whole file, in nanoseconds.
    """

    path: str
    start: int
    data: bytes
    changed: int


class Part(NamedTuple):
    """Where a piece lies."""

    path: str
    start: int
    size: int


@dataclass(frozen=True)
class Parcel:
    """One folder to be had there.

    Attributes:
        place: below the workspace, such as "datasets/plate7".
        files: path below `folder` -> SHA-256.
    """

    place: str
    folder: Path
    files: dict[str, str]

    @property
    def key(self) -> str:
        text = json.dumps(sorted(self.files.items()), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:40]

    @property
    def size(self) -> int:
        return sum((self.folder / name).stat().st_size for name in self.files)

    def pieces(self) -> Iterator[list[Piece]]:
        """Everything, some megabytes at a time."""
        sizes = {name: (self.folder / name).stat().st_size for name in self.files}
        for parts in portions(sizes):
            yield [read_part(self.folder, part) for part in parts]


def parcels_of(
    config: AnyRun, workspace: Workspace, tick: Callable[[], None] = lambda: None
) -> tuple[list[Parcel], AnyRun]:
    """What the run reads, and the config that finds it there.

    Args:
        tick: called with each file, which may take a while the first time.
    """
    found: dict[str, Parcel] = {}

    def add(place: str) -> None:
        folder = workspace.root / place
        if folder.is_dir() and place not in found:
            found[place] = Parcel(place, folder, dict(_digests(folder, tick)))

    for name in _datasets(config, workspace):
        add(f"datasets/{name}")
    for name in _models(config):
        add(f"models/{name}")
    key, source = _source(config)
    if not source.endswith(".pt"):
        return list(found.values()), config
    file = Path(source)
    parcel = Parcel("", file.parent, {file.name: sha256_of(file)})
    place = f"{INPUTS}/{parcel.key[:16]}"
    found[place] = Parcel(place, file.parent, parcel.files)
    # Relative, so that it is called the same wherever the run goes on.
    return list(found.values()), config.model_copy(update={key: f"{place}/{file.name}"})


def portions(sizes: dict[str, int], limit: int = PIECE) -> Iterator[list[Part]]:
    """Files in parts of at most `limit` bytes together; an empty file is one part."""
    parts: list[Part] = []
    room = limit
    for name, size in sizes.items():
        start = 0
        while True:
            take = min(size - start, room)
            parts.append(Part(name, start, take))
            start, room = start + take, room - take
            if room <= 0 or len(parts) >= 1000:
                yield parts
                parts, room = [], limit
            if start >= size:
                break
    if parts:
        yield parts


def read_part(folder: Path, part: Part) -> Piece:
    """One part of a file below a folder; shorter where the file is shorter by now."""
    path = folder / part.path
    with path.open("rb") as file:
        file.seek(part.start)
        return Piece(part.path, part.start, file.read(part.size), path.stat().st_mtime_ns)


def _datasets(config: AnyRun, workspace: Workspace) -> Iterable[str]:
    yield config.dataset
    if config.measure is not None:
        yield from config.measure.datasets
    for model in _models(config):
        try:
            card = open_card(workspace, model)
        except (MsipError, OSError):
            continue  # it was removed: the run itself says so
        if card.dataset is not None:
            yield card.dataset


def _models(config: AnyRun) -> Iterable[str]:
    source = _source(config)[1]
    if not source.endswith((".pt", ".yaml", ".yml")):
        yield source
    if config.measure is not None and config.measure.beside is not None:
        yield config.measure.beside


def _source(config: AnyRun) -> tuple[str, str]:
    """The setting that names what the run begins with, and its value."""
    if isinstance(config, TrainConfig):
        return "weights", config.weights
    return "model", config.model


def _digests(folder: Path, tick: Callable[[], None]) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")):
        tick()
        relative = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in relative.parts)
        if path.is_file() and not hidden and path.suffix not in _DERIVED:
            yield relative.as_posix(), sha256_of(path)
