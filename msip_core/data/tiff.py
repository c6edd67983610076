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
from msip_core.errors import DatasetError

# tifffile logs every oddity it reads around, once a file; what matters is raised.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)

# Lengths in micrometres, under the names that OME-XML and ImageJ give them.
_MICROMETRES = {
    "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0,
    "micrometre": 1.0, "\\u00b5m": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4,
}  # fmt: skip


class TiffPlane(NamedTuple):
    """One plane of a TIFF; `bit_depth` None where only the values can tell."""

    pixels: Raw
    bit_depth: int | None
    pixel_size_um: float | None
    note: str | None


def read_tiff(data: bytes, name: str, max_pixels: int) -> TiffPlane:
    """Read one plane of a TIFF.

    Of several z planes the middle one is taken (in brightfield a maximum over z would keep the
    glow around an organoid and lose its dark wall), of time points and channels the first; three
    8-bit channels of an ImageJ composite are colour. The note says what was taken.

    Raises:
        DatasetError: damaged, too large, or compressed in an unknown way.
    """
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            return _read(tiff, name, max_pixels)
    except MemoryError as error:
        raise DatasetError(
            f"{name} needs more memory than one image may take: cut it into tiles or planes."
        ) from error
    # tifffile and its codecs report damage through all of these.
    except (
        tifffile.TiffFileError, OSError, ValueError, RuntimeError, KeyError, IndexError, TypeError,
        ImportError, OverflowError, ArithmeticError, AttributeError, struct.error,
    ) as error:  # fmt: skip
        raise DatasetError(
            f"{name} is a TIFF that cannot be read ({_first_line(error)}): export it again, "
            "uncompressed or with LZW."
        ) from error


def _read(tiff: tifffile.TiffFile, name: str, max_pixels: int) -> TiffPlane:
    if not tiff.series:
        raise DatasetError(f"{name} is a TIFF without an image: export it again.")
    series = tiff.series[0]
    axes, shape = series.axes, series.shape
    sizes = dict(zip(axes, shape))
    width, height = sizes.get("X", 0), sizes.get("Y", 0)
    if not width or not height:
        raise DatasetError(f"{name} is a TIFF without an image plane (axes {axes}).")
    if width * height > max_pixels:
        raise DatasetError(_too_large(name, f"{width} x {height} pixels", max_pixels))
    colour = sizes.get("C") == 3 and series.dtype == np.uint8 and "S" not in axes
    pixels, taken = _plane(series, axes, colour, name, max_pixels)
    page = series.keyframe
    palette = page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None
    if palette and pixels.ndim == 2:  # an ImageJ composite carries one palette a channel: not this
        pixels = (page.colormap[:, pixels].transpose(1, 2, 0) >> 8).astype(np.uint8)
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        pixels = np.asarray(np.iinfo(str(pixels.dtype)).max - pixels)
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if len(tiff.series) > 1:
        taken.append(f"first of {len(tiff.series)} images")
    size, warning = _pixel_size(tiff)
    note = ", ".join(taken + ([warning] if warning else [])) or None
    return TiffPlane(pixels, _significant_bits(tiff), size, note)


def _plane(
    series: Any, axes: str, colour: bool, name: str, max_pixels: int
) -> tuple[Raw, list[str]]:
    """Pick one index on every axis that is not an image axis; (H, W) or (H, W, 3)."""
    taken, index = [], []
    for axis, length in zip(axes, series.shape):
        if axis in "YX" or (axis == "S") or (axis == "C" and colour):
            index.append(slice(None))
            continue
        chosen = length // 2 if axis == "Z" else 0
        index.append(slice(chosen, chosen + 1))
        if length > 1:
            word = {"Z": "z planes", "T": "time points", "C": "channels"}.get(axis, "pages")
            taken.append(f"number {chosen + 1} of {length} {word}")
    values = _select(series, axes, index)
    if values is None:
        if math.prod(series.shape) > 4 * max_pixels:
            how = " x ".join(map(str, series.shape)) + " values in one block"
            raise DatasetError(_too_large(name, how, max_pixels))
        values = np.asarray(series.asarray())[tuple(index)]
    if "S" in axes and colour is False and values.shape[axes.index("S")] > 3:
        values = np.take(values, range(3), axis=axes.index("S"))  # alpha says nothing here
    # Bring channels last and drop the picked axes.
    last = axes.index("S") if "S" in axes else axes.index("C") if colour else None
    if last is not None:
        values = np.moveaxis(values, last, -1)
        values = values.reshape(*_image_shape(axes, series.shape), -1)
        values = values[..., 0] if values.shape[-1] < 3 else values[..., :3]
    else:
        values = values.reshape(_image_shape(axes, series.shape))
    return np.ascontiguousarray(values), taken


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


def _significant_bits(tiff: tifffile.TiffFile) -> int | None:
    pixels = _ome_pixels(tiff)
    bits = pixels.get("SignificantBits") if pixels is not None else None
    if bits and bits.isdecimal() and tiff.series[0].dtype == np.uint16 and 8 < int(bits) <= 16:
        return int(bits)
    return None


def _ome_pixels(tiff: tifffile.TiffFile) -> ElementTree.Element | None:
    """The first <Pixels> of OME-XML, or None."""
    text = tiff.ome_metadata
    # ElementTree expands entities; OME-XML never declares any.
    if not text or "<!ENTITY" in text:
        return None
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None
    return root.find(".//{*}Pixels")


def _pixel_size(tiff: tifffile.TiffFile) -> tuple[float | None, str | None]:
    """Micrometres per pixel, and a warning where x and y differ.

    OME-XML states it; ImageJ states a unit of length beside TIFF's resolution. A resolution
    per inch or centimetre alone is mostly what a program prints at, so it is not believed.
    """
    pixels = _ome_pixels(tiff)
    if pixels is not None and pixels.get("PhysicalSizeX"):
        x = _micrometres(pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeXUnit", "µm"))
        y = _micrometres(pixels.get("PhysicalSizeY"), pixels.get("PhysicalSizeYUnit", "µm"))
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
        return x, f"pixels are not square ({x:.4g} by {y:.4g} µm), the width was taken"
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
    return (
        f"{name} is too large ({how}; up to {max_pixels // 10**6} megapixels are read at once): "
        "cut it into tiles or planes."
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
