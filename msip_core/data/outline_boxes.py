"""Outlines and the boxes around them, where a label file has both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Corners = tuple[float, float, float, float]
# An outline runs through the middle of the outer pixels, a box around them; what people mend
# by hand differs by more.
_PIXELS = 1.0
_SHARE = 0.02  # of a side


def fills(outline: NDArray[np.float64], box: Sequence[float]) -> bool:
    """Whether an outline (n, 2) reaches to all sides of a box (x1, y1, x2, y2)."""
    span = np.array([*outline.min(axis=0), *outline.max(axis=0)])
    width, height = box[2] - box[0], box[3] - box[1]
    slack = np.maximum(_PIXELS, _SHARE * np.array([width, height, width, height]))
    return bool((np.abs(span - np.asarray(box, dtype=np.float64)) <= slack).all())


def box_beside(value: Any, outline: NDArray[np.float64]) -> Corners | None:
    """A box that stands beside an outline, if it still belongs to it: outlines are mended by hand.

    Args:
        value: four corners as the file has them, of any kind.
    """
    try:
        x1, y1, x2, y2 = (float(v) for v in value)
    except (ValueError, TypeError):
        return None
    box = (x1, y1, x2, y2)
    return box if np.isfinite(box).all() and fills(outline, box) else None


def is_upright_box(points: NDArray[np.float64]) -> bool:
    """Whether a ring (n, 2), closed or not, is a box: four corners, sides along the axes."""
    ring = points[:-1] if len(points) == 5 and (points[0] == points[-1]).all() else points
    if len(ring) != 4:
        return False
    sides = np.roll(ring, -1, axis=0) - ring
    along = sides == 0
    return bool((along.sum(axis=1) == 1).all() and (along[:, 0] != np.roll(along[:, 0], 1)).all())


def ring_area(points: NDArray[np.float64]) -> float:
    """Area inside an outline (n, 2), in the square of its units."""
    x, y = points.T
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)
