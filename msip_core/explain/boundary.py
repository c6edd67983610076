"""How much of a heat map lies on an object's border, and how concentrated SHAP values are.

NumPy only; coordinates and the band are those of `msip_core.borders`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msip_core.borders import Border, band_width, boundary_band, lines_of
from msip_core.boxes import Box
from msip_core.errors import InputError
from msip_core.questions.looking import BoundaryScores

TOLERANCE = 15.0  # px, Zhang et al. 2016


def boundary_scores(
    heat: NDArray[np.floating[Any]], outline: Border, box: Box | None = None
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
    lines, kind = lines_of(outline)
    box = box or (outline if isinstance(outline, Box) else _around(lines))
    distance = band_width(box)
    band = boundary_band((heat.shape[0], heat.shape[1]), outline, distance)
    if not band.any():
        raise InputError("The outline of this object lies outside the picture.")
    energy = heat.astype(np.float64)
    total = float(energy.sum())
    if total <= 0:
        return BoundaryScores(
            ber=None, enrichment=None, energy_in_box=None, hit=None, contour=kind, band_px=distance
        )
    ber = float(energy[band].sum()) / total
    return BoundaryScores(
        ber=ber,
        enrichment=ber / float(band.mean()),
        energy_in_box=float(energy[_inside(box)].sum()) / total,
        hit=_points_at(energy, box),
        contour=kind,
        band_px=distance,
    )


def concentration(values: NDArray[np.floating[Any]]) -> float | None:
    """C@10: sum of |phi| over the ceil(M / 10) largest / sum of all |phi|.

    Returns:
        In [0.1, 1]; None when every value is zero (undefined: skip and count).
    """
    size = np.sort(np.abs(np.asarray(values, np.float64).ravel()))[::-1]
    total = float(size.sum())
    if total <= 0:
        return None
    top = -(-size.size // 10)
    return float(size[:top].sum()) / total


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
