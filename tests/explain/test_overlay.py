from __future__ import annotations

import cv2
import numpy as np
import pytest

from msip_core.boxes import Box
from msip_core.explain.overlay import enlargement, heat_overlay, save_png, shap_overlay
from tests.explain.toy import micrograph

BOX = Box(cls=0, x1=30, y1=10, x2=90, y2=50)


def test_small_micrographs_are_enlarged_by_a_whole_factor():
    assert enlargement((96, 128)) == 5
    assert enlargement((600, 800)) == 1
    heat = np.random.default_rng(0).random((96, 128)).astype(np.float32)

    drawn = heat_overlay(micrograph(96, 128), heat, BOX)

    assert drawn.shape == (480, 640, 3)
    assert drawn.dtype == np.uint8


def test_hot_places_are_yellow_and_cold_ones_dark_as_viridis_has_them():
    heat = np.zeros((600, 600), np.float32)
    heat[300:400, 300:400] = 1
    grey = np.full((600, 600, 3), 128, np.uint8)

    drawn = heat_overlay(grey, heat, Box(cls=0, x1=10, y1=10, x2=60, y2=60)).astype(int)

    hot, cold = drawn[350, 350], drawn[500, 100]
    assert hot[0] > hot[2] + 60  # yellow: much red and green, little blue
    assert hot[1] > hot[2] + 60
    assert hot.mean() > cold.mean()


def test_box_and_border_band_are_drawn_in_white():
    grey = np.full((600, 600, 3), 60, np.uint8)
    box = Box(cls=0, x1=100, y1=150, x2=400, y2=300)

    drawn = heat_overlay(grey, np.zeros((600, 600), np.float32), box)

    assert (drawn[150, 100:400] == 255).all()  # upper edge of the box
    assert (drawn[150:300, 399] == 255).all()  # right edge
    band = 0.1 * np.sqrt(300 * 150)  # 21 px
    column = drawn[:, 250].min(axis=1)
    white = np.flatnonzero(column == 255)
    assert white.min() == pytest.approx(150 - band, abs=2)
    assert white.max() == pytest.approx(299 + band, abs=2)


def test_patches_that_help_are_orange_and_patches_that_hinder_blue():
    segments = np.zeros((600, 600), np.int32)
    segments[:, 300:] = 1
    grey = np.full((600, 600, 3), 128, np.uint8)

    drawn = shap_overlay(
        grey, np.array([1.0, -1.0]), segments, Box(cls=0, x1=5, y1=5, x2=50, y2=50)
    ).astype(int)

    helps, hinders = drawn[500, 100], drawn[500, 500]
    assert helps[0] > helps[2] + 40
    assert hinders[2] > hinders[0] + 40


@pytest.mark.parametrize("values", [np.zeros(2), np.array([1.0, 1.0])])
def test_flat_values_can_be_drawn(values):
    segments = np.zeros((96, 128), np.int32)
    segments[:, 64:] = 1

    assert shap_overlay(micrograph(96, 128), values, segments, BOX).shape == (480, 640, 3)


def test_a_saved_picture_reads_back_in_the_same_colours(tmp_path):
    picture = micrograph(50, 60)

    save_png(tmp_path / "deep" / "overlay.png", picture)

    back = cv2.cvtColor(cv2.imread(str(tmp_path / "deep" / "overlay.png")), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(back, picture)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["overlay.png"]
