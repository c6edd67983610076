"""A micrograph with its boxes drawn, class by class, in colours that stay apart for everyone."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from msip_core.boxes import Box, Detection
from msip_core.data.dataset import Dataset
from msip_core.data.manifest import ImageRecord

# Okabe & Ito 2008, without black and the yellow that is lost on bright fields.
COLOURS: tuple[tuple[int, int, int], ...] = (
    (213, 94, 0),
    (0, 114, 178),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
)


def class_colour(index: int) -> tuple[int, int, int]:
    """RGB of class number `index`; colours come again after six classes."""
    return COLOURS[index % len(COLOURS)]


def draw_boxes(
    pixels: NDArray[np.uint8],
    boxes: Sequence[Box],
    classes: Sequence[str],
    *,
    only: Sequence[str] | None = None,
    names: bool = True,
) -> NDArray[np.uint8]:
    """A copy of the image with boxes drawn; a detection shows its number and score too.

    Args:
        pixels: (height, width, 3) RGB; not changed.
        only: draw these classes only; None draws all.
        names: write the class name above each box where there is room for it.
    """
    image = np.ascontiguousarray(pixels).copy()
    side = max(image.shape[:2])
    thickness = max(1, round(side / 500))
    for box in boxes:
        name = classes[box.cls] if box.cls < len(classes) else f"class {box.cls}"
        if only is not None and name not in only:
            continue
        colour = class_colour(box.cls)
        x1, y1, x2, y2 = (round(value) for value in box.xyxy)
        # x2, y2 are exclusive; the line lies on the last pixel inside.
        cv2.rectangle(image, (x1, y1), (x2 - 1, y2 - 1), colour, thickness)
        text = name
        if isinstance(box, Detection):
            text = f"{box.number} {name} {box.score:.2f}"
        if names:
            _write(image, text, (x1, y1), colour, side)
    return image


def _write(
    image: NDArray[np.uint8],
    text: str,
    corner: tuple[int, int],
    colour: tuple[int, int, int],
    side: int,
) -> None:
    """White text on the class colour above a box, or inside it at the upper border."""
    scale = min(0.8, max(0.3, side / 1600))
    (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    x = max(0, min(corner[0], image.shape[1] - width - 2))
    y = corner[1] if corner[1] - height - base >= 0 else corner[1] + height + base
    cv2.rectangle(image, (x, y - height - base), (x + width + 1, y), colour, -1)
    place = (x + 1, y - base // 2 - 1)
    cv2.putText(
        image, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA
    )


def preview(
    dataset: Dataset, record: ImageRecord, *, only: Sequence[str] | None = None, names: bool = True
) -> NDArray[np.uint8]:
    """One image of a dataset with its labelled boxes."""
    return draw_boxes(
        dataset.pixels(record), dataset.boxes(record), dataset.classes, only=only, names=names
    )
