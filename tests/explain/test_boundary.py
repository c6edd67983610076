from __future__ import annotations

import numpy as np
import pytest

from msip_core.borders import band_width, boundary_band
from msip_core.boxes import Box
from msip_core.data.synthetic import draw_micrograph
from msip_core.errors import InputError
from msip_core.explain.boundary import boundary_scores, concentration

WIDE = Box(cls=0, x1=40, y1=20, x2=140, y2=60)  # 100 wide, 40 high, in 200 x 100


def at(x: int, y: int, shape: tuple[int, int] = (100, 200)) -> np.ndarray:
    """All energy on one pixel, given as x, y."""
    heat = np.zeros(shape)
    heat[y, x] = 5.0
    return heat


def test_a_uniform_map_has_its_area_share_in_the_band_and_no_enrichment():
    found = boundary_scores(np.full((100, 200), 0.3), WIDE)

    band = boundary_band((100, 200), WIDE, band_width(WIDE))
    assert found.ber == pytest.approx(band.mean())
    assert found.enrichment == pytest.approx(1)
    assert found.energy_in_box == pytest.approx(100 * 40 / (100 * 200))
    assert found.contour == "box"


@pytest.mark.parametrize(("x", "y"), [(40, 20), (139, 59), (40, 40), (100, 59)])
def test_all_energy_on_a_contour_pixel_is_all_in_the_band(x, y):
    found = boundary_scores(at(x, y), WIDE)

    assert found.ber == 1
    assert found.enrichment > 1
    assert found.energy_in_box == 1
    assert found.hit is True


def test_energy_in_the_middle_or_far_away_is_not_on_the_border():
    inside, outside = boundary_scores(at(90, 40), WIDE), boundary_scores(at(190, 90), WIDE)

    assert (inside.ber, inside.enrichment, inside.energy_in_box) == (0, 0, 1)
    assert (outside.ber, outside.energy_in_box, outside.hit) == (0, 0, False)


def test_the_band_is_a_tenth_of_the_size_but_at_least_two_pixels():
    assert band_width(WIDE) == pytest.approx(0.1 * np.sqrt(100 * 40))  # 6.32
    assert band_width(Box(cls=0, x1=0, y1=0, x2=4, y2=4)) == 2
    column = boundary_band((100, 200), WIDE, 3.0)[40]  # a row through both upright edges
    assert np.flatnonzero(column).tolist() == [*range(37, 44), *range(136, 143)]


def test_x_comes_before_y_in_contours_and_boxes():
    # An upright and a flat needle: swapping the axes would exchange them.
    upright = np.array([(30.5, 10.5), (30.5, 90.5)])
    band = boundary_band((100, 200), upright, 2.0)
    assert band[50, 30]
    assert not band[30, 50]
    assert boundary_band((100, 200), np.array([(150.5, 50.5), (190.5, 50.5)]), 2.0)[50, 170]

    assert boundary_scores(at(130, 30), WIDE).energy_in_box == 1
    assert boundary_scores(at(30, 90), WIDE).energy_in_box == 0  # (y, x) of a place inside
    outline = np.array([(40, 20), (140, 20), (140, 60), (40, 60)], float)
    assert boundary_scores(at(130, 30), outline).energy_in_box == 1
    assert boundary_scores(at(139, 30), outline).ber == 1


def test_the_outline_of_a_mask_is_taken_where_there_is_one():
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    circle = np.stack((100 + 30 * np.cos(angle), 50 + 30 * np.sin(angle)), axis=1)
    box = Box(cls=0, x1=70, y1=20, x2=130, y2=80)
    on_circle = at(100 + 21, 50 + 21)  # on the circle at 45 degrees, well inside the box's edge

    by_mask, by_box = boundary_scores(on_circle, circle, box), boundary_scores(on_circle, box)

    assert (by_mask.contour, by_mask.ber) == ("mask", 1)
    assert (by_box.contour, by_box.ber) == ("box", 0)
    assert by_mask.band_px == by_box.band_px == 6
    reach = np.hypot(*(np.mgrid[:100, :200] + 0.5 - np.array([50, 100])[:, None, None]))
    band = boundary_band((100, 200), circle, 6.0)
    assert band[np.abs(reach - 30) < 5].all()
    assert not band[np.abs(reach - 30) > 7].any()


def test_drawn_micrographs_are_scored_on_their_true_outlines_and_crypts():
    drawn = next(
        d for d in (draw_micrograph(seed, (160, 160)) for seed in range(30)) if any(d.crypts)
    )
    number = next(i for i, buds in enumerate(drawn.crypts) if buds)
    box, outline, crypts = drawn.boxes[number], drawn.outlines[number], drawn.crypts[number]
    mask = drawn.masks[number]
    core = np.zeros(mask.shape)
    core[1:-1, 1:-1] = mask[1:-1, 1:-1] & ~(
        mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    )  # the outermost pixels of the mask: its border

    on_border = boundary_scores(core, outline, box)
    on_crypt = boundary_scores(boundary_band((160, 160), crypts, 1.0).astype(float), crypts, box)

    assert on_border.contour == "mask"
    assert on_border.ber == pytest.approx(1, abs=0.01)
    assert on_border.energy_in_box == pytest.approx(1)
    assert on_border.hit
    assert on_crypt.ber == pytest.approx(1)
    assert boundary_scores(mask.astype(float), outline, box).ber < 0.9


def test_the_pointing_game_forgives_fifteen_pixels():
    assert boundary_scores(at(139 + 15, 40), WIDE).hit is True
    assert boundary_scores(at(139 + 16, 40), WIDE).hit is False
    assert boundary_scores(at(40 - 10, 20 - 10), WIDE).hit is True  # 13.4 px off the corner
    assert boundary_scores(at(40 - 13, 20 - 13), WIDE).hit is False  # 17.7 px


def test_a_map_without_energy_has_no_scores():
    found = boundary_scores(np.zeros((100, 200)), WIDE)

    assert (found.ber, found.enrichment, found.energy_in_box, found.hit) == (None,) * 4


def test_scores_do_not_depend_on_the_scale_of_the_map():
    heat = np.random.default_rng(0).random((100, 200))

    one, other = boundary_scores(heat, WIDE), boundary_scores(1e-9 * heat, WIDE)

    assert other.ber == pytest.approx(one.ber)
    assert other.enrichment == pytest.approx(one.enrichment)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_a_map_that_is_no_energy_is_refused(bad):
    heat = np.ones((10, 10))
    heat[3, 3] = bad
    with pytest.raises(InputError, match="finite numbers, none below zero"):
        boundary_scores(heat, Box(cls=0, x1=2, y1=2, x2=8, y2=8))


def test_an_outline_outside_the_picture_is_refused():
    with pytest.raises(InputError, match="outside the picture"):
        boundary_scores(np.ones((50, 50)), Box(cls=0, x1=200, y1=200, x2=220, y2=220))
    with pytest.raises(InputError, match="list of points"):
        boundary_scores(np.ones((50, 50)), np.zeros((0, 2)))


def test_equal_contributions_give_a_tenth_and_a_single_one_gives_all():
    assert concentration(np.full(100, 0.7)) == pytest.approx(0.1)
    assert concentration(np.full(30, -1.0)) == pytest.approx(0.1)  # 3 of 30
    assert concentration(np.full(25, 1.0)) == pytest.approx(3 / 25)  # ceil(2.5)
    assert concentration(np.eye(100)[3]) == 1


def test_signs_count_by_size_in_the_concentration():
    values = np.zeros(20)
    values[:4] = (-5, 4, -3, 2)

    assert concentration(values) == pytest.approx(9 / 14)  # the two largest of 20


def test_the_concentration_of_nothing_is_undefined():
    assert concentration(np.zeros(100)) is None
