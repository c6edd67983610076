"""Any image file of a microscope: pixels, bit depth and pixel size.

PNG, JPEG, BMP and TIFF (OME-TIFF and ImageJ's included), grey, RGB and palette, 8 to 32 bit.
A file with several planes gives one of them, and the note says which.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, ImageFile, ImageOps, JpegImagePlugin, PngImagePlugin

from msip_core.config import ImageRecipe
from msip_core.data.enhance import Raw, apply_recipe
from msip_core.data.tiff import read_tiff, tiff_size
from msip_core.data.tiff_channels import choose_colour
from msip_core.errors import DatasetError
from msip_core.messages import msg
from msip_core.workspace import plain_bytes

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
# Of what is read whole; 16-bit colour at this size is 768 MB of raw pixels. Larger files of most
# kinds are read in parts (`regions`).
MAX_PIXELS = 128_000_000

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Pillow's own readers instead of Image.open: Ultralytics replaces that function in its
# process by one that ends in an ImportError on a file it does not know.
_READERS: dict[bytes, type[ImageFile.ImageFile]] = {
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
}


@dataclass(frozen=True, slots=True)
class RawImage:
    """Pixels as they are in the file, colour order RGB.

    Attributes:
        pixels: (height, width) or (height, width, 3), as deep as the file.
        bit_depth: significant bits per channel (12 for 12-bit camera data in 16-bit files).
        pixel_size_um: micrometres per pixel, None if the file does not say.
        note: what was chosen where the file holds more than one image, else None.
        doubt: why that choice may be wrong (nobody said which channel), else None.
        plain: True if a detector may read the file itself: 8 bit, PNG, JPEG or BMP,
            no palette, no transparency, not rotated by a camera tag.
    """

    pixels: Raw
    bit_depth: int
    pixel_size_um: float | None = None
    note: str | None = None
    plain: bool = False
    doubt: str | None = None


@dataclass(frozen=True, slots=True)
class Micrograph:
    """One image as the detector sees it: (height, width, 3) uint8 RGB; the rest as RawImage."""

    pixels: NDArray[np.uint8]
    pixel_size_um: float | None
    bit_depth: int
    note: str | None
    doubt: str | None = None


def read_micrograph(
    path: Path, recipe: ImageRecipe | None = None, *, z: int | None = None
) -> Micrograph:
    """Read a file, of several channels the one that the recipe names, and scale it.

    Args:
        z: which plane of a file that holds a z-stack, from 1; None takes the middle.

    Raises:
        DatasetError: missing, damaged, too large, or a kind of file that is not read.
    """
    recipe = recipe or ImageRecipe()
    raw = read_raw(path, recipe.channel, z)
    return Micrograph(
        pixels=apply_recipe(raw.pixels, recipe),
        pixel_size_um=raw.pixel_size_um,
        bit_depth=raw.bit_depth,
        note=raw.note,
        doubt=raw.doubt,
    )


def read_raw(path: Path, channel: str | None = None, z: int | None = None) -> RawImage:
    """Read a file without scaling it. Raises DatasetError."""
    try:
        data = plain_bytes(Path(path))
    except OSError as error:
        raise DatasetError(
            "{path} cannot be read ({why}).", path=path, why=error.strerror or error
        ) from error
    return decode(data, Path(path).name, channel, z)


def decode(data: bytes, name: str, channel: str | None = None, z: int | None = None) -> RawImage:
    """Read the bytes of an image file; `name` is for messages and tells nothing of the format.

    Args:
        channel: number from 1 or name; of a colour picture red, green or blue. A file of one
            channel that has no name is taken as it is.
        z: which plane of a z-stack, from 1.

    Raises:
        DatasetError: with the reason, in words.
    """
    if not data:
        raise DatasetError("{name} is empty: copy it again.", name=name)
    if is_tiff(data):
        planes = read_tiff(data, name, MAX_PIXELS, channel, z)
        return RawImage(
            planes.pixels,
            planes.bit_depth or _depth(planes.pixels),
            planes.pixel_size_um,
            planes.note,
            doubt=planes.doubt,
        )
    return _colour_of(_decode_pillow(data, name), channel)


def is_tiff(start: bytes) -> bool:
    """Whether a file that begins so is a TIFF."""
    return start[:4] in _TIFF


def reader_of(start: bytes) -> type[ImageFile.ImageFile] | None:
    """Pillow's reader of a PNG, JPEG or BMP that begins so; None for anything else."""
    return next((reader for magic, reader in _READERS.items() if start.startswith(magic)), None)


def image_size(data: bytes, name: str) -> tuple[int, int]:
    """Width and height of the image that `decode` would give, from headers. Raises DatasetError."""
    if is_tiff(data):
        return tiff_size(data)
    reader = reader_of(data)
    if reader is None:
        raise DatasetError("{name} is not a PNG, JPEG, BMP or TIFF image.", name=name)
    try:
        with reader(io.BytesIO(data)) as image:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            return (image.height, image.width) if turned else (image.width, image.height)
    except (OSError, SyntaxError, ValueError, IndexError, TypeError, struct.error) as error:
        raise DatasetError(
            "{name} is damaged or cut short ({error}).", name=name, error=error
        ) from error


def _colour_of(raw: RawImage, channel: str | None) -> RawImage:
    """Red, green or blue of a colour picture, where that was asked for; else the picture."""
    sample = choose_colour(channel) if channel and raw.pixels.ndim == 3 else None
    if sample is None:
        return raw
    grey = np.ascontiguousarray(raw.pixels[..., sample])
    note = msg("colour {colour}, as asked", colour=("red", "green", "blue")[sample])
    return replace(raw, pixels=grey, note=note, plain=False)


def _decode_pillow(data: bytes, name: str) -> RawImage:
    reader = reader_of(data)
    if reader is None:
        raise DatasetError(
            "{name} is not a PNG, JPEG, BMP or TIFF image: save it as one of these.", name=name
        )
    try:
        with reader(io.BytesIO(data)) as image:
            _check_pixels(image.width, image.height, name)
            rotated = image.getexif().get(0x0112, 1) != 1
            if image.format == "PNG" and data[24] == 16:
                return _decode_deep_png(data, name, rotated)
            plain = image.mode in ("L", "RGB") and not rotated and "transparency" not in image.info
            frames = getattr(image, "n_frames", 1) if image.format == "PNG" else 1
            note = msg("first of {getattr} frames", getattr=frames) if frames > 1 else None
            upright = ImageOps.exif_transpose(image) if rotated else image
            grey = upright.mode in ("L", "1")
            mode = "L" if grey else "RGB"
            shown = upright if upright.mode == mode else upright.convert(mode)
            pixels = np.asarray(shown, dtype=np.uint8)
    # What Pillow's readers raise on damaged files.
    except (OSError, SyntaxError, ValueError, IndexError, TypeError, struct.error) as error:
        raise DatasetError(
            "{name} is damaged or cut short ({error}): copy or export it again.",
            name=name,
            error=error,
        ) from error
    return RawImage(pixels, 8, None, note, plain and frames == 1)


def _decode_deep_png(data: bytes, name: str, rotated: bool) -> RawImage:
    """16-bit PNG through OpenCV: Pillow would cut colour to the high byte."""
    upright = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR  # "unchanged" ignores the camera's tag
    flags = upright if rotated else cv2.IMREAD_UNCHANGED
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        raise DatasetError("{name} is damaged or cut short: copy or export it again.", name=name)
    if pixels.ndim == 3:
        pixels = np.ascontiguousarray(pixels[:, :, 2::-1])  # BGR(A) -> RGB
    return RawImage(pixels, _depth(pixels))


def _check_pixels(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise DatasetError(
            "{name} is too large ({how}; up to {most} megapixels are read at once): cut it into "
            "tiles.",
            name=name,
            how=msg("{width} x {height} pixels", width=width, height=height),
            most=MAX_PIXELS // 10**6,
        )


def _depth(pixels: Raw) -> int:
    """Significant bits: cameras put 10, 12 or 14 bits into 16-bit files."""
    if pixels.dtype == np.uint8:
        return 8
    if pixels.dtype != np.uint16:
        return pixels.dtype.itemsize * 8
    highest = int(pixels.max(initial=0))
    return next(bits for bits in (10, 12, 14, 16) if highest < 2**bits)
