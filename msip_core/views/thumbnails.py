"""Small pictures of one object with a map on it, all cut the same way so that they compare."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from msip_core.boxes import Box
from msip_core.views import pictures

Pixels = NDArray[np.uint8]
_ROOM = 0.35  # around the object, as a share of its longer side
_SIDE = 240  # pixels of a finished thumbnail: sharp at twice the width it is shown at


class Window(NamedTuple):
    """A square of a micrograph: left, top, and its side, in pixels."""

    x: int
    y: int
    side: int

    def cut(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """This part of a picture or map; what lies beyond the edge is left out."""
        return values[self.y : self.y + self.side, self.x : self.x + self.side]


def window_around(box: Box, shape: tuple[int, int]) -> Window:
    """The square around an object with some room, moved inside the picture (height, width)."""
    height, width = shape
    longer = max(box.x2 - box.x1, box.y2 - box.y1)
    side = min(max(8, round(longer * (1 + 2 * _ROOM))), width, height)
    x = round((box.x1 + box.x2 - side) / 2)
    y = round((box.y1 + box.y2 - side) / 2)
    return Window(min(max(x, 0), width - side), min(max(y, 0), height - side), side)


def heat_thumbnail(
    pixels: Pixels, heat: NDArray[np.floating], outline: NDArray[np.floating], box: Box
) -> Pixels:
    """Heat of the whole map (its own peak) on the cut around the object, with its border."""
    window = window_around(box, (pixels.shape[0], pixels.shape[1]))
    drawn = pictures.overlay_heat(
        np.asarray(window.cut(pixels), np.uint8), np.asarray(window.cut(heat), np.float64),
        peak=float(heat.max()), min_side=1,
    )  # fmt: skip
    return _finished(drawn, outline, window)


def signed_thumbnail(
    pixels: Pixels, values: NDArray[np.floating], outline: NDArray[np.floating], box: Box
) -> Pixels:
    """The same for contributions of patches."""
    window = window_around(box, (pixels.shape[0], pixels.shape[1]))
    drawn = pictures.overlay_signed(
        np.asarray(window.cut(pixels), np.uint8), np.asarray(window.cut(values), np.float64),
        peak=float(np.abs(values).max()), min_side=1,
    )  # fmt: skip
    return _finished(drawn, outline, window)


def _finished(drawn: Pixels, outline: NDArray[np.floating], window: Window) -> Pixels:
    """Brought to one size, then the border in a line that is as thin on all of them."""
    large = np.asarray(
        cv2.resize(drawn, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC), dtype=np.uint8
    ).copy()
    moved = (np.asarray(outline, np.float64) + 0.5 - (window.x, window.y)) * _SIDE / window.side
    line = np.rint(moved).astype(np.int32).reshape(-1, 1, 2)
    for colour, thickness in (((12, 18, 18), 4), ((255, 255, 255), 2)):
        cv2.polylines(large, [line], True, colour, thickness, cv2.LINE_AA)
    return large
