"""What the lines of all YOLO labels of a source tell together, where one line alone tells nothing.

Numbers that are counted from 1, corners in the place of centre and size, a score in front of the
box and keypoints behind it all give boxes inside the image for some of the images. Seen over all
files they do not pass for YOLO; which is meant is not sure, so no label of the source is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from msip_core.messages import msg

Rows = NDArray[np.float64]

_SLACK = 0.02  # of the image; boxes drawn by hand reach a little over the border
# Boxes that are read in a wrong order reach outside in half of the cases, drawn ones seldom.
MANY = 0.2
_TRACKED = 7  # values of a line: three points of an outline, or a score and a track behind a box
_KITTI = (15, 16)  # values of a line, the last a score
_PIXELS = 10  # no fraction of an image
_PARALLEL = 0.02  # of the image: how far the corners of a turned box are off


def doubt(lines: Iterable[Sequence[str]], names: Sequence[str]) -> str | None:
    """Why the labels of a source may mean something else than YOLO's boxes; None if they do not.

    Args:
        lines: values of all lines with five numbers or more; those that are no numbers are passed
            over, since they are named one by one.
        names: the class names; empty if there are none.
    """
    found: dict[int, list[list[float]]] = {}
    for line in lines:
        try:
            values = [float(value) for value in line]
        except ValueError:
            continue
        if len(values) >= 5 and np.isfinite(values).all():
            found.setdefault(len(values), []).append(values)
    if not found:
        return None
    numbers = {row[0] for rows in found.values() for row in rows}
    if why := _numbered(numbers, names):
        return why
    if set(found) == {5}:
        return _corners(np.array(found[5])[:, 1:])
    if len(found) > 1:
        return None
    ((length, rows),) = found.items()
    return _of_length(length, np.array(rows))


def _of_length(length: int, rows: Rows) -> str | None:
    """What lines say that all have so many values."""
    if length == 6:
        return _score_first(rows[:, 1:]) or _no_score(rows[:, 5])
    if length == _TRACKED:
        return msg(
            "its labels have seven values each, and may be triangles, or boxes with a score and "
            "the number of a track: write class, centre x and y, width, height only"
        )
    return _kitti(rows) if length in _KITTI else _keypoints(rows[:, 1:])


def _numbered(numbers: set[float], names: Sequence[str]) -> str | None:
    """Whether labels and names seem to begin at other numbers."""
    if names and 0 not in numbers and len(names) in numbers and min(numbers) > 0:
        return msg(
            "its class numbers may be counted from 1: none of the labels has a 0, some have {n}, "
            "and the {n} names are numbered from 0; count them from 0",
            n=len(names),
        )
    if names and not names[0] and 0 in numbers and len(names) - 1 not in numbers:
        return msg(
            "its class numbers are counted from 0 and the names may be from 1: some labels have a "
            "0, which has no name, and none has {n}; number the names from 0",
            n=len(names) - 1,
        )
    return None


def outside(centre: Rows, size: Rows) -> NDArray[np.bool_]:
    """Which boxes reach over the border."""
    low, high = centre - size / 2, centre + size / 2
    return np.asarray((low < -_SLACK).any(axis=1) | (high > 1 + _SLACK).any(axis=1))


def _corners(rows: Rows) -> str | None:
    first, second = rows[:, :2], rows[:, 2:4]
    could_be = (second > first).all() and (first >= 0).all() and (second <= 1 + _SLACK).all()
    if could_be and outside(first, second).mean() >= MANY:
        return msg(
            "the four numbers of all labels may be two corners: many boxes reach outside as centre "
            "and size (YOLO), and none as corners; write centre and size"
        )
    return None


def _score_first(rows: Rows) -> str | None:
    last, first = outside(rows[:, :2], rows[:, 2:4]), outside(rows[:, 1:3], rows[:, 3:5])
    if (rows >= 0).all() and (rows <= 1 + _SLACK).all() and last.mean() >= MANY > first.mean():
        return msg(
            "its labels have six values, and the score may stand before the box: many boxes reach "
            "outside otherwise; write class, centre x and y, width, height, score"
        )
    return None


def _no_score(last: Rows) -> str | None:
    if (last >= 0).all() and (last <= 1).all():
        return None
    return msg(
        "its labels have six values, of which the last are no scores (from {low:g} to {high:g}): "
        "they may be angles of turned boxes, or numbers of tracks; write class, centre x and y, "
        "width, height only",
        low=float(last.min()),
        high=float(last.max()),
    )


def _kitti(rows: Rows) -> str | None:
    """Class, cut off, hidden, angle, two corners in pixels, and seven numbers in space."""
    cut_off, hidden, corners = rows[:, 1], rows[:, 2], rows[:, 4:8]
    flags = (cut_off >= 0).all() and (cut_off <= 1).all() and np.isin(hidden, (0, 1, 2, 3)).all()
    if flags and (corners[:, 2:] > corners[:, :2]).all() and corners.max() > _PIXELS:
        return msg(
            "its labels have {n} values and may be those of KITTI, with two corners in the middle: "
            "write class, centre x and y, width, height as fractions of the image",
            n=rows.shape[1],
        )
    return _keypoints(rows[:, 1:])


def _keypoints(rows: Rows) -> str | None:
    """Lines of one length that hold a box and points in it, and no outline and no turned box."""
    for stride in (3, 2):
        if (rows.shape[1] - 4) % stride or rows.shape[1] < 4 + stride:
            continue
        points = rows[:, 4:].reshape(len(rows), -1, stride)
        if stride == 3 and not np.isin(points[..., 2], (0, 1, 2)).all():
            continue
        if _hold(rows[:, :2], rows[:, 2:4], points) and not _are_turned_boxes(rows):
            return msg(
                "its labels have {n} values and may be boxes with keypoints (pose): give data.yaml "
                "with kpt_shape, or write class, centre x and y, width, height only",
                n=rows.shape[1] + 1,
            )
    return None


def _hold(centre: Rows, size: Rows, points: Rows) -> bool:
    """Whether all boxes lie in the image and hold their points; most sizes are none of these."""
    if outside(centre, size).any() or (size <= 0).any():
        return False
    # Of points without that value, all are seen.
    seen = (points[..., 2:] > 0).all(axis=2, keepdims=True)
    places = np.where(seen, points[..., :2], centre[:, None])
    off = np.abs(places - centre[:, None]) - size[:, None] / 2
    others = np.concatenate([centre[:, None], places], axis=1)
    low, high = others.min(axis=1), others.max(axis=1)
    apart = ((size < low) | (size > high)).any(axis=1)
    return bool((off <= _SLACK).all() and apart.mean() >= 0.5)


def _are_turned_boxes(rows: Rows) -> bool:
    """Four corners of which opposite ones have the same middle."""
    if rows.shape[1] != 8:
        return False
    corners = rows.reshape(-1, 4, 2)
    off = corners[:, 0] + corners[:, 2] - corners[:, 1] - corners[:, 3]
    return bool((np.abs(off) <= _PARALLEL).all())
