"""An image of a source on its way into a dataset: whole, or of a large one some rows at a time; and
the two grey values that a dataset of deep images is scaled by, measured once before."""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msip_core import confined
from msip_core.config import ImageRecipe
from msip_core.data.archive import FileTree
from msip_core.data.enhance import Raw, apply_recipe, needs_scaling, scaling_limits
from msip_core.data.mask_objects import refuse_numbers, shows_numbers
from msip_core.data.micrographs import decode, image_size
from msip_core.data.png import encode_png, png_of
from msip_core.data.regions import LARGE, MOST_COLOUR, MOST_DECODED, Field, open_large, raw_parts
from msip_core.errors import DatasetError
from msip_core.messages import msg

# Grey values kept for the percentiles, over all images: 32 MB as float32.
BUDGET = 2**23
_MOST_PER_IMAGE = 2**16
_FEWEST_PER_IMAGE = 256
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
    for rows in field.bands():
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


def measure_recipe(
    tree: FileTree, images: list[str], recipe: ImageRecipe, progress: Callable[[float, str], None]
) -> tuple[ImageRecipe, list[str]]:
    """Fill `low_value` and `high_value` from the images that the recipe scales.

    Percentiles are taken over all those images together, from an evenly spaced sample of each
    (all pixels of small images). Values that a caller has already filled in are kept.

    Returns:
        The recipe to store, and what had to be decided, one sentence each.
    """
    if recipe.scope == "image" or recipe.low_value is not None:
        return recipe, []
    eight_bit = (".jpg", ".jpeg", ".bmp")
    suspects = [n for n in images if recipe.normalise or not n.lower().endswith(eight_bit)]
    if not suspects:
        return recipe, []
    samples, depths = _samples(tree, suspects, recipe, progress)
    if not samples:
        return recipe, []
    if len(depths) > 1:
        return recipe.model_copy(update={"scope": "image"}), [
            msg(
                "Images of several depths ({depths}) have no common grey scale: "
                "each was scaled by its own percentiles.",
                depths=", ".join(sorted(depths)),
            )
        ]
    low, high = scaling_limits(np.concatenate(samples), recipe)
    note = msg(
        "Grey value {low:.6g} became black and {high:.6g} white in all {n} scaled "
        "images (percentiles {low_percentile:g} and {high_percentile:g} of all).",
        low=low,
        high=high,
        n=len(samples),
        low_percentile=recipe.low_percentile,
        high_percentile=recipe.high_percentile,
    )
    return recipe.model_copy(update={"low_value": low, "high_value": high}), [note]


def _samples(
    tree: FileTree, images: list[str], recipe: ImageRecipe, progress: Callable[[float, str], None]
) -> tuple[list[NDArray[np.float32]], set[str]]:
    """Values of each image that is scaled, and the depths that occur."""
    share = max(_FEWEST_PER_IMAGE, min(_MOST_PER_IMAGE, BUDGET // len(images)))
    samples: list[NDArray[np.float32]] = []
    depths: set[str] = set()
    for number, name in enumerate(confined.one_by_one(images)):
        progress(
            number / len(images),
            msg("Measuring grey values: {number}/{n}", number=number + 1, n=len(images)),
        )
        try:
            kind, sample = _sample(tree, name, recipe, share)
        except DatasetError:
            continue  # named with its reason when the images come in
        if sample is not None:
            depths.add(kind)
            samples.append(sample)
    return samples, depths


def _sample(
    tree: FileTree, name: str, recipe: ImageRecipe, share: int
) -> tuple[str, NDArray[np.float32] | None]:
    """The depth of an image, and about `share` of its values; None where it is not scaled."""
    data = tree.read(name) if tree.on_disk(name) is None else None
    as_it_is = recipe.model_copy(update={"scope": "dataset", "low_value": 0.0, "high_value": 1.0})
    with large_image(tree, name, as_it_is, data) as large:
        field = large[0] if large else None
        if field is None or field.raw is None:
            whole = decode(data or tree.read(name), name, recipe.channel).pixels
            if shows_numbers(whole):  # left out when it comes in, and no light
                return "", None
            parts: Iterable[Raw] = [whole]
        else:
            parts = raw_parts(field)
        step, kind, values = 0, "", []
        for part in parts:
            kind = str(part.dtype)
            if not needs_scaling(part, recipe):
                return kind, None
            size = part.size if field is None else part[0].size * field.height
            step = step or max(1, size // share)
            values.append(part.ravel()[::step].astype(np.float32))
    return kind, np.concatenate(values)
