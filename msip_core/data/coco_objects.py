"""One annotation of COCO: its box, its outline, and whether it marks a crowd.

`iscrowd` is meant for regions of many objects, but programs also set it on single objects that
were painted with a brush, since only then COCO's own tools read run-length masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from msip_core.boxes import iou_matrix
from msip_core.data.labels import LabelledObject
from msip_core.data.labels_records import around_turned
from msip_core.data.mask_objects import mask_outline
from msip_core.data.micrographs import MAX_PIXELS
from msip_core.data.outline_boxes import ring_area
from msip_core.messages import msg

Corners = tuple[float, float, float, float]

# A brush leaves specks; parts below this share of the largest are none of their own.
_SPECK = 0.1
# A box and the outline of the same object overlap at least so far.
_SAME = 0.5


@dataclass(frozen=True, slots=True)
class CocoObject:
    """An annotation that could be read.

    Attributes:
        flagged: it says that it marks a crowd.
        parts: separate regions of its mask; 0 if it has none.
        size: width and height of the picture that its mask is for, if it has one.
    """

    number: Any
    object: LabelledObject
    flagged: bool
    parts: int = 0
    size: tuple[float, float] | None = None


def read_object(name: str, annotation: dict[str, Any], file: str = "") -> CocoObject:
    """Box and outline of one annotation of a file.

    Raises:
        ValueError, TypeError, LookupError: with the reason; a value is not what COCO asks for.
    """
    segmentation = annotation.get("segmentation")
    crowd = str(annotation.get("iscrowd")).strip().lower()
    number, flagged = annotation.get("id", "?"), crowd in ("1", "1.0", "true", "yes")
    parts, size = 0, None
    if isinstance(segmentation, dict) and segmentation.get("counts"):
        mask = _run_lengths(segmentation)
        size = (float(mask.shape[1]), float(mask.shape[0]))
        parts, extent, outline = _of_mask(mask)
    else:
        extent, outline = _of_polygons(segmentation)
    box = _box(annotation.get("bbox"))
    if box is None:
        box = extent
    if box is None:
        raise ValueError(msg("it has neither a box nor an outline"))
    if extent is not None and iou_matrix(np.array(box), np.array(extent))[0, 0] < _SAME:
        raise ValueError(
            msg("its box and its outline are not at one place (boxes are x, y, width, height)")
        )
    _check_area(annotation.get("area"), box, extent)
    attributes = annotation.get("attributes")
    degrees = attributes.get("rotation") if isinstance(attributes, dict) else None
    if degrees and extent is None:
        box = around_turned(box, degrees)
    found = LabelledObject(name, box, outline, file=file)
    return CocoObject(number, found, flagged, parts, size)


def _check_area(area: Any, box: Corners, extent: Corners | None) -> None:
    """The area that stands beside a box without an outline tells corners from width and height."""
    if extent is not None or isinstance(area, bool) or not isinstance(area, int | float):
        return
    x1, y1, x2, y2 = box
    as_sides, as_corners = (x2 - x1) * (y2 - y1), (x2 - 2 * x1) * (y2 - 2 * y1)
    near = 0.01 * area
    if x2 > 2 * x1 and abs(area - as_corners) <= near and abs(area - as_sides) > near:
        raise ValueError(
            msg("by its area its box is two corners, and boxes of COCO are x, y, width, height")
        )


def crowd_regions(found: Sequence[CocoObject]) -> set[int]:
    """Which of the annotations of one image mark many objects at once, by their place.

    Such a region is flagged, and consists of several parts or covers two or more other objects.
    """
    if not any(item.flagged for item in found):
        return set()
    boxes = np.array([item.object.xyxy for item in found], dtype=np.float64).reshape(-1, 4)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    crowds = set()
    for i, item in enumerate(found):
        inside = ((centres >= boxes[i, :2]) & (centres <= boxes[i, 2:])).all(axis=1)
        if item.flagged and (item.parts > 1 or inside.sum() - 1 >= 2):
            crowds.add(i)
    return crowds


def _box(value: Any) -> Corners | None:
    """`[x, y, width, height]` as corners; None if there is none, or one without any size."""
    if value is None or value == []:
        return None
    if isinstance(value, str):  # as a table of Python writes a list
        value = value.strip(" []()").replace(",", " ").split()
    numbers = [float(v) for v in value]
    if len(numbers) != 4:
        raise ValueError(
            msg(
                "its box has {n} numbers, and boxes of COCO have four (x, y, width, height): "
                "export upright boxes",
                n=len(numbers),
            )
        )
    x, y, width, height = numbers
    if not np.isfinite([x, y, width, height]).all():
        raise ValueError(msg("its box is not four finite numbers"))
    if width < 0 or height < 0:
        raise ValueError(msg("its box has a negative width or height"))
    return (x, y, x + width, y + height) if width or height else None


def _of_polygons(segmentation: Any) -> tuple[Corners | None, NDArray[np.float64] | None]:
    """Extent of all polygons, and the largest as outline."""
    if not isinstance(segmentation, list) or not segmentation:
        return None, None
    polygons = [_corners_of(part) for part in _rings(segmentation)]
    polygons = [p for p in polygons if len(p) >= 3]
    if not polygons:
        return None, None
    points = np.concatenate(polygons)
    if not np.isfinite(points).all():
        raise ValueError(msg("its outline has a point that is not two finite numbers"))
    low, high = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return (low[0], low[1], high[0], high[1]), max(polygons, key=ring_area)


def _rings(segmentation: list[Any]) -> list[list[Any]]:
    """The polygons of a segmentation: COCO lists them, some programs write a single one bare."""
    if not isinstance(segmentation[0], list):
        return [segmentation]
    pairs = all(isinstance(point, list) and len(point) == 2 for point in segmentation)
    are_points = pairs and not any(isinstance(value, list) for value in segmentation[0])
    return [segmentation] if are_points else segmentation


def _corners_of(ring: list[Any]) -> NDArray[np.float64]:
    """x, y, x, y, … of COCO, or pairs (x, y), as (n, 2)."""
    if len(ring) % 2 and not isinstance(ring[0], list):
        raise ValueError(msg("its outline has an odd number of coordinates"))
    return np.array(ring, dtype=np.float64).reshape(-1, 2)


def _run_lengths(segmentation: dict[str, Any]) -> NDArray[np.bool_]:
    """A run-length mask, plain or compressed."""
    from supervision.detection.utils.converters import rle_to_mask

    height, width = (int(v) for v in segmentation["size"])
    if not 0 < height * width <= MAX_PIXELS or height < 0:
        raise ValueError(
            msg("its mask is for {width} × {height} pixels", width=width, height=height)
        )
    counts = segmentation["counts"]
    if not isinstance(counts, str):
        counts = [int(count) for count in counts]
        if min(counts) < 0 or sum(counts) != width * height:
            raise ValueError(msg("the run lengths of its mask do not add up to its size"))
    return np.asarray(rle_to_mask(counts, (width, height)), dtype=bool)


def _of_mask(mask: NDArray[np.bool_]) -> tuple[int, Corners | None, NDArray[np.float64] | None]:
    """Number of parts, extent and outline of a mask."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        raise ValueError(msg("its mask is empty"))
    areas = stats[1:, cv2.CC_STAT_AREA]
    parts = int((areas >= _SPECK * areas.max()).sum())
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    extent = (float(xs[0]), float(ys[0]), float(xs[-1] + 1), float(ys[-1] + 1))
    return parts, extent, mask_outline(mask)
