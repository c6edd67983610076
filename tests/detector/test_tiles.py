"""Large fields: cut where the training's sizes ask for it, in bounded memory, objects once."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from msip_core.boxes import Detection
from msip_core.data import regions
from msip_core.data.micrographs import Micrograph
from msip_core.data.object_sizes import SeenImage
from msip_core.data.regions import field_of, open_field
from msip_core.data.tiling import Tiling, parse_tiles
from msip_core.detector.tiles import TileChoice, look_at, look_at_several
from msip_core.errors import ConfigError, Stopped
from msip_core.models import TrainedSizes

# Images of 450 px with objects of 45 px, seen at 640: 64 px for the network.
TRAINED = TrainedSizes(
    object_px=45, share_low=0.06, share=0.1, share_high=0.2,
    image_low=400, image=450, image_high=500,
)  # fmt: skip
AUTO = TileChoice("auto", None, TRAINED, 640)


class FindsBright:
    """In a predictor's place: boxes of what is brighter than its ground, pieces and all."""

    imgsz, together = 640, 2

    def __init__(self) -> None:
        self.shown: list[tuple[int, ...]] = []

    def __call__(self, image: np.ndarray, **_: float) -> list[Detection]:
        return self.several([image])[0]

    def several(self, images: list[np.ndarray], **_: float) -> list[list[Detection]]:
        found = []
        for image in images:
            self.shown.append(image.shape)
            bright = (image[..., 0] > 128).astype(np.uint8)
            _, _, boxes, _ = cv2.connectedComponentsWithStats(bright, connectivity=4)
            found.append(
                [
                    Detection(cls=0, x1=x, y1=y, x2=x + w, y2=y + h, score=0.5 + a / 1e5, number=n)
                    for n, (x, y, w, h, a) in enumerate(boxes[1:].tolist(), start=1)
                ]
            )
        return found


def drawn(width: int, height: int, seed: int = 0) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """A field with filled ellipses that do not touch, and their boxes."""
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 60, np.uint8)
    boxes = []
    for y in range(60, height - 60, 101):
        for x in range(60, width - 60, 101):
            a, b = (int(v) for v in rng.integers(10, 45, 2))
            cx, cy = x + int(rng.integers(-3, 4)), y + int(rng.integers(-3, 4))
            cv2.ellipse(pixels, (cx, cy), (a, b), 0, 0, 360, (200, 200, 200), -1)
            boxes.append((cx - a, cy - b, cx + a + 1, cy + b + 1))
    return pixels, sorted(boxes)


def corners(found: list[Detection]) -> list[tuple[int, ...]]:
    return sorted(tuple(round(v) for v in d.xyxy) for d in found)


def test_fields_as_in_training_are_shown_whole_and_larger_ones_in_tiles_as_large() -> None:
    assert AUTO.tiling(SeenImage(700, 500, 640)) is None
    tiling = AUTO.tiling(SeenImage(1500, 1125, 640))
    assert tiling is not None
    assert (tiling.side, tiling.overlap) == (450, 113)  # a fifth and a quarter of it
    assert tiling.words(1500, 1125) == (
        "Cut into 20 tiles of 450 px that overlap by 113 px or more, since objects as large as in "
        "training would be 19 px for the network on the whole image, and it learned from 64 px."
    )
    assert AUTO.warning(SeenImage(1500, 1125, 640), tiling, []) is None
    assert TileChoice("never", None, TRAINED, 640).tiling(SeenImage(1500, 1125, 640)) is None


def test_micrometres_decide_where_both_are_known() -> None:
    measured = TileChoice("auto", 0.3, TRAINED.model_copy(update={"pixel_size_um": 1.0}), 640)
    assert measured.tiling(SeenImage(1000, 800, 640, 0.5)) is None  # finer pixels, the same field
    tiling = measured.tiling(SeenImage(450, 450, 640, 2.5))
    assert tiling is not None
    assert (tiling.side, tiling.overlap) == (180, 54)
    assert measured.tiling(SeenImage(450, 450, 640)) is None


def test_another_size_for_the_network_moves_the_border_and_the_tiles() -> None:
    assert AUTO.tiling(SeenImage(1400, 900, 1280)) is None
    tiling = AUTO.tiling(SeenImage(3000, 900, 1280))
    assert tiling is not None
    assert tiling.side == 900


def test_without_knowing_the_trainings_sizes_only_what_is_asked_for_is_cut() -> None:
    unknown = TileChoice("auto", None, None, 640)
    assert unknown.tiling(SeenImage(9000, 9000, 640)) is None
    asked = TileChoice.of("500", 0.25, None, 640)
    assert asked.tiling(SeenImage(9000, 400, 640)) == Tiling(500, 125, "that was asked for")
    assert asked.tiling(SeenImage(500, 400, 640)) is None


@pytest.mark.parametrize("word", ["", "sometimes", "-5", "3", "99999", "1e3", "６４０"])
def test_what_says_no_tiles_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="write auto, never, or the side of a tile"):
        parse_tiles(word)


@pytest.mark.parametrize("overlap", [-0.1, 0.95])
def test_an_overlap_that_is_none_is_refused(overlap: float) -> None:
    with pytest.raises(ConfigError, match=r"overlap by 0 to 0\.9 of their side"):
        TileChoice.of("auto", overlap, None, 640)


def test_known_objects_of_a_large_file_are_found_once_each_with_one_row_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, boxes = drawn(2300, 1700)
    tifffile.imwrite(tmp_path / "field.tif", pixels, rowsperstrip=64, compression="zlib")
    monkeypatch.setattr(regions, "LARGE", 1000)
    predictor, told = FindsBright(), []
    with open_field(tmp_path / "field.tif") as field:
        asked: list[int] = []
        read = field.rows
        monkeypatch.setitem(
            field.__dict__, "rows", lambda a, b: (asked.append(b - a), read(a, b))[1]
        )
        tiling = AUTO.tiling(SeenImage(field.width, field.height, 640))
        assert tiling is not None
        found = look_at(field, tiling, predictor, conf=0.1, iou=0.7, tick=told.append)  # type: ignore[arg-type]

    assert corners(found) == boxes
    assert [d.number for d in found] == list(range(1, len(boxes) + 1))
    assert set(predictor.shown) == {(450, 450, 3)}
    assert max(asked) == 450
    assert told == sorted(told)
    assert told[-1] == 1


def test_the_same_of_images_in_memory_of_which_some_are_shown_whole() -> None:
    large, small = drawn(1300, 900), drawn(450, 400, seed=2)
    images = [small[0], large[0], small[0]]

    found = look_at_several(images, [None] * 3, AUTO, FindsBright(), conf=0.1, iou=0.7)  # type: ignore[arg-type]

    assert [corners(one) for one in found] == [small[1], large[1], small[1]]


def test_cancel_is_possible_between_two_tiles() -> None:
    def stop(done: float) -> None:
        raise Stopped("cancel")

    field, predictor = field_of(Micrograph(drawn(1300, 900)[0], None, 8, None)), FindsBright()
    with pytest.raises(Stopped):
        look_at(field, Tiling(450, 90, ""), predictor, conf=0.1, iou=0.7, tick=stop)  # type: ignore[arg-type]
    assert len(predictor.shown) == 2
