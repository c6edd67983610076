"""Small pictures of one object with a map on it, all cut the same way so that they compare."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from msip_core.borders import Border, lines_of
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


def thumbnail(
    pixels: Pixels, values: NDArray[np.floating], border: Border, box: Box, *, signed: bool = False
) -> Pixels:
    """Heat, or signed contributions of patches, on the cut around the object, with its border.

    Colours are those of the whole map (its own peak); all come in one size, and the border in a
    line that is as thin on all of them.
    """
    window = window_around(box, (pixels.shape[0], pixels.shape[1]))
    draw = pictures.overlay_signed if signed else pictures.overlay_heat
    drawn = draw(
        np.asarray(window.cut(pixels), np.uint8),
        np.asarray(window.cut(values), np.float64),
        peak=float((np.abs(values) if signed else values).max()),
        min_side=1,
    )
    large = np.asarray(
        cv2.resize(drawn, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC), dtype=np.uint8
    ).copy()
    corner = np.array((window.x, window.y), np.float64)
    moved = [line - corner for line in lines_of(border)[0]]
    pictures.draw_lines(large, moved, _SIDE / window.side, 2)
    return large
