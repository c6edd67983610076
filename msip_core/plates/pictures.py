"""One picture of a source, from its file or planes to the pixels that a model sees.

Opens files of strangers: done in a confined process (`reading`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from msip_core import confined
from msip_core.config import CountConfig, ImageRecipe
from msip_core.data.archive import ZARR, FileTree, TreeOnDisk, open_tree
from msip_core.data.enhance import apply_recipe
from msip_core.data.manifest import Told
from msip_core.data.mask_objects import refuse_numbers
from msip_core.data.micrographs import Micrograph, decode, image_size, read_raw
from msip_core.data.pictures import Wish
from msip_core.data.regions import LARGE, Field, field_of, open_large
from msip_core.data.taking import Planes, Taken, TreeFiles, take
from msip_core.errors import DatasetError
from msip_core.events import Record
from msip_core.messages import Telling, Words, joined
from msip_core.plates.plan import Item, wish_of
from msip_core.workspace import Workspace

_DIGEST = 20  # hexadecimal digits: of a million pictures two different ones would not share one
_EVERY = 4  # of rows and columns whose grey values are looked at


class Read(Record, Telling):
    """What is known of one picture that was read.

    Attributes:
        chosen: which channel, plane and so on was taken, in words.
        doubt: why that may be wrong.
        digest: of the pixels.
        spread: grey levels between the 0.1st and the 99.9th percentile of what a model sees.
        problem: why there is no picture.
    """

    width: int = 0
    height: int = 0
    um_per_px: float | None = None
    chosen: Words = ""
    doubt: Words | None = None
    digest: str = ""
    spread: int = 255
    problem: Words | None = None


@dataclass(frozen=True)
class Source:
    """Where pictures come from.

    Attributes:
        path: folder, zip or file; or the folder of a dataset, whose images are taken as they are.
        recipes: ways to scale grey values; a picture is made for each of them.
    """

    path: Path
    is_dataset: bool
    wish: Wish
    recipes: tuple[ImageRecipe | None, ...]


def source_of(
    workspace: Workspace, config: CountConfig, recipes: Sequence[ImageRecipe | None]
) -> Source:
    """Where the pictures of a count come from."""
    wish = wish_of(config)
    if config.source is not None:
        return Source(config.source, False, wish, tuple(recipes))
    return Source(workspace.dataset_dir(config.dataset), True, wish, tuple(recipes))


@contextmanager
def opened(source: Source, folder: Path) -> Iterator[Pictures]:
    """The pictures of a source.

    Args:
        folder: for files of a zip that must be unpacked to be read.
    """
    if source.path.is_dir() and not source.path.name.lower().endswith(ZARR):
        # Whose files the plan names: nobody looks through the folder once more.
        yield Pictures(source, TreeOnDisk(source.path.name, source.path), folder)
        return
    with open_tree(source.path) as tree:
        yield Pictures(source, tree, folder)


class Pictures:
    """Reads pictures, one after the other; the file that planes came from last stays open."""

    def __init__(self, source: Source, tree: FileTree, folder: Path) -> None:
        self._source, self._tree = source, tree
        self._files = TreeFiles(source.path, tree, folder)
        self._planes = Planes(tree, self._files, source.wish)

    def write(self, item: Item, paths: Sequence[Path]) -> Read:
        """Write the pixels for each recipe; what is wrong with the file is told, not raised."""
        try:
            if item.problem is not None:
                raise DatasetError(item.problem)
            confined.at_hand(item.first)
            taken = take(item.picture, self._planes) if item.picture else None
            reads = [
                _written(field, told, path)
                for (field, told), path in zip(self._fields(item, taken), paths, strict=True)
            ]
            return reads[0]
        except DatasetError as error:
            what = error.message
            for name in (item.name, item.first, Path(item.first).name):
                what = what.without(name)
            return Read(problem=what)
        finally:
            confined.on_the_whole()

    def _fields(self, item: Item, taken: Taken | None) -> Iterator[tuple[Field, Told]]:
        told = taken.told if taken else Told(pixel_size_um=item.um_per_px)
        for wanted in self._source.recipes:
            recipe = self._of_channel(wanted or ImageRecipe())
            if taken is not None and taken.pixels is not None:
                refuse_numbers(taken.pixels)
                pixels = apply_recipe(taken.pixels, recipe)
                yield field_of(Micrograph(pixels, None, 8, None)), told
                continue
            with self._open(taken.source if taken else item.file, recipe) as field:
                yield field, told

    def _of_channel(self, recipe: ImageRecipe) -> ImageRecipe:
        channel = self._source.wish.channel
        return recipe.model_copy(update={"channel": channel}) if channel else recipe

    def _open(self, name: str, recipe: ImageRecipe) -> Field:
        """An image file of any size, of a folder or a zip."""
        path = self._tree.on_disk(name)
        if self._source.is_dataset:
            large = open_large(path, ImageRecipe()) if path else None
            return large or _as_trained(self._tree.read(name), name)
        data = b"" if path else self._tree.read(name)
        if data and math.prod(image_size(data, name)) > LARGE:
            path = self._files.path(name)
        if path and (large := open_large(path, recipe)):  # of a path, parts can be read
            return large
        raw = read_raw(path, recipe.channel) if path else decode(data, name, recipe.channel)
        refuse_numbers(raw.pixels)
        pixels = apply_recipe(raw.pixels, recipe)
        return field_of(Micrograph(pixels, raw.pixel_size_um, 8, raw.note, raw.doubt))


def _as_trained(data: bytes, name: str) -> Field:
    """An image of a dataset, which was scaled when it came in: decoded as training does it."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise DatasetError("{name} cannot be read any more: import its dataset again", name=name)
    pixels = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    return field_of(Micrograph(pixels, None, 8, None))


def _written(field: Field, told: Told, path: Path) -> Read:
    grey, digest = np.zeros(256, np.int64), hashlib.sha256()
    with path.open("wb") as file:
        for rows in field.bands():
            values = np.ascontiguousarray(rows)
            file.write(values.data)
            digest.update(values.data)
            few = cv2.cvtColor(np.ascontiguousarray(rows[::_EVERY, ::_EVERY]), cv2.COLOR_RGB2GRAY)
            grey += np.bincount(few.ravel(), minlength=256)
    return Read(
        width=field.width,
        height=field.height,
        um_per_px=told.pixel_size_um or field.pixel_size_um,
        chosen=joined("; ", filter(None, (told.said, field.note))),
        doubt=told.doubt or field.doubt,
        digest=digest.hexdigest()[:_DIGEST],
        spread=_spread(grey),
    )


def _spread(grey: NDArray[np.int64]) -> int:
    below = np.cumsum(grey)
    low, high = np.searchsorted(below, (0.001 * below[-1], 0.999 * below[-1]))
    return int(high - low)
