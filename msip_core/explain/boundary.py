"""How much of a heat map lies on an object's border, and how concentrated SHAP values are.

NumPy and OpenCV only. Coordinates are (x, y) in pixels of the micrograph; pixel (column i, row j)
covers [i, i + 1) x [j, j + 1). Arrays are indexed [row, column], that is [y, x].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from msip_core.boxes import Box
from msip_core.errors import InputError

Contour = NDArray[np.floating[Any]]
TOLERANCE = 15.0  # px, Zhang et al. 2016
_SUBPIXEL = 4  # fractional bits of cv2's drawing functions


@dataclass(frozen=True, slots=True)
class BoundaryScores:
    """Where the energy of one heat map lies, for one object. None: the map has no energy.

    Attributes:
        ber: boundary energy ratio, energy in the band / all energy, in [0, 1].
        enrichment: ber / (band area / image area); 1 = as much as a uniform map.
        energy_in_box: energy inside the box, in [0, 1] (Wang et al. 2020, arXiv:1910.01279).
        hit: the hottest pixel lies in the box, 15 px tolerance (Zhang et al. 2016,
            arXiv:1608.00507).
        contour: "mask" (a drawn outline) or "box" (only the box edge was known).
        band_px: half width d of the band.
    """

    ber: float | None
    enrichment: float | None
    energy_in_box: float | None
    hit: bool | None
    contour: Literal["mask", "box"]
    band_px: float

    def as_dict(self) -> dict[str, Any]:
        """As it stands in result.json."""
        return asdict(self)


def boundary_scores(
    heat: NDArray[np.floating[Any]],
    outline: Box | Contour | Sequence[Contour],
    box: Box | None = None,
) -> BoundaryScores:
    """Boundary energy, pointing games and hit of one object.

    Band = pixels within d = max(2, .1 sqrt(w h)) of the contour, w and h those of the box.

    Args:
        heat: (H, W), finite, >= 0; its scale does not matter.
        outline: the object's outline (n, 2) as x, y, or several (crypts of one object), or its
            box where no outline is known: then the box edge is the contour.
        box: the object's box; None takes the rectangle around the outline.

    Raises:
        InputError: the map is negative or not finite, or the contour lies outside the image.
    """
    if heat.ndim != 2 or not np.isfinite(heat).all() or (heat < 0).any():
        raise InputError("A heat map must be a picture of finite numbers, none below zero.")
    lines, kind = _lines(outline)
    box = box or (outline if isinstance(outline, Box) else _around(lines))
    distance = band_width(box)
    band = boundary_band((heat.shape[0], heat.shape[1]), outline, distance)
    if not band.any():
        raise InputError("The outline of this object lies outside the picture.")
    energy = heat.astype(np.float64)
    total = float(energy.sum())
    if total <= 0:
        return BoundaryScores(None, None, None, None, kind, distance)
    ber = float(energy[band].sum()) / total
    return BoundaryScores(
        ber=ber,
        enrichment=ber / float(band.mean()),
        energy_in_box=float(energy[_inside(box)].sum()) / total,
        hit=_points_at(energy, box),
        contour=kind,
        band_px=distance,
    )


def band_width(box: Box) -> float:
    """d = max(2, .1 sqrt(w h)) in pixels."""
    return max(2.0, 0.1 * math.sqrt((box.x2 - box.x1) * (box.y2 - box.y1)))


def boundary_band(
    shape: tuple[int, int], outline: Box | Contour | Sequence[Contour], distance: float
) -> NDArray[np.bool_]:
    """Pixels of an image (H, W) whose centre lies within `distance` of the contour."""
    height, width = shape
    lines, _ = _lines(outline)
    # Room around the image, so that a contour just outside still reaches in.
    pad = math.ceil(distance) + 2
    away = np.full((height + 2 * pad, width + 2 * pad), 255, np.uint8)
    for line in lines:
        # cv2 counts from the centre of the first pixel, the outline from its corner.
        points = np.round((line - 0.5 + pad) * 2**_SUBPIXEL).astype(np.int32)
        cv2.polylines(away, [points], isClosed=True, color=0, thickness=1, shift=_SUBPIXEL)
    if away.all():
        return np.zeros(shape, bool)
    reach = cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return reach[pad : pad + height, pad : pad + width] <= distance


def concentration(values: NDArray[np.floating[Any]], share: float = 0.1) -> float | None:
    """C@10: sum of |phi| over the ceil(share * M) largest / sum of all |phi|.

    Returns:
        In [share, 1]; None when every value is zero (undefined: skip and count).
    """
    size = np.sort(np.abs(np.asarray(values, np.float64).ravel()))[::-1]
    total = float(size.sum())
    if total <= 0:
        return None
    # Without the rounding, .1 * 30 = 3.0000000000000004 would take four.
    top = math.ceil(round(share * size.size, 9))
    return float(size[:top].sum()) / total


def _lines(
    outline: Box | Contour | Sequence[Contour],
) -> tuple[list[NDArray[np.float64]], Literal["mask", "box"]]:
    """The contour as closed polylines of (x, y), and where it came from."""
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


def _around(lines: list[NDArray[np.float64]]) -> Box:
    points = np.concatenate(lines)
    (x1, y1), (x2, y2) = points.min(axis=0), points.max(axis=0)
    return Box(cls=0, x1=x1, y1=y1, x2=x2, y2=y2)


def _inside(box: Box) -> tuple[slice, slice]:
    """Rows and columns of the pixels whose centre lies in the box."""
    rows = slice(max(0, math.ceil(box.y1 - 0.5)), max(0, math.ceil(box.y2 - 0.5)))
    columns = slice(max(0, math.ceil(box.x1 - 0.5)), max(0, math.ceil(box.x2 - 0.5)))
    return rows, columns


def _points_at(energy: NDArray[np.float64], box: Box) -> bool:
    """Whether the hottest pixel's centre lies in the box, or within the tolerance of it."""
    row, column = np.unravel_index(int(energy.argmax()), energy.shape)
    x, y = float(column) + 0.5, float(row) + 0.5
    dx = max(box.x1 - x, 0.0, x - box.x2)
    dy = max(box.y1 - y, 0.0, y - box.y2)
    return math.hypot(dx, dy) <= TOLERANCE
