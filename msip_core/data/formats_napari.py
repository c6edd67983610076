"""Shapes of napari, saved as CSV: one row a corner."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from msip_core.data.labels import LabelledObject
from msip_core.data.labels_records import Parser, Record, labels_of, not_an_object, polygon
from msip_core.data.outline_boxes import is_upright_box
from msip_core.messages import mark, msg

# napari's numbers are the middles of pixels; everywhere else they are the corners.
_HALF = 0.5


def shapes(rows: Any) -> list[Record] | None:
    """`index,shape-type,vertex-index,axis-0,axis-1`; the last two axes are y and x. No classes."""
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    axes = [i for i, cell in enumerate(header) if cell.startswith("axis-")]
    if "index" not in header or len(axes) < 2:
        return None
    if "shape-type" not in header:
        raise ValueError(msg("points have no extent: draw shapes"))
    index, kind = header.index("index"), header.index("shape-type")
    corners: dict[str, tuple[str, list[list[float]]]] = {}
    for row in rows[1:]:
        if len(row) < len(header):
            raise ValueError(
                msg("a row has {n} of {header} columns", n=len(row), header=len(header))
            )
        _, points = corners.setdefault(row[index], (row[kind].strip(), []))
        points.append([float(row[axis]) for axis in axes])
    planes = {tuple(point[:-2]) for _, points in corners.values() for point in points}
    if len(planes) > 1:
        raise ValueError(msg("its shapes lie on several planes: save those of one plane"))
    return [Record([], labels_of(corners.values(), _shape), own=True)]


def _shape(item: tuple[str, list[list[float]]]) -> LabelledObject:
    kind, found = item
    points: NDArray[np.float64] = np.array(found, dtype=np.float64)[:, :-3:-1] + _HALF
    if kind in ("rectangle", "polygon"):
        return polygon(None, points, outline=kind == "polygon" and not is_upright_box(points))
    if kind == "ellipse":
        return _ellipse(points)
    raise not_an_object(kind)


def _ellipse(corners: NDArray[np.float64]) -> LabelledObject:
    """An ellipse in the (turned) rectangle of four corners: its box reaches as far as its axes."""
    if len(corners) != 4:
        raise ValueError(msg("an ellipse with {n} corners", n=len(corners)))
    centre = corners.mean(axis=0)
    one, two = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    reach = np.hypot(one, two)
    return polygon(None, [centre - reach, centre + reach], outline=False)


TABLES: tuple[tuple[str, Parser], ...] = ((mark("napari shapes"), shapes),)
