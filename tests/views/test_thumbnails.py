"""Small pictures of one object: the same cut for every step."""

from __future__ import annotations

import numpy as np
import pytest

from msip_core.boxes import Box
from msip_core.views.thumbnails import Window, thumbnail, window_around


def box(x1: float, y1: float, x2: float, y2: float) -> Box:
    return Box(cls=0, x1=x1, y1=y1, x2=x2, y2=y2)


@pytest.mark.parametrize(
    ("object_", "window"),
    [
        (box(40, 40, 60, 50), Window(33, 28, 34)),  # 1.7 times the longer side
        (box(0, 0, 20, 20), Window(0, 0, 34)),  # moved inside at the edge
        (box(85, 80, 99, 99), Window(68, 68, 32)),
        (box(0, 0, 100, 100), Window(0, 0, 100)),  # never larger than the picture
    ],
)
def test_the_cut_is_a_square_with_room_around_the_object(object_, window):
    assert window_around(object_, (100, 100)) == window


def test_heat_is_coloured_by_the_peak_of_the_whole_map():
    pixels = np.full((100, 100, 3), 90, np.uint8)
    heat = np.zeros((100, 100))
    heat[45, 50] = 0.5
    object_ = box(40, 40, 60, 50)
    alone = thumbnail(pixels, heat, object_, object_)
    heat[2, 2] = 50.0  # a hotter place that the cut does not show

    beside = thumbnail(pixels, heat, object_, object_)

    centre = slice(115, 125)
    assert alone.shape == (240, 240, 3)
    assert np.ptp(alone[centre, centre].astype(int)) > 60
    assert np.ptp(beside[centre, centre].astype(int)) < 10


def test_the_border_is_drawn_and_what_adds_is_orange():
    pixels = np.full((100, 100, 3), 90, np.uint8)
    object_ = box(40, 40, 60, 60)
    values = np.full((100, 100), 0.2)

    drawn = thumbnail(pixels, values, object_, object_, signed=True)

    assert (drawn == 255).all(axis=2).any()
    red, _, blue = drawn[120, 120].astype(int)
    assert red > blue + 60
    assert (pixels == 90).all()
