"""Drawing on micrographs: sizes, places, colours, and that the input stays as it was."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from msip_core.boxes import Box, Detection, match_detections
from msip_core.errors import WorkError
from msip_core.views import pictures, style
from tests.views import samples

GREY = np.full((64, 96, 3), 120, np.uint8)
BOX = Box(cls=0, x1=4, y1=4, x2=14, y2=14)


def colour_share(picture: np.ndarray, colour: str) -> float:
    return float((picture == np.array(style.rgb(colour))).all(axis=2).mean())


@pytest.mark.parametrize(("side", "factor"), [(64, 12), (256, 3), (767, 2), (768, 1), (3000, 1)])
def test_small_images_are_enlarged_by_a_whole_factor(side, factor):
    assert pictures.enlargement(np.zeros((side // 2, side, 3), np.uint8)) == factor


def test_a_drawn_picture_is_uint8_rgb_of_the_enlarged_size_and_the_input_stays():
    before = GREY.copy()

    picture = pictures.draw_boxes(GREY, [Box(cls=0, x1=8, y1=8, x2=40, y2=40)], ["crypt"])

    assert picture.dtype == np.uint8
    assert picture.shape == (64 * 8, 96 * 8, 3)
    np.testing.assert_array_equal(GREY, before)


def test_a_box_edge_lies_where_the_box_is():
    picture = pictures.draw_boxes(
        GREY, [Box(cls=0, x1=16, y1=16, x2=80, y2=48)], ["crypt"], labels="none", min_side=96
    )

    edge = np.array(style.rgb(style.class_colour(0)))
    assert (picture[16, 40] == edge).all()  # top
    assert (picture[30, 16] == edge).all()  # left
    assert (picture[48, 40] == edge).all()  # bottom
    assert (picture[30, 50] == 120).all()  # inside


def test_a_box_that_leaves_the_image_is_cut_at_its_edge():
    picture = pictures.draw_boxes(
        GREY, [Box(cls=0, x1=-20, y1=-20, x2=500, y2=500)], ["crypt"], min_side=96
    )

    assert picture.shape == GREY.shape
    assert colour_share(picture, style.class_colour(0)) > 0.01


def test_an_empty_list_of_boxes_leaves_the_pixels():
    np.testing.assert_array_equal(pictures.draw_boxes(GREY, [], [], min_side=96), GREY)


def test_each_side_shows_its_own_kinds_of_pairs():
    image = samples.micrograph()
    baseline, pruned = samples.detections()
    pairs = match_detections(baseline, pruned)

    shown = {
        side: {
            kind
            for kind, colour in style.PAIR_COLOURS.items()
            if colour_share(
                pictures.draw_pairs(image, baseline, pruned, pairs, samples.CLASSES, side=side),
                colour,
            )
            > 0
        }
        for side in ("baseline", "pruned", "together")
    }

    assert shown["baseline"] == {"both", "class changed", "lost"}
    assert shown["pruned"] == {"both", "class changed", "new"}
    assert shown["together"] == set(style.PAIR_KINDS)


def test_lost_and_new_boxes_are_broken_lines():
    image = np.full((200, 200, 3), 120, np.uint8)
    box = Detection(cls=0, x1=20, y1=20, x2=180, y2=180, score=0.9, number=1)

    def edge_share(kind: str, baseline: list, pruned: list) -> float:
        pairs = match_detections(baseline, pruned)
        assert [pair.kind for pair in pairs] == [kind]
        picture = pictures.draw_pairs(
            image, baseline, pruned, pairs, ["crypt"], labels="none", min_side=200
        )
        top = picture[20, 20:180]
        return float((top == np.array(style.rgb(style.PAIR_COLOURS[kind]))).all(axis=1).mean())

    assert edge_share("both", [box], [box]) == 1
    assert 0.4 < edge_share("lost", [box], []) < 0.95
    assert 0.2 < edge_share("new", [], [box]) < 0.9


def test_no_heat_leaves_the_micrograph_and_most_heat_takes_the_brightest_colour():
    heat = np.zeros((64, 96))
    heat[20, 30] = 2.0

    picture = pictures.overlay_heat(GREY, heat, opacity=1.0, min_side=96)

    np.testing.assert_array_equal(picture[40, 60], GREY[40, 60])
    np.testing.assert_array_equal(picture[20, 30], np.rint(pictures.heat_palette()[-1]))


def test_two_pictures_with_one_peak_can_be_compared():
    weak = pictures.overlay_heat(GREY, np.full((64, 96), 0.5), peak=1.0, opacity=1, min_side=96)
    own = pictures.overlay_heat(GREY, np.full((64, 96), 0.5), opacity=1, min_side=96)

    assert not np.array_equal(weak, own)


def test_a_map_without_heat_is_the_plain_micrograph():
    picture = pictures.overlay_heat(GREY, np.zeros((64, 96)), min_side=96)

    np.testing.assert_array_equal(picture, GREY)


def test_what_adds_is_orange_and_what_takes_is_blue():
    values = np.zeros((64, 96))
    values[:, :32], values[:, 64:] = 1.0, -1.0

    picture = pictures.overlay_signed(GREY, values, opacity=1.0, min_side=96)

    assert tuple(picture[10, 10]) == style.rgb(style.ADDS)
    assert tuple(picture[10, 80]) == style.rgb(style.TAKES)
    np.testing.assert_array_equal(picture[10, 48], GREY[10, 48])


@pytest.mark.parametrize("draw", [pictures.overlay_heat, pictures.overlay_signed])
def test_a_map_of_another_size_is_refused(draw):
    with pytest.raises(ValueError, match=r"must be \(64, 96\) like the image, got \(96, 64\)"):
        draw(GREY, np.zeros((96, 64)))


def test_the_border_is_a_line_with_a_broken_line_on_both_sides():
    box = Box(cls=0, x1=20, y1=12, x2=70, y2=52)

    picture = pictures.draw_border(GREY, box, box, 1)  # a band of 4.5 pixels on both sides
    changed = (picture != GREY).any(axis=2)

    assert changed[32, 20]  # the outline
    assert not changed[32, 45]  # the middle
    outside = changed[20:44, 16]  # four pixels left of it, dashes and gaps
    assert 0.2 < outside.mean() < 1
    assert not (GREY != 120).any()  # the input stays


@pytest.mark.parametrize("factor", [1, 4, 9])
def test_the_drawn_line_lies_on_the_scored_border_at_every_enlargement(factor):
    pixels = np.full((64 * factor, 96 * factor, 3), 120, np.uint8)
    box = Box(cls=0, x1=20, y1=12, x2=70, y2=52)
    upright = np.array([(30.5, 10.5), (30.5, 50.5)])  # through the centres of column 30

    for border, centre in ((upright, 30.5), (box, 20.5)):
        drawn = pixels.copy()
        pictures.draw_lines(drawn, border, factor, 1)
        row = drawn[32 * factor].astype(float).mean(axis=1)
        bright = np.flatnonzero(row > 130)
        left = bright[bright < 45 * factor]

        assert (left.mean() + 0.5) / factor == pytest.approx(centre, abs=0.6 / factor)


def test_the_hottest_place_alone_has_the_brightest_colour():
    """A map is drawn by its own maximum, in pages, reports and figures: none of it is clipped."""
    heat = np.zeros((64, 96))
    heat[30:34, 40:56] = np.linspace(0.5, 1, 16)  # 64 of 6144 pixels hold all of it

    picture = pictures.heat_over(GREY, heat, BOX, BOX)
    factor = pictures.enlargement(GREY)
    row = picture[32 * factor, 40 * factor : 56 * factor].astype(int).sum(axis=1)
    steps = row[factor // 2 :: factor][:-1]  # the last one is mixed with the cold beside it

    assert (np.diff(steps)[1:] > 0).all()  # brighter from pixel to pixel, up to the hottest
    brightest = 3 * 0.25 * 120 + 0.75 * pictures.heat_palette()[255].sum()
    assert row.max() == pytest.approx(brightest, rel=0.02)


def test_a_saved_picture_reads_back_in_the_same_colours(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)

    pictures.save_png(tmp_path / "deep" / "overlay.png", picture)

    back = cv2.cvtColor(cv2.imread(str(tmp_path / "deep" / "overlay.png")), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(back, picture)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["overlay.png"]


def test_a_picture_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "imwrite", lambda *_: False)

    with pytest.raises(WorkError, match="could not be written: check the disk"):
        pictures.save_png(tmp_path / "overlay.png", GREY)


def test_a_large_picture_is_shrunk_and_a_small_one_is_not():
    assert pictures.shrink(np.zeros((100, 400, 3), np.uint8), 200).shape == (50, 200, 3)
    assert pictures.shrink(GREY, 200) is GREY


def test_east_asian_class_names_are_drawn_too():
    picture = pictures.draw_boxes(GREY, [Box(cls=0, x1=8, y1=20, x2=60, y2=60)], ["隐窝"])

    assert picture.shape == (512, 768, 3)
