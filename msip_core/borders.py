"""Borders of objects: the contour that is known, and the band around it that scores and pictures
share. NumPy and OpenCV only.

Coordinates are (x, y) in pixels of the micrograph; pixel (column i, row j) covers [i, i + 1) x
[j, j + 1). Arrays are indexed [row, column], that is [y, x].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from msip_core.boxes import Box
from msip_core.errors import InputError

Contour = NDArray[np.floating[Any]]
Border = Box | Contour | Sequence[Contour]
SUBPIXEL = 4  # fractional bits of cv2's drawing functions


def band_width(box: Box) -> float:
    """Half width of the border band in pixels: d = max(2, .1 sqrt(w h)) (METHODS, section 7)."""
    return max(2.0, 0.1 * math.sqrt(max(0.0, box.x2 - box.x1) * max(0.0, box.y2 - box.y1)))


def lines_of(outline: Border) -> tuple[list[NDArray[np.float64]], Literal["mask", "box"]]:
    """The contour as closed polylines of (x, y), and where it came from.

    Args:
        outline: an object's outline (n, 2), or several (crypts of one object), or its box where
            no outline is known: then the box edge is the contour.

    Raises:
        InputError: there is no line, or it is not made of points.
    """
    if isinstance(outline, Box):
        # The edge runs through the outermost pixels that belong to the box.
        x1, y1, x2, y2 = outline.xyxy
        x1, y1, x2, y2 = x1 + 0.5, y1 + 0.5, max(x2 - 0.5, x1 + 0.5), max(y2 - 0.5, y1 + 0.5)
        return [np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)])], "box"
    several = [outline] if isinstance(outline, np.ndarray) else list(outline)
    lines = [np.asarray(line, np.float64) for line in several]
    if not lines or any(line.ndim != 2 or line.shape[1] != 2 or not len(line) for line in lines):
        raise InputError("An outline must be a list of points (x, y).")
    return lines, "mask"


def drawn_points(line: NDArray[np.float64], factor: float = 1.0) -> NDArray[np.int32]:
    """Points of a line as cv2 draws them with shift=SUBPIXEL, on a picture `factor` times as
    large: cv2 counts from the centre of the first pixel, a line from its corner."""
    return np.round((line * factor - 0.5) * 2**SUBPIXEL).astype(np.int32)


def boundary_band(
    shape: tuple[int, int], outline: Border, distance: float, factor: float = 1.0
) -> NDArray[np.bool_]:
    """Pixels of an image (H, W) whose centre lies within `distance` of the contour.

    Args:
        factor: the image is so many times as large as the micrograph, in whose pixels `outline`
            and `distance` are.
    """
    height, width = shape
    lines, _ = lines_of(outline)
    # Room around the image, so that a contour just outside still reaches in.
    pad = math.ceil(distance * factor) + 2
    away = np.full((height + 2 * pad, width + 2 * pad), 255, np.uint8)
    for line in lines:
        points = drawn_points(line + pad / factor, factor)
        cv2.polylines(away, [points], isClosed=True, color=0, thickness=1, shift=SUBPIXEL)
    if away.all():
        return np.zeros(shape, bool)
    reach = cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return reach[pad : pad + height, pad : pad + width] <= distance * factor
