"""An image of a source on its way into a dataset: whole, or of a large one some rows at a time."""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from msip_core.config import ImageRecipe
from msip_core.data.archive import FileTree
from msip_core.data.enhance import apply_recipe, needs_scaling
from msip_core.data.mask_objects import refuse_numbers
from msip_core.data.micrographs import decode, image_size
from msip_core.data.png import bands, encode_png, png_of
from msip_core.data.regions import LARGE, MOST_COLOUR, MOST_DECODED, Field, open_large
from msip_core.errors import DatasetError

_PIECE = 2**20  # bytes of a file that is copied


@dataclass(frozen=True)
class Incoming:
    """One image.

    Attributes:
        bit_depth, pixel_size_um, note, doubt: as of a RawImage.
        digest: of its pixels.
        flat: all its pixels have one value.
        source: the file, for its tags.
        suffix: of the file that is stored.
        parts: the content of that file; the original where a detector may read it itself.
    """

    width: int
    height: int
    bit_depth: int
    pixel_size_um: float | None
    note: str | None
    doubt: str | None
    digest: bytes
    flat: bool
    source: bytes | Path
    suffix: str
    parts: Callable[[], Iterable[bytes]]

    def store(self, path: Path) -> str:
        """Write the file, and return its SHA-256."""
        digest = hashlib.sha256()
        with path.open("wb") as file:
            for part in self.parts():
                file.write(part)
                digest.update(part)
        return digest.hexdigest()


@contextmanager
def incoming(tree: FileTree, name: str, recipe: ImageRecipe) -> Iterator[Incoming]:
    """Open an image as the recipe wants it.

    Raises:
        DatasetError: with the reason.
    """
    data = tree.read(name) if tree.on_disk(name) is None else None
    with large_image(tree, name, recipe, data) as found:
        if found:
            yield _of_rows(*found)
        else:
            yield _of_whole(tree.read(name) if data is None else data, name, recipe)


@contextmanager
def large_image(
    tree: FileTree, name: str, recipe: ImageRecipe, data: bytes | None
) -> Iterator[tuple[Field, Path] | None]:
    """An image of more than `regions.LARGE` pixels, and where it lies; None for any other.

    Args:
        data: the content, of a tree that is not on disk.
    """
    path = tree.on_disk(name)
    with ExitStack() as open_until_then:
        if data is not None and math.prod(image_size(data, name)) > LARGE:
            folder = open_until_then.enter_context(tempfile.TemporaryDirectory(prefix="large-"))
            path = Path(folder, Path(name).name)
            path.write_bytes(data)
        field = open_large(path, recipe) if path is not None else None
        if field is None or path is None:
            yield None
        else:
            yield open_until_then.enter_context(field), path


def _of_rows(field: Field, path: Path) -> Incoming:
    colour = field.raw is not None and field.raw(0, 1).ndim == 3
    if field.width * field.height > (MOST_COLOUR if colour else MOST_DECODED):
        # What is stored is a PNG, which is read whole: see `regions`.
        raise DatasetError(
            "{name} is too large ({width} x {height} pixels; up to {grey} megapixels in grey and "
            "{colour} in colour are brought in): cut it into tiles, or count it as it is.",
            name=path.name,
            width=field.width,
            height=field.height,
            grey=MOST_DECODED // 10**6,
            colour=MOST_COLOUR // 10**6,
        )
    digest = hashlib.sha256(repr((field.height, field.width)).encode())
    least, most = math.inf, -math.inf  # of all rows
    for rows in bands(field):
        digest.update(np.ascontiguousarray(rows).data)
        least, most = min(least, rows.min()), max(most, rows.max())
    suffix = _suffix(path) if field.plain else ".png"
    return Incoming(
        field.width, field.height, field.bit_depth, field.pixel_size_um, field.note, field.doubt,
        digest.digest(), least == most, path, suffix,
        (lambda: _pieces(path)) if field.plain else (lambda: png_of(field)),
    )  # fmt: skip


def _of_whole(data: bytes, name: str, recipe: ImageRecipe) -> Incoming:
    raw = decode(data, name, recipe.channel)
    refuse_numbers(raw.pixels)
    height, width = raw.pixels.shape[:2]
    plain = raw.plain and not needs_scaling(raw.pixels, recipe) and not recipe.clahe
    pixels = np.ascontiguousarray(raw.pixels)
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(pixels.data)

    def parts() -> Iterable[bytes]:
        yield data if plain else encode_png(apply_recipe(raw.pixels, recipe))

    return Incoming(
        width, height, raw.bit_depth, raw.pixel_size_um, raw.note, raw.doubt, digest.digest(),
        bool(pixels.min() == pixels.max()), data, _suffix(data) if plain else ".png", parts,
    )  # fmt: skip


def _suffix(source: bytes | Path) -> str:
    """The suffix that the content asks for, whatever the file was called."""
    head = source[:3] if isinstance(source, bytes) else next(_pieces(source))[:3]
    if head == b"\xff\xd8\xff":
        return ".jpg"
    return ".bmp" if head[:2] == b"BM" else ".png"


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
