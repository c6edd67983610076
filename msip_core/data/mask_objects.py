"""Masks as labels: pixels of a mask file, and the objects in them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import PngImagePlugin

from msip_core.data.micrographs import MAX_PIXELS, decode, is_tiff
from msip_core.data.tiff import DAMAGE
from msip_core.errors import DatasetError

MOST_OBJECTS = 5000
# Parts with fewer pixels are specks of a brush or a threshold.
SPECK_PIXELS = 9
# Of what is drawn in a binary mask, so much is white; the rest are smoothed edges.
_PURE_SHARE = 0.8
_NOISE = 40  # grey values that JPEG's compression adds or takes
_VOID = 255  # of Pascal VOC: the border between an object and the ground
_FLAT = 0.9  # of the pixels of a mask are as the one beside them; objects have edges
_FLAT_INSIDE = 0.7  # the same of what is not 0, which may be small objects
_GAPS = 2  # of the numbers of objects, every other is there
_SIZABLE = 0.25  # of an object's largest part


@dataclass(frozen=True, slots=True)
class MaskObject:
    """One object: corners in pixels of the mask, and its outer contour if it has three points."""

    xyxy: tuple[float, float, float, float]
    outline: NDArray[np.float64] | None


@dataclass(frozen=True, slots=True)
class MaskObjects:
    """All objects of a mask.

    Attributes:
        binary: the mask has two values, and its separate parts were taken as objects.
        specks: parts that were too small to be objects.
        void: pixels of value 255 that Pascal VOC puts around objects were left out.
        size: width and height of the mask.
    """

    objects: list[MaskObject]
    binary: bool
    specks: int
    size: tuple[int, int]
    void: bool = False


def read_mask(data: bytes, name: str) -> NDArray[Any]:
    """The mask as (height, width) of whole numbers, 0 where there is no object.

    Numbers are taken as they are stored, whatever colour they are shown in: palettes and
    white-is-zero say how a viewer paints them.

    Raises:
        DatasetError: unreadable, or no mask.
    """
    if is_tiff(data):
        mask = _read_tiff(data, name)
    elif data.startswith(b"\x89PNG\r\n\x1a\n") and data[25:26] == b"\x03":  # palette
        decode(data, name)  # its checks of size and damage
        with PngImagePlugin.PngImageFile(io.BytesIO(data)) as image:
            mask = np.asarray(image)
    else:
        mask = np.asarray(decode(data, name).pixels)
    if mask.ndim == 3:
        mask = _one_channel(mask)
    if mask.dtype.kind == "f":
        if not np.isfinite(mask).all() or (mask != np.floor(mask)).any():
            raise DatasetError(
                "{name} holds fractions: save the mask with whole numbers", name=name
            )
        mask = mask.astype(np.int64)
    mask = mask.astype(np.uint8) if mask.dtype == np.bool_ else mask
    return _without_soft_edges(mask, lossy=data.startswith(b"\xff\xd8\xff"))


def objects_in(mask: NDArray[Any], *, one: bool = False) -> MaskObjects:
    """The objects of a mask: one for each value, or for each part where there are two values.

    Args:
        one: there is one object, in however many parts.

    Raises:
        DatasetError: its values are no numbers of objects.
    """
    values = np.unique(mask)
    values = values[values != 0]
    void = mask.dtype == np.uint8 and _has_void(values)
    if void:
        mask, values = np.where(mask == _VOID, 0, mask), values[:-1]
    binary = len(values) == 1 and not void and not one
    if binary:
        _, mask = cv2.connectedComponents((mask != 0).astype(np.uint8), connectivity=8)
    found, specks, separate = [], 0, []
    for value, (x1, y1, x2, y2) in _extents(mask):
        crop = np.asarray(mask[y1:y2, x1:x2] == value)
        count = int(np.count_nonzero(crop))
        if count < SPECK_PIXELS:
            specks += 1
            continue
        if (x2 - x1, y2 - y1) == (mask.shape[1], mask.shape[0]) and count > crop.size / 2:
            raise DatasetError(
                "one object of its mask fills the image up to all borders: the mask seems to be "
                "inverted (objects are above 0, the ground is 0)"
            )
        if not binary:
            separate.append(_sizable_parts(crop))
        outline = mask_outline(crop)
        shift = np.array([x1, y1], dtype=np.float64)
        found.append(
            MaskObject(
                (float(x1), float(y1), float(x2), float(y2)),
                None if outline is None else outline + shift,
            )
        )
    if separate and not one and np.median(separate) >= 2:
        raise DatasetError(
            "its mask has {n} values that lie in several places each, so they are "
            "classes and not objects: export one number for each object",
            n=len(separate),
        )
    return MaskObjects(found, binary, specks, (mask.shape[1], mask.shape[0]), void)


def _has_void(values: NDArray[Any]) -> bool:
    """Whether 255 is beside the numbers 1, 2, … of objects: a border, and no object of its own."""
    numbers = values[:-1].tolist()
    return (
        bool(numbers)
        and values[-1] == _VOID
        and numbers == list(range(1, len(numbers) + 1))
        and len(numbers) < _VOID - 1
    )


def shows_numbers(pixels: NDArray[Any]) -> bool:
    """Whether a picture is a mask and no micrograph: 0 and the numbers of two objects or more,
    each in a flat area. Light is never flat; a mask of two values may be a picture in black and
    white."""
    if pixels.ndim != 2 or pixels.dtype.kind not in "ui" or pixels.shape[1] < 2:
        return False
    same = pixels[:, 1:] == pixels[:, :-1]
    inside = same[pixels[:, 1:] != 0]  # of a dark picture most is flat, and its light is not
    if same.mean() < _FLAT or not inside.size or inside.mean() < _FLAT_INSIDE or pixels.min() != 0:
        return False
    values = np.unique(pixels)
    return len(values) > 2 and int(values[-1]) < _GAPS * len(values)


def refuse_numbers(pixels: NDArray[Any]) -> None:
    """Raises DatasetError for a picture that is a mask (`shows_numbers`)."""
    if shows_numbers(pixels):
        raise DatasetError(
            "its pixels are numbers of objects in flat areas: it is a mask and no micrograph. "
            "Call it as its micrograph with _mask behind it, or put it into a folder 'masks'"
        )


def mask_outline(mask: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """Outer contour (n, 2) of the largest part of a mask, through pixel centres + 0.5."""
    contours, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    big = [np.asarray(c, dtype=np.float64).reshape(-1, 2) + 0.5 for c in contours if len(c) >= 3]
    return max(big, key=lambda c: cv2.contourArea(c.astype(np.float32))) if big else None


def _read_tiff(data: bytes, name: str) -> NDArray[Any]:
    decoded: NDArray[Any]
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            page = tiff.series[0]
            if int(np.prod(page.shape, dtype=np.int64)) > 3 * MAX_PIXELS:
                raise DatasetError("{name} is too large for a mask", name=name)
            decoded = np.squeeze(np.asarray(page.asarray()))
    except (*DAMAGE, MemoryError) as error:
        raise DatasetError(
            "{name} is a TIFF that cannot be read ({error})", name=name, error=error
        ) from error
    if decoded.ndim == 3 and decoded.shape[-1] not in (3, 4):
        raise DatasetError(
            "{name} has several planes ({shape}): save a mask of one",
            name=name,
            shape=decoded.shape,
        )
    if decoded.ndim not in (2, 3):
        raise DatasetError("{name} is no image of one plane", name=name)
    return decoded


def _one_channel(mask: NDArray[Any]) -> NDArray[Any]:
    """Colours as numbers: a grey picture by its grey value, others by all three channels."""
    red, green, blue = (mask[..., i].astype(np.int64) for i in range(3))
    if (red == green).all() and (green == blue).all():
        return np.asarray(mask[..., 0])
    return np.asarray((red << 32) | (green << 16) | blue)


def _without_soft_edges(mask: NDArray[Any], lossy: bool) -> NDArray[Any]:
    """Two values for a binary mask whose edges were smoothed, or that was saved as JPEG.

    Raises:
        DatasetError: a JPEG of several values: its compression has changed the numbers.
    """
    if mask.dtype != np.uint8:
        return mask
    counts = np.bincount(mask.ravel(), minlength=256)
    drawn = counts[_NOISE if lossy else 1 :].sum()
    if counts[256 - _NOISE if lossy else 250 :].sum() > _PURE_SHARE * drawn:
        return np.asarray(mask >= 128).astype(np.uint8)
    if lossy and (drawn or mask.any()):
        raise DatasetError("its mask is a JPEG, which changes the numbers: save it as PNG or TIFF")
    return mask


def _extents(mask: NDArray[Any]) -> list[tuple[int, tuple[int, int, int, int]]]:
    """(value, x1, y1, x2, y2) of every value above 0, upper corners exclusive."""
    ys, xs = np.nonzero(mask)
    if len(ys) == 0:
        return []
    found = mask[ys, xs]
    order = np.argsort(found, kind="stable")
    values, starts = np.unique(found[order], return_index=True)
    if len(values) > MOST_OBJECTS:
        raise DatasetError("its mask has {n} values, which cannot be object numbers", n=len(values))
    xs, ys = xs[order], ys[order]
    x1, y1 = np.minimum.reduceat(xs, starts), np.minimum.reduceat(ys, starts)
    x2, y2 = np.maximum.reduceat(xs, starts) + 1, np.maximum.reduceat(ys, starts) + 1
    corners = np.stack([x1, y1, x2, y2], axis=1).tolist()
    return [(value, tuple(c)) for value, c in zip(values.tolist(), corners)]  # type: ignore[misc]


def _sizable_parts(crop: NDArray[np.bool_]) -> int:
    count, _, stats, _ = cv2.connectedComponentsWithStats(crop.astype(np.uint8), connectivity=8)
    areas = stats[1:count, cv2.CC_STAT_AREA]
    return int((areas >= max(SPECK_PIXELS, _SIZABLE * areas.max())).sum())
