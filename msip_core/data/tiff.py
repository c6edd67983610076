"""TIFF, OME-TIFF and ImageJ TIFF through tifffile: one plane, its depth and its pixel size."""

from __future__ import annotations

import io
import logging
import math
import struct
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import tifffile

from msip_core.data.enhance import Raw
from msip_core.data.ome import ome_pixels
from msip_core.data.tiff_planes import Asked, Picked, pick
from msip_core.errors import DatasetError, first_line
from msip_core.messages import joined, msg

# tifffile logs every oddity it reads around, once a file; what matters is raised.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)

# What tifffile and its codecs report damage through.
DAMAGE = (
    tifffile.TiffFileError, OSError, SyntaxError, ValueError, RuntimeError, LookupError, TypeError,
    ImportError, ArithmeticError, AttributeError, struct.error,
)  # fmt: skip
# Lengths in micrometres, under the names that OME-XML and ImageJ give them.
_MICROMETRES = {
    "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0,
    "micrometre": 1.0, "\\u00b5m": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4,
    "m": 1e6, "å": 1e-4,
}  # fmt: skip


_NO_COLOURS = {
    tifffile.PHOTOMETRIC.CIELAB, tifffile.PHOTOMETRIC.ICCLAB, tifffile.PHOTOMETRIC.ITULAB,
    tifffile.PHOTOMETRIC.CFA, tifffile.PHOTOMETRIC.LOGLUV,
}  # fmt: skip
_SLIVER = 4  # a side so many times shorter, beside more pages than that, holds channels or planes


class TiffPlane(NamedTuple):
    """One plane of a TIFF; `bit_depth` None where only the values can tell.

    Attributes:
        note: what was taken where there was a choice.
        doubt: why the choice may be wrong, for the person who knows.
    """

    pixels: Raw
    bit_depth: int | None
    pixel_size_um: float | None
    note: str | None
    doubt: str | None = None


def read_tiff(
    data: bytes, name: str, max_pixels: int, channel: str | None = None, z: int | None = None
) -> TiffPlane:
    """Read one plane of a TIFF.

    The largest image of the file is read, never its thumbnail. Of several z planes the middle
    one is taken (in brightfield a maximum over z would keep the glow around an organoid and lose
    its dark wall), of channels the one in transmitted light if their names tell, of time points
    the first; three 8-bit channels of an ImageJ composite are colour. The note says what was taken.

    Args:
        channel: number from 1, or name.
        z: number of the z plane from 1; None takes the middle.

    Raises:
        DatasetError: damaged, too large, compressed in an unknown way, or without that channel.
    """
    try:
        with open_tiff(data) as tiff:
            return read_plane(tiff, max_pixels, Asked(name, channel, z))
    except MemoryError as error:
        raise DatasetError(
            "{name} needs more memory than one image may take: cut it into tiles or planes.",
            name=name,
        ) from error
    except DAMAGE as error:
        raise DatasetError(
            "{name} is a TIFF that cannot be read ({error}): export it again, "
            "uncompressed or with LZW.",
            name=name,
            error=first_line(error),
        ) from error


def tiff_size(data: bytes) -> tuple[int, int]:
    """Width and height of the image that `read_tiff` would take. Raises DatasetError."""
    try:
        with open_tiff(data) as tiff:
            sizes = dict(zip(largest(tiff).axes, largest(tiff).shape))
            return int(sizes["X"]), int(sizes["Y"])
    except (*DAMAGE, MemoryError) as error:
        raise DatasetError(
            "is a TIFF that cannot be read ({error})", error=first_line(error)
        ) from error


def open_tiff(data: bytes) -> tifffile.TiffFile:
    """Open bytes. A file of an OME-TIFF of many files is read alone: each holds its own planes,
    and the others, which bytes cannot find, would be read as black."""
    tiff = tifffile.TiffFile(io.BytesIO(data), _multifile=False)
    if tiff.is_ome and any(page is None for series in tiff.series for page in series.pages):
        tiff.close()  # its XML lists planes that it does not hold
        return tifffile.TiffFile(io.BytesIO(data), _multifile=False, is_ome=False, is_shaped=False)
    return tiff


def largest(tiff: tifffile.TiffFile) -> Any:
    """The series (or level of a pyramid) with the largest planes; of equal ones the first."""
    levels = [level for series in tiff.series for level in series.levels]

    def area(series: Any) -> int:
        sizes = dict(zip(series.axes, series.shape))
        return int(sizes.get("X", 0) * sizes.get("Y", 0))

    return max(levels, key=area)


def read_plane(tiff: tifffile.TiffFile, max_pixels: int, asked: Asked) -> TiffPlane:
    """As `read_tiff`, of an open file; raises what tifffile raises."""
    name = asked.file
    if not tiff.series:
        raise DatasetError("{name} is a TIFF without an image: export it again.", name=name)
    series = largest(tiff)
    axes, shape = series.axes, series.shape
    sizes = dict(zip(axes, shape))
    width, height = sizes.get("X", 0), sizes.get("Y", 0)
    if not width or not height:
        raise DatasetError(
            "{name} is a TIFF without an image plane (axes {axes}).", name=name, axes=axes
        )
    pages = math.prod(length for axis, length in sizes.items() if axis not in "YXSCZT")
    if pages > min(width, height) and _SLIVER * min(width, height) <= max(width, height):
        raise DatasetError(
            "{name} holds images of {width} x {height} pixels (axes {axes}, {shape}): its axes "
            "seem to be in another order; save it with the channels first",
            name=name,
            width=width,
            height=height,
            axes=axes,
            shape=" x ".join(map(str, shape)),
        )
    if width * height > max_pixels:
        raise DatasetError(
            _too_large(
                name, msg("{width} x {height} pixels", width=width, height=height), max_pixels
            )
        )
    ome = ome_pixels(tiff, series)
    picked = pick(tiff, series, ome, asked)
    pixels = _plane(series, axes, picked, name, max_pixels)
    pixels = as_shown(series.keyframe, pixels, name)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).any():
        raise DatasetError(
            "{name} holds no numbers (all its pixels are NaN): export it again", name=name
        )
    notes = [*picked.notes, *_siblings(tiff, series)]
    size, warning = pixel_size(tiff, ome)
    note = joined(", ", notes + ([warning] if warning else [])) or None
    return TiffPlane(pixels, _significant_bits(ome, series), size, note, picked.doubt)


def as_shown(page: Any, pixels: Raw, name: str) -> Raw:
    """Values of a page as brightness or colour: palettes, inks, white that is zero, single bits.

    Raises:
        DatasetError: its values are neither (CIE Lab, the mosaic of a camera's sensor).
    """
    if page.photometric in _NO_COLOURS:
        raise DatasetError(
            "{name} has colours of the kind {kind}, which are not read: export it as RGB or grey",
            name=name,
            kind=page.photometric.name,
        )
    if pixels.dtype.kind == "c":
        raise DatasetError(
            "{name} holds complex numbers, as a Fourier transform has: save the image itself",
            name=name,
        )
    pixels = _without_inks(page, pixels)
    palette = page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None
    if palette and pixels.ndim == 2:  # an ImageJ composite carries one palette a channel: not this
        pixels = (page.colormap[:, pixels].transpose(1, 2, 0) >> 8).astype(np.uint8)
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        pixels = _turned(pixels)
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    return pixels


def _without_inks(page: Any, pixels: Raw) -> Raw:
    """Cyan, magenta, yellow and black, as programs for print store them -> red, green, blue."""
    separated = page.photometric == tifffile.PHOTOMETRIC.SEPARATED
    if not separated or pixels.ndim != 3 or pixels.shape[-1] < 4 or pixels.dtype.kind != "u":
        return pixels
    most = np.iinfo(str(pixels.dtype)).max
    light = most - pixels[..., :4].astype(np.float64)
    return np.asarray(np.rint(light[..., :3] * light[..., 3:] / most), pixels.dtype)


def page_pixels(page: Any) -> Raw:
    """One page of an open file, as `as_shown`."""
    return as_shown(page, np.asarray(page.asarray()), "it")


def _turned(pixels: Raw) -> Raw:
    """White is zero -> black is zero."""
    if pixels.dtype == np.bool_:
        return np.logical_not(pixels)
    if pixels.dtype.kind == "f":
        values = pixels.astype(np.float32)
        finite = values[np.isfinite(values)]  # dead pixels stay what they are
        ends = float(finite.max()) + float(finite.min()) if finite.size else 0.0
        return np.where(np.isfinite(values), np.float32(ends) - values, values)
    return np.asarray(np.iinfo(str(pixels.dtype)).max - pixels)


def _siblings(tiff: tifffile.TiffFile, taken: Any) -> list[str]:
    """What else is in the file: other images, or smaller copies of this one."""

    def extent(series: Any) -> tuple[int, ...]:
        return tuple(n for axis, n in zip(series.axes, series.shape) if axis in "YX")

    count = len(tiff.series)
    if count < 2:
        return []
    sizes = {extent(series) for series in tiff.series}
    return [
        msg("first of {count} images", count=count)
        if len(sizes) == 1
        else msg("largest of {count} images", count=count)
    ]


def _plane(series: Any, axes: str, picked: Picked, name: str, max_pixels: int) -> Raw:
    """The picked plane; (H, W) or (H, W, 3)."""
    values = _select(series, axes, picked.slices)
    if values is None:
        if math.prod(series.shape) > 4 * max_pixels:
            how = msg("{shape} values in one block", shape=" x ".join(map(str, series.shape)))
            raise DatasetError(_too_large(name, how, max_pixels))
        values = np.asarray(series.asarray())[tuple(picked.slices)]
    if picked.samples is None:
        return np.ascontiguousarray(values.reshape(_image_shape(axes, series.shape)))
    # Bring colours last and drop the picked axes.
    values = np.moveaxis(values, picked.samples, -1)
    values = values.reshape(*_image_shape(axes, series.shape), -1)
    values = _without_inks(series.keyframe, values)
    if picked.sample is not None:
        return np.ascontiguousarray(values[..., picked.sample])
    # alpha says nothing here
    return np.ascontiguousarray(values[..., 0] if values.shape[-1] < 3 else values[..., :3])


def _image_shape(axes: str, shape: tuple[int, ...]) -> tuple[int, int]:
    return shape[axes.index("Y")], shape[axes.index("X")]


def _select(series: Any, axes: str, index: list[slice]) -> Raw | None:
    """Only the page that holds the picked plane; None where pages do not follow the axes."""
    lead = min(axes.index("Y"), axes.index("X"), axes.index("S") if "S" in axes else len(axes))
    leading = series.shape[:lead]
    single = all(part.stop is not None for part in index[:lead])
    if lead and single and len(series.pages) == math.prod(leading):
        number = int(np.ravel_multi_index([part.start for part in index[:lead]], leading))
        page = series.pages[number]
        if page is not None:
            pixels = page.asarray().reshape((1,) * lead + series.shape[lead:])
            return np.asarray(pixels)[tuple([slice(None)] * lead + index[lead:])]
    return None


def _significant_bits(ome: ElementTree.Element | None, series: Any) -> int | None:
    bits = ome.get("SignificantBits") if ome is not None else None
    if bits and bits.isdecimal() and series.dtype == np.uint16 and 8 < int(bits) <= 16:
        return int(bits)
    return None


def pixel_size(
    tiff: tifffile.TiffFile, ome: ElementTree.Element | None
) -> tuple[float | None, str | None]:
    """Micrometres per pixel, and a warning where x and y differ.

    OME-XML states it; ImageJ states a unit of length beside TIFF's resolution. A resolution
    per inch or centimetre alone is mostly what a program prints at, so it is not believed.
    """
    if ome is not None and ome.get("PhysicalSizeX"):
        x = _micrometres(ome.get("PhysicalSizeX"), ome.get("PhysicalSizeXUnit", "µm"))
        y = _micrometres(ome.get("PhysicalSizeY"), ome.get("PhysicalSizeYUnit", "µm"))
        return _square(x, y)
    unit = str((tiff.imagej_metadata or {}).get("unit", ""))
    tags = tiff.pages[0].tags
    if unit.strip().lower() in _MICROMETRES and "XResolution" in tags:
        x = _micrometres(_inverse(tags["XResolution"].value), unit)
        y_tag = tags.get("YResolution")
        y = _micrometres(_inverse(y_tag.value), unit) if y_tag else None
        return _square(x, y)
    return None, None


def _square(x: float | None, y: float | None) -> tuple[float | None, str | None]:
    if x and y and abs(x - y) > 0.01 * x:
        return x, msg(
            "pixels are not square ({x:.4g} by {y:.4g} µm), the width was taken", x=x, y=y
        )
    return x, None


def _inverse(ratio: tuple[int, int]) -> float | None:
    """Pixels per unit as TIFF's fraction -> units per pixel."""
    return ratio[1] / ratio[0] if ratio[0] else None


def _micrometres(value: str | float | None, unit: str) -> float | None:
    factor = _MICROMETRES.get(unit.strip().lower())
    try:
        length = float(value) if value is not None else math.nan
    except ValueError:
        return None
    return length * factor if factor and math.isfinite(length) and length > 0 else None


def _too_large(name: str, how: str, max_pixels: int) -> str:
    return msg(
        "{name} is too large ({how}; up to {most} megapixels are read at once): "
        "cut it into tiles or planes.",
        name=name,
        how=how,
        most=max_pixels // 10**6,
    )
