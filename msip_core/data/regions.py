"""Fields of any size, read some rows at a time: 8-bit RGB, scaled as a model's recipe says.

What is not large is read whole, by msip_core.data.micrographs. Of a large TIFF only the strips or
tiles that hold the rows are read and decoded; a large PNG, JPEG or BMP, which cannot be read in
parts, is decoded once and held in 8 bit (grey one byte a pixel, colour four).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from msip_core.config import ImageRecipe
from msip_core.data.enhance import Raw, apply_recipe, needs_scaling, scaling_limits
from msip_core.data.micrographs import MAX_PIXELS, Micrograph, is_tiff, read_micrograph, reader_of
from msip_core.data.tiff import DAMAGE, largest
from msip_core.data.tiff_planes import Asked
from msip_core.data.tiff_rows import TiffRows, is_plain, picked_page
from msip_core.errors import DatasetError, first_line
from msip_core.messages import msg

Pixels = NDArray[np.uint8]
LARGE = 32_000_000  # pixels; up to here an image is read whole
# Of a PNG, JPEG or BMP, which is held whole: 400 MB in grey, 1 GB in colour, as much as a reader
# may take (`confined`). Headers are asked before anything is decoded: a few bytes can promise more.
MOST_DECODED, MOST_COLOUR = 400_000_000, 250_000_000
MOST_STRIPS = 10_000_000_000  # of a TIFF: a hundred thousand pixels each way
_ROWS = 512  # that are read at a time where nobody asks for some
_BAND = 256  # the same of an image that is written: a PNG is the same again
_SAMPLES = 2**23  # values for percentiles of what is not 8 or 16 bit
Rows = Callable[[int, int], Raw]


@dataclass(frozen=True)
class Field:
    """One image, which may be too large for memory; used in a `with`, which closes its file.

    Attributes:
        rows: pixels from one row to before another, (rows, width, 3) uint8 RGB.
        in_parts: whether it is read in parts; else it is in memory as a whole.
        pixel_size_um, note, doubt, bit_depth: as of a Micrograph.
        plain: as of a RawImage.
        raw: rows as they are in the file, where it is read in parts.
    """

    width: int
    height: int
    rows: Callable[[int, int], Pixels]
    in_parts: bool = False
    pixel_size_um: float | None = None
    note: str | None = None
    doubt: str | None = None
    bit_depth: int = 8
    plain: bool = False
    raw: Rows | None = None
    close: Callable[[], None] = lambda: None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pixels(self) -> Pixels:
        """The whole image, (height, width, 3) uint8 RGB."""
        return self.rows(0, self.height)

    def bands(self) -> Iterator[Pixels]:
        """The image from the top, some rows at a time."""
        for top in range(0, self.height, _BAND):
            yield self.rows(top, min(top + _BAND, self.height))


def field_of(micrograph: Micrograph) -> Field:
    """An image that is in memory."""
    pixels = micrograph.pixels
    return Field(
        pixels.shape[1],
        pixels.shape[0],
        lambda top, bottom: pixels[top:bottom],
        pixel_size_um=micrograph.pixel_size_um,
        note=micrograph.note,
        doubt=micrograph.doubt,
        bit_depth=micrograph.bit_depth,
    )


def open_field(path: Path, recipe: ImageRecipe | None = None, *, z: int | None = None) -> Field:
    """Open an image file of any size. Arguments and errors are `read_micrograph`'s.

    Raises:
        DatasetError: missing, damaged, or a large file of a kind that is not read in parts.
    """
    recipe = recipe or ImageRecipe()
    return open_large(path, recipe, z=z) or field_of(read_micrograph(path, recipe, z=z))


def open_large(path: Path, recipe: ImageRecipe, *, z: int | None = None) -> Field | None:
    """The same of an image of more than `LARGE` pixels; None for any other."""
    start = _start(path)
    if is_tiff(start):
        return _large_tiff(path, recipe, z)
    reader = reader_of(start)
    return _large_picture(path, reader, start, recipe) if reader else None


def shrunk(field: Field, longest: int) -> tuple[Pixels, int]:
    """The image with its longer side at most `longest` pixels, and by what whole number it was
    divided; read in parts."""
    factor = -(-max(field.width, field.height) // longest)
    if factor == 1:
        return field.pixels, 1
    size = (max(1, field.width // factor), max(1, field.height // factor))
    picture = np.empty((size[1], size[0], 3), np.uint8)
    step = max(1, _ROWS // factor)
    for top in range(0, size[1], step):
        bottom = min(top + step, size[1])
        part = field.rows(top * factor, bottom * factor)[:, : size[0] * factor]
        picture[top:bottom] = cv2.resize(
            part, (size[0], bottom - top), interpolation=cv2.INTER_AREA
        )
    return picture, factor


def _start(path: Path) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(32)
    except OSError as error:
        raise DatasetError(
            "{path} cannot be read ({why}).", path=path, why=error.strerror or error
        ) from error


# --- TIFF -----------------------------------------------------------------------


def _large_tiff(path: Path, recipe: ImageRecipe, z: int | None) -> Field | None:
    """A large TIFF, in parts; None for one that is not large, or that is read whole."""
    try:
        tiff = tifffile.TiffFile(path, _multifile=False)
    except DAMAGE:
        return None  # said by the reader of whole images, in its words
    field = None
    try:
        with _damage_named(path):
            field = _in_parts(tiff, path, recipe, z)
        return field
    finally:
        if field is None or not field.in_parts:
            tiff.close()


def _in_parts(
    tiff: tifffile.TiffFile, path: Path, recipe: ImageRecipe, z: int | None
) -> Field | None:
    series = largest(tiff) if tiff.series else None
    sizes = dict(zip(series.axes, series.shape)) if series else {}
    width, height = int(sizes.get("X", 0)), int(sizes.get("Y", 0))
    if series is None or width * height <= LARGE:
        return None
    _check_equalised(path, recipe, width * height)
    picked = picked_page(tiff, series, Asked(path.name, recipe.channel, z))
    if picked.page is None or not is_plain(picked.page, width, height) or recipe.clahe:
        return _whole_or_refused(path, recipe, z, width, height)
    if width * height > MOST_STRIPS:
        raise DatasetError(_refusal(path, width, height))
    raw = TiffRows(tiff, picked.page, picked.sample)
    rows = _scaled(raw, width, height, recipe)
    return Field(
        width, height, _named(path, rows), True, picked.pixel_size_um, picked.note, picked.doubt,
        8 * series.dtype.itemsize, False, raw, tiff.close,
    )  # fmt: skip


# --- PNG, JPEG, BMP -------------------------------------------------------------


def _large_picture(
    path: Path, reader: type[ImageFile.ImageFile], start: bytes, recipe: ImageRecipe
) -> Field | None:
    """A large picture, decoded once; None for one that is read whole as others are."""
    with _damage_named(path), reader(path) as image:
        width, height = image.size
        if width * height <= LARGE:
            return None
        _check_equalised(path, recipe, width * height)
        deep = image.format == "PNG" and start[24] == 16
        if deep or recipe.clahe or recipe.channel:
            return _whole_or_refused(path, recipe, None, width, height)
        grey = image.mode in ("L", "1")
        if width * height > (MOST_DECODED if grey else MOST_COLOUR):
            raise DatasetError(_refusal(path, width, height))
        plain = image.mode in ("L", "RGB") and "transparency" not in image.info
        plain = plain and image.getexif().get(0x0112, 1) == 1 and not recipe.normalise
        ImageOps.exif_transpose(image, in_place=True)
        held = image if image.mode in ("L", "RGB") else image.convert("L" if grey else "RGB")
        held.load()
    width, height = held.size
    raw = _cut_from(held)
    rows = _scaled(raw, width, height, recipe)
    return Field(width, height, _named(path, rows), True, plain=plain, raw=raw)


def _cut_from(image: Image.Image) -> Rows:
    return lambda top, bottom: np.asarray(image.crop((0, top, image.width, bottom)))


# --- grey values ----------------------------------------------------------------


def _scaled(
    read: Rows, width: int, height: int, recipe: ImageRecipe
) -> Callable[[int, int], Pixels]:
    """Rows by the recipe; where it wants the image's own percentiles, of the whole image."""
    fixed = recipe.scope == "dataset" and recipe.low_value is not None
    if not fixed and needs_scaling(read(0, 1), recipe):
        low, high = _limits(read, width, height, recipe)
        recipe = recipe.model_copy(
            update={"scope": "dataset", "low_value": low, "high_value": high}
        )
    return lambda top, bottom: apply_recipe(read(top, bottom), recipe)


def _limits(read: Rows, width: int, height: int, recipe: ImageRecipe) -> tuple[float, float]:
    """The recipe's percentiles of all pixels: exact for 8 and 16 bit, else of a sample."""
    kind = read(0, 1).dtype
    if kind not in (np.uint8, np.uint16):
        share = max(1, width * height // _SAMPLES)
        some = [part.ravel()[::share] for part in _parts(read, height)]
        return scaling_limits(np.concatenate(some), recipe)
    counts = np.zeros(2 ** (8 * kind.itemsize), np.int64)
    for part in _parts(read, height):
        counts += np.bincount(part.ravel(), minlength=len(counts))
    below = np.cumsum(counts)
    low, high = (
        _percentile(below, share) for share in (recipe.low_percentile, recipe.high_percentile)
    )
    return low, high if high > low else low + 1.0


def _percentile(below: NDArray[np.int64], share: float) -> float:
    """As np.percentile, of values that were counted: `below[v]` are v or smaller."""
    place = (int(below[-1]) - 1) * share / 100
    first = int(place)
    one, other = np.searchsorted(below, (first, min(first + 1, int(below[-1]) - 1)), side="right")
    return float(one + (other - one) * (place - first))


def raw_parts(field: Field) -> Iterator[Raw]:
    """The values of a field that is read in parts, as they are in the file, from the top."""
    assert field.raw is not None
    return _parts(field.raw, field.height)


def _parts(read: Rows, height: int) -> Iterator[Raw]:
    for top in range(0, height, _ROWS):
        yield read(top, min(top + _ROWS, height))


# --- what cannot be read --------------------------------------------------------


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Errors of readers become one sentence with the file's name."""
    try:
        yield
    except MemoryError as error:
        raise DatasetError(
            "{name} needs more memory than there is: save it as a TIFF in strips or tiles.",
            name=path.name,
        ) from error
    except DAMAGE as error:
        raise DatasetError(
            "{name} is damaged or cut short ({error}): copy or export it again.",
            name=path.name,
            error=first_line(error),
        ) from error


def _named(path: Path, rows: Callable[[int, int], Pixels]) -> Callable[[int, int], Pixels]:
    def read(top: int, bottom: int) -> Pixels:
        with _damage_named(path):
            return rows(top, bottom)

    return read


def _whole_or_refused(
    path: Path, recipe: ImageRecipe, z: int | None, width: int, height: int
) -> Field:
    """A kind that is not read in parts: whole, as far as that may be."""
    if width * height > MAX_PIXELS:
        raise DatasetError(
            "{name} is too large for its kind ({width} x {height} pixels; up to {most} megapixels "
            "are read whole): save it as a plain 8- or 16-bit TIFF, which is read in parts.",
            name=path.name,
            width=width,
            height=height,
            most=MAX_PIXELS // 10**6,
        )
    return field_of(read_micrograph(path, recipe, z=z))


def _check_equalised(path: Path, recipe: ImageRecipe, pixels: int) -> None:
    if recipe.clahe and pixels > MAX_PIXELS:
        raise DatasetError(
            "{name} is too large for this model: it sees images whose contrast was equalised "
            "(CLAHE), which is done to whole images of up to {most} megapixels. "
            "Cut the image, or take a model that was trained without.",
            name=path.name,
            most=MAX_PIXELS // 10**6,
        )


def _refusal(path: Path, width: int, height: int) -> str:
    return msg(
        "{name} is too large ({width} x {height} pixels; of PNG, JPEG and BMP {grey} megapixels "
        "are read in grey, {colour} in colour): save it as a TIFF in strips or tiles, or cut it.",
        name=path.name,
        width=width,
        height=height,
        grey=MOST_DECODED // 10**6,
        colour=MOST_COLOUR // 10**6,
    )
