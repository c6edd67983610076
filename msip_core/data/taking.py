"""Taking one picture of a stack: its planes are read by their place, one or two at a time."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from msip_core import confined
from msip_core.data.archive import FileTree, TreeOnDisk, refusal
from msip_core.data.enhance import Raw
from msip_core.data.manifest import Told
from msip_core.data.micrographs import decode
from msip_core.data.pictures import Picture, Plane, Wish
from msip_core.data.readers.base import Reader
from msip_core.data.readers.registry import ZARR, kind_of, open_reader
from msip_core.data.readers.tiff_stack import TiffStack
from msip_core.data.stacks import choose_level, reduce, told
from msip_core.errors import DatasetError
from msip_core.messages import joined, msg


class TreeFiles:
    """Files of a tree as paths. Of a zip they are unpacked where they are needed."""

    def __init__(self, source: Path, tree: FileTree, folder: Path) -> None:
        self._source, self._tree, self._folder = source, tree, folder

    def path(self, name: str) -> Path:
        confined.at_hand(name)
        if isinstance(self._tree, TreeOnDisk):
            return self._tree.path(name)
        target = self._folder / "unpacked" / hashlib.sha256(name.encode()).hexdigest()[:16]
        target = target.with_name(target.name + PurePosixPath(name).suffix)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f"{target.name}.{os.getpid()}")
            shutil.rmtree(part, ignore_errors=True)
            if name.lower().endswith(ZARR):
                self._unpack(name, part)
            else:
                part.write_bytes(self._tree.read(name))
            try:
                part.rename(target)
            except OSError:  # another worker was first
                shutil.rmtree(part, ignore_errors=True)
        return target

    def _unpack(self, name: str, target: Path) -> None:
        """A folder of a zip, files that begin with a dot included: OME-Zarr keeps its own there."""
        with zipfile.ZipFile(self._source) as archive:
            for info in archive.infolist():
                inside = info.filename.replace("\\", "/")
                if not inside.startswith(f"{name}/") or inside.endswith("/"):
                    continue
                if refusal(inside, info):
                    raise DatasetError(
                        "{name} holds a file that is not read ({inside})", name=name, inside=inside
                    )
                path = target / inside.removeprefix(f"{name}/")
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as reading, path.open("wb") as writing:
                    shutil.copyfileobj(reading, writing)


class Planes:
    """Planes by their place. The file that was read last stays open."""

    def __init__(self, tree: FileTree, files: TreeFiles, wish: Wish) -> None:
        self._tree, self._files, self.wish = tree, files, wish
        self._open: tuple[str, Reader] | None = None

    def read(self, plane: Plane) -> Raw:
        confined.at_hand(plane.file)
        if self._open is None or self._open[0] != plane.file:
            self.close()
            self._open = plane.file, self._reader(plane.file)
        try:
            return self._open[1].plane(plane.scene, plane.channel, plane.z, plane.time)
        except MemoryError as error:
            raise DatasetError(
                "{file} needs more memory than one image may take: cut it into tiles.",
                file=plane.file,
            ) from error

    def image(self, plane: Plane) -> Raw:
        """A plane that is an image file of its own."""
        return decode(self._tree.read(plane.file), plane.file, self.wish.channel).pixels

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _reader(self, name: str) -> Reader:
        if kind_of(name):
            return open_reader(name, self._files.path(name))
        return TiffStack(self._tree.read(name))


class Taken(NamedTuple):
    """What a picture became.

    Attributes:
        pixels: as deep as the file; None where an image file stands for its field as it is.
        source: that file.
    """

    pixels: Raw | None
    source: str
    told: Told


def take(picture: Picture, planes: Planes) -> Taken:
    """Read what the wish asks for: a plane, the sharpest one, or a projection.

    Raises:
        DatasetError: there is no such plane, or none that can be read.
    """
    wish = planes.wish
    one = planes.image if picture.files else planes.read
    at = choose_level(wish.stack, list(picture.levels))
    pixels: Raw | None = None
    if at is None:
        pixels, at = reduce((one(plane) for plane in picture.planes), wish.stack)
    if picture.files and at is not None:
        return Taken(None, picture.planes[at].file, _told(picture, at, wish))
    if pixels is None:
        pixels = one(picture.planes[at or 0])
    return Taken(pixels, "", _told(picture, at, wish))


def _told(picture: Picture, at: int | None, wish: Wish) -> Told:
    level = told(wish.stack, at, list(picture.levels))
    files = msg("{n} files of one field", n=len(picture.planes)) if picture.files else ""
    said = joined("; ", filter(None, (files, *picture.said, level)))
    return Told(said=said, doubt=picture.doubt, pixel_size_um=picture.pixel_size_um)
