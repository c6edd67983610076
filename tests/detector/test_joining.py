"""Objects across the seams of tiles are counted once, and two objects stay two."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from sahi.postprocess.combine import GreedyNMMPostprocess
from sahi.prediction import ObjectPrediction

from msip_core.data.tiling import Tile, Tiling
from msip_core.detector.joining import Found, as_rows, detections, from_tiles, joined

TILING = Tiling(100, 30, "the test cuts them")
WIDTH, HEIGHT = 310, 240


def seen_by_tiles(objects: list[tuple[float, ...]], **more: float) -> np.ndarray:
    """What a perfect detector finds on tiles of known objects (x1, y1, x2, y2, class), joined.

    It boxes of each object what lies in the tile, and sees pieces a little worse than whole ones.
    """
    tiles = [tile for row in TILING.rows(WIDTH, HEIGHT) for tile in row]
    found = []
    for tile in tiles:
        rows = []
        for x1, y1, x2, y2, cls in objects:
            box = (max(x1, tile.x1), max(y1, tile.y1), min(x2, tile.x2), min(y2, tile.y2))
            w, h = box[2] - box[0], box[3] - box[1]
            share = max(0, w) * max(0, h) / ((x2 - x1) * (y2 - y1))
            if w >= 4 and h >= 4 and share > more.get("least", 0.1):
                score = 0.5 + 0.4 * share
                moved = (np.array(box) - np.tile(tile[:2], 2)).tolist()
                rows.append((*moved, score, cls))
        found.append(np.array(rows))
    return joined(from_tiles(tiles, found, WIDTH, HEIGHT, 100))


def boxes(rows: np.ndarray) -> list[tuple[float, ...]]:
    return sorted(tuple(row) for row in np.delete(rows, 4, axis=1).round(3).tolist())


def test_tiles_cover_the_image_overlap_as_asked_and_are_evenly_spread() -> None:
    for width, height in ((310, 240), (101, 100), (1999, 350), (100, 100), (60, 250)):
        rows = TILING.rows(width, height)
        assert rows[0][0][:2] == (0, 0)
        assert rows[-1][-1][2:] == (width, height)
        for row in rows:
            for left, right in pairwise(row):
                assert left.x2 - right.x1 >= 30
        for upper, lower in pairwise(rows):
            assert upper[0].y2 - lower[0].y1 >= 30
        assert {t.x2 - t.x1 for row in rows for t in row} == {min(100, width)}
        assert {t.y2 - t.y1 for row in rows for t in row} == {min(100, height)}


@pytest.mark.parametrize("seed", range(8))
def test_objects_anywhere_also_across_seams_and_corners_are_counted_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells = [(x, y) for x in range(0, 280, 31) for y in range(0, 210, 31)]
    objects = []
    for x, y in cells:  # one in every cell of a grid that has nothing to do with the tiles
        w, h = rng.uniform(12, 28, 2)
        objects.append((x + 1.0, y + 1.0, x + 1 + w, y + 1 + h, float(rng.integers(2))))

    assert boxes(seen_by_tiles(objects)) == sorted(tuple(np.round(o, 3).tolist()) for o in objects)


def test_an_object_larger_than_the_overlap_is_put_together_from_its_pieces() -> None:
    assert boxes(seen_by_tiles([(40.0, 20.0, 120.0, 60.0, 0.0)])) == [(40, 20, 120, 60, 0)]
    wide = seen_by_tiles([(40.0, 20.0, 200.0, 60.0, 0.0)])  # no tile holds it
    assert boxes(wide) == [(40, 20, 200, 60, 0)]


def test_two_objects_that_touch_on_a_seam_stay_two() -> None:
    starts = sorted({tile.x1 for row in TILING.rows(WIDTH, HEIGHT) for tile in row})
    seam = starts[1] + 15.0
    two = [(seam - 25, 30.0, seam, 60.0, 0.0), (seam, 30.0, seam + 25, 60.0, 0.0)]
    assert boxes(seen_by_tiles(two)) == sorted(two)
    overlapping = [(seam - 25, 30.0, seam + 6, 60.0, 0.0), (seam - 6, 30.0, seam + 25, 60.0, 0.0)]
    assert boxes(seen_by_tiles(overlapping)) == sorted(overlapping)


def test_a_small_object_in_the_corner_of_a_large_ones_box_stays() -> None:
    starts = sorted({tile.x1 for row in TILING.rows(WIDTH, HEIGHT) for tile in row})
    x = starts[1] + 2.0
    both = [(x, 30.0, x + 26, 56.0, 0.0), (x + 19, 49.0, x + 25, 55.0, 0.0)]
    assert boxes(seen_by_tiles(both)) == sorted(both)


def test_objects_of_two_classes_are_never_joined() -> None:
    both = [(60.0, 30.0, 90.0, 60.0, 0.0), (61.0, 30.0, 91.0, 60.0, 1.0)]
    assert boxes(seen_by_tiles(both)) == sorted(both)


def test_a_faint_box_that_holds_a_good_one_does_not_make_it_larger() -> None:
    rows = np.array([(10.0, 10, 30, 30, 0.9, 0), (8.0, 8, 34, 33, 0.02, 0)])
    found = Found(rows, np.array([0, 1]), np.array([False, False]))
    assert joined(found).tolist() == rows[:1].tolist()


@pytest.mark.parametrize("seed", range(5))
def test_where_every_box_is_a_piece_of_a_tile_of_its_own_the_rule_is_sahis(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corner, sides = rng.uniform(0, 180, (150, 2)), rng.uniform(8, 45, (150, 2))
    rows = np.column_stack(
        (corner, corner + sides, rng.permutation(150) / 150 + 0.001, rng.integers(0, 2, 150))
    )
    theirs = GreedyNMMPostprocess(0.5, "IOS", class_agnostic=False)(
        [
            ObjectPrediction(
                bbox=row[:4].tolist(),
                score=float(row[4]),
                category_id=int(row[5]),
                category_name=str(row[5]),
                full_shape=[240, 240],
            )
            for row in rows
        ]
    )
    expected = [[*o.bbox.to_xyxy(), o.score.value, o.category.id] for o in theirs]

    ours = joined(Found(rows, np.arange(150), np.ones(150, bool)))

    assert len(ours) < 120
    np.testing.assert_allclose(ours, sorted(expected, key=lambda row: -row[4]), rtol=0, atol=1e-4)


def test_nothing_found_is_nothing() -> None:
    tiles = [Tile(0, 0, 100, 100), Tile(70, 0, 170, 100)]
    none = joined(from_tiles(tiles, [np.empty((0, 6))] * 2, 170, 100, 64))
    assert none.shape == (0, 6)
    assert detections(none) == []


def test_detections_are_numbered_from_the_best_and_come_back_as_rows() -> None:
    rows = np.array([(1.0, 2, 3, 4, 0.9, 1), (5.0, 6, 7, 8, 0.3, 0)])
    found = detections(rows)
    assert [(d.number, d.cls, d.score) for d in found] == [(1, 1, 0.9), (2, 0, 0.3)]
    assert as_rows(found).tolist() == rows.tolist()
