"""Boxes of augmented pictures: moved with the pixels, cut at the border, left out where too little
is left. The rules are Ultralytics' (Mosaic._cat_labels, RandomPerspective.box_candidates).

On the processor, for a whole batch at once: a few hundred boxes are no work for a GPU, and their
number is known without waiting for one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msip_core.detector.augment import Draws, Placed

_SMALLEST = 2  # pixels that both sides must exceed
_THINNEST = 100  # times longer than wide
_LEAST = 0.1  # of its area that a box must keep
_TINY = 1e-16

Boxes = NDArray[np.float32]


@dataclass(frozen=True)
class Labels:
    """The boxes of all images of a split, one after the other.

    Attributes:
        boxes: (b, 4) corners in pixels of the images as they are kept.
        classes: (b,).
        starts: (images + 1,) where each image's boxes begin.
    """

    boxes: Boxes
    classes: NDArray[np.float32]
    starts: NDArray[np.int64]

    def of(self, images: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of the boxes of these images, and for each row the image's place among them."""
        counts = self.starts[images + 1] - self.starts[images]
        owner = np.repeat(np.arange(len(images)), counts)
        before = np.cumsum(counts) - counts
        rows = np.arange(int(counts.sum())) - before[owner] + self.starts[images][owner]
        return rows, owner


@dataclass(frozen=True)
class Targets:
    """What a picture's detections are compared with; as Ultralytics collates it.

    Attributes:
        boxes: (b, 4) centre and size, as shares of the picture.
        classes: (b, 1).
        picture: (b,) which of the batch.
    """

    boxes: Boxes
    classes: NDArray[np.float32]
    picture: NDArray[np.float32]


def warped_boxes(labels: Labels, draws: Draws, placed: Placed, imgsz: int) -> Targets:
    """The boxes of a batch after all that was drawn."""
    rows, owner = labels.of(placed.image)
    canvas = placed.canvas[owner]
    boxes = labels.boxes[rows] + np.tile(placed.corner[owner], 2).astype(np.float32)
    # Only a mosaic is cut here: its images may reach over the canvas.
    four = draws.mosaic[canvas]
    edge = np.tile(placed.sizes[canvas], 2).astype(np.float32)
    boxes = np.where(four[:, None], np.clip(boxes, 0, edge), boxes)
    there = ~four | (_area(boxes) > 0)
    boxes, canvas, rows = boxes[there], canvas[there], rows[there]

    moved = np.clip(_moved(boxes, placed.maps[canvas]), 0, imgsz).astype(np.float32)
    kept = _candidates(boxes * draws.zooms[canvas, None].astype(np.float32), moved)
    moved, canvas, rows = moved[kept], canvas[kept], rows[kept]

    n = draws.pictures
    owners = np.concatenate((np.arange(n), draws.mixed))
    picture = owners[canvas]
    order = np.argsort(picture, kind="stable")  # a picture's own boxes, then those mixed in
    moved, picture, rows = moved[order], picture[order], rows[order]
    return Targets(
        _shares(_flipped(moved, draws.flips[picture], imgsz), imgsz),
        labels.classes[rows][:, None],
        picture.astype(np.float32),
    )


def _moved(boxes: Boxes, maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """The upright box around each box that was turned."""
    corners = np.ones((len(boxes), 4, 3))
    corners[..., :2] = boxes[:, [0, 1, 2, 3, 0, 3, 2, 1]].reshape(-1, 4, 2)
    corners = np.einsum("nij,nkj->nki", maps[:, :2], corners)
    return np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1)


def _candidates(before: Boxes, after: Boxes) -> NDArray[np.bool_]:
    width, height = after[:, 2] - after[:, 0], after[:, 3] - after[:, 1]
    longer = np.maximum(width / (height + _TINY), height / (width + _TINY))
    left = width * height / (_area(before) + _TINY)
    big: NDArray[np.bool_] = (width > _SMALLEST) & (height > _SMALLEST)
    return big & (left > _LEAST) & (longer < _THINNEST)


def _area(boxes: Boxes) -> Boxes:
    area: Boxes = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return area


def _flipped(boxes: Boxes, flips: NDArray[np.bool_], imgsz: int) -> Boxes:
    swapped = imgsz - boxes[:, [2, 3, 0, 1]]
    return np.where(np.tile(flips, 2), swapped, boxes)


def _shares(boxes: Boxes, imgsz: int) -> Boxes:
    centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    return (np.concatenate((centres, sizes), axis=1) / imgsz).astype(np.float32)
