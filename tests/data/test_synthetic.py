"""Drawn organoids: the same from a seed, true to their labels, and told apart by their border."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from msip_core.data.dataset import Dataset
from msip_core.data.synthetic import CLASSES, draw_micrograph, field_name


def solidity(mask: np.ndarray) -> float:
    """Area over the area of the convex hull; 1 for a disc."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = np.concatenate(contours)
    hull = np.zeros(mask.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(points), 1)
    return float(mask.sum() / hull.sum())


def test_a_seed_gives_the_same_image_and_another_seed_another() -> None:
    one, same, other = (draw_micrograph(seed, (96, 128)) for seed in (5, 5, 6))

    assert one.pixels.shape == (96, 128, 3)
    assert (one.pixels == same.pixels).all()
    assert one.boxes == same.boxes
    assert (one.pixels != other.pixels).mean() > 0.5


@pytest.mark.parametrize("size", [(64, 64), (128, 200), (256, 256)])
def test_boxes_are_tight_around_the_masks_and_outlines_follow_them(size: tuple[int, int]) -> None:
    drawn = draw_micrograph(1, size)

    assert len(drawn.boxes) == len(drawn.outlines) == len(drawn.crypts) == len(drawn.masks) > 3
    for box, outline, mask in zip(drawn.boxes, drawn.outlines, drawn.masks):
        ys, xs = mask.nonzero()
        assert box.xyxy == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        filled = np.zeros(size, np.uint8)
        cv2.fillPoly(filled, [np.int32(outline - 0.5)], 1)
        assert (filled & mask).sum() / (filled | mask).sum() > 0.97


def test_crypts_are_known_for_budding_organoids_only_and_lie_inside_them() -> None:
    drawn = draw_micrograph(2, (256, 256), organoids=14)
    crypts = [buds for box, buds in zip(drawn.boxes, drawn.crypts) if CLASSES[box.cls] == "crypt"]

    assert all(crypts)
    for box, buds in zip(drawn.boxes, drawn.crypts):
        assert bool(buds) == (CLASSES[box.cls] == "crypt")
        for bud in buds:
            assert bud.min(axis=0) == pytest.approx(
                np.clip(bud.min(axis=0), (box.x1, box.y1), None)
            )
            assert (bud.max(axis=0) <= (box.x2, box.y2)).all()


def test_the_border_tells_the_classes_apart_and_darkness_does_not() -> None:
    shapes: dict[str, list[float]] = {name: [] for name in CLASSES}
    greys: dict[str, list[float]] = {name: [] for name in CLASSES}
    for seed in range(12):
        drawn = draw_micrograph(seed, (256, 256))
        height, width = drawn.pixels.shape[:2]
        for box, mask in zip(drawn.boxes, drawn.masks):
            if min(box.x1, box.y1) > 0 and box.x2 < width and box.y2 < height:
                shapes[CLASSES[box.cls]].append(solidity(mask))
                level = drawn.pixels[..., 0][mask].mean() / np.median(drawn.pixels)
                greys[CLASSES[box.cls]].append(float(level))

    crypt, smooth = np.array(shapes["crypt"]), np.array(shapes["no_crypt"])
    right = ((crypt[:, None] < smooth).sum() + 0.5 * (crypt[:, None] == smooth).sum()) / (
        len(crypt) * len(smooth)
    )
    dark, pale = np.array(greys["crypt"]), np.array(greys["no_crypt"])
    by_grey = (dark[:, None] < pale).mean()

    assert right > 0.98  # area under the ROC curve of the outline
    assert 0.35 < by_grey < 0.65  # of the mean grey value


def test_number_share_and_size_are_what_was_asked() -> None:
    crowd = draw_micrograph(0, (256, 256), organoids=40, crypt_share=1.0)
    empty = draw_micrograph(0, (100, 60), organoids=0)

    assert 25 <= len(crowd.boxes) <= 40
    assert {box.cls for box in crowd.boxes} == {CLASSES.index("crypt")}
    assert empty.masks.shape == (0, 100, 60)


def test_the_picture_looks_like_a_brightfield_one() -> None:
    levels = [draw_micrograph(seed).pixels for seed in range(6)]

    for pixels in levels:
        assert (pixels[..., 0] == pixels[..., 2]).all()
        assert 60 < np.median(pixels) < 230
        assert pixels.std() > 8
        assert (pixels == 255).mean() < 0.1


def test_a_256_pixel_image_is_drawn_in_a_fraction_of_a_second() -> None:
    draw_micrograph(0)
    start = time.process_time()
    for seed in range(5):
        draw_micrograph(seed)

    assert (time.process_time() - start) / 5 < 0.15


def test_the_example_is_ready_drawn_grouped_by_well_and_knows_its_borders(drawn: Dataset) -> None:
    assert drawn.drawn
    assert drawn.classes == CLASSES
    assert drawn.readiness().ready
    assert "one well were kept together: 4 groups of 2 images." in drawn.report.grouping
    assert drawn.pixel_size_um == pytest.approx(720 / 128)
    assert all(list(record.counts) == sorted(record.counts) for record in drawn.images)
    for record in drawn.images:
        boxes, outlines, crypts = drawn.boxes(record), drawn.contours(record), drawn.crypts(record)
        assert outlines is not None
        assert crypts is not None
        assert len(boxes) == len(outlines) == len(crypts)
        for box, outline, buds in zip(boxes, outlines, crypts):
            assert outline.min(axis=0) == pytest.approx((box.x1 + 0.5, box.y1 + 0.5), abs=0.02)
            assert bool(buds) == (drawn.classes[box.cls] == "crypt")


def test_fields_are_named_by_plate_and_well() -> None:
    assert [field_name(i) for i in (0, 1, 2, 24, 192)] == [
        "plate1_A01_f0",
        "plate1_A01_f1",
        "plate1_A02_f0",
        "plate1_B01_f0",
        "plate2_A01_f0",
    ]
