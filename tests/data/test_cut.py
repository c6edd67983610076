"""Large fields of a dataset are cut into tiles whose boxes are clipped; the rest stays whole."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from msip_core.boxes import Box
from msip_core.config import PruneConfig, TrainConfig
from msip_core.data import cut as cut_module
from msip_core.data.cut import (
    CutDataset,
    clipped,
    cut,
    open_for_run,
    sizes_learned,
    tilings_of,
)
from msip_core.data.dataset import Dataset
from msip_core.data.tiling import Tile, Tiling
from msip_core.data.writing import delete_dataset
from msip_core.errors import DiskFullError
from msip_core.events import Cost
from msip_core.models import ModelCard, TrainedSizes, write_card
from msip_core.workspace import Workspace, tiles_folder
from tests.data.conftest import Importer

SIDE = 20  # of the organoids in the wide fields


@pytest.fixture
def wide(tmp_path: Path, bring_in: Importer) -> Dataset:
    """Ten fields of 700 x 500 pixels with organoids of 20, of which 12 a field."""
    rng = np.random.default_rng(0)
    (tmp_path / "wide").mkdir()
    for n in range(10):
        pixels = np.full((500, 700), 90 + n, np.uint8)
        lines = []
        for x in (30, 210, 390, 570):
            for y in (20, 190, 360):
                left, top = x + int(rng.integers(90)), y + int(rng.integers(90))
                cv2.rectangle(pixels, (left, top), (left + SIDE - 1, top + SIDE - 1), 200, -1)
                cx, cy = (left + SIDE / 2) / 700, (top + SIDE / 2) / 500
                lines.append(f"0 {cx:.6f} {cy:.6f} {SIDE / 700:.6f} {SIDE / 500:.6f}\n")
        assert cv2.imwrite(str(tmp_path / "wide" / f"f{n}.png"), pixels)
        (tmp_path / "wide" / f"f{n}.txt").write_text("".join(lines))
    return bring_in(tmp_path / "wide")


def train(dataset: Dataset, **more: object) -> TrainConfig:
    return TrainConfig.model_validate(
        {"dataset": dataset.name, "weights": "yolov8n.yaml", "imgsz": 320, "batch": 4, **more}
    )


def test_boxes_are_clipped_and_what_is_hardly_there_is_left_out() -> None:
    boxes = (
        Box(cls=1, x1=110, y1=60, x2=130, y2=80),  # whole
        Box(cls=0, x1=90, y1=40, x2=110, y2=60),  # a quarter
        Box(cls=0, x1=191, y1=60, x2=291, y2=80),  # less than a tenth
        Box(cls=0, x1=300, y1=60, x2=320, y2=80),  # elsewhere
    )
    assert [(b.cls, *b.xyxy) for b in clipped(boxes, Tile(100, 50, 200, 150))] == [
        (1, 10, 10, 30, 30),
        (0, 0, 0, 10, 10),
    ]


def test_a_training_from_nothing_cuts_fields_whose_objects_it_could_hardly_see(
    wide: Dataset, workspace: Workspace
) -> None:
    made = open_for_run(workspace, train(wide))  # 20 px of 700 are 9 px of 320

    assert isinstance(made, CutDataset)
    assert made.words.startswith("10 of 10 images are cut into 60 tiles of 320 px, since objects ")
    assert "would be 9 px for the network" in made.words
    assert len(made.images) == 60
    assert made.content_hash != wide.content_hash
    assert {len(made.tiles_of(record)) for record in wide.images} == {6}
    for record in made.images:
        place = made.places[record.id]
        source = wide.image(place.image)
        assert (record.split, record.group) == (source.split, source.group)
        x1, y1, x2, y2 = place.tile
        assert np.array_equal(made.pixels(record), wide.pixels(source)[y1:y2, x1:x2])
        for box in made.boxes(record):
            where = made.pixels(record)[..., 0]
            middle = where[round((box.y1 + box.y2) / 2), round((box.x1 + box.x2) / 2)]
            assert middle == 200
        assert sum(record.counts.values()) == len(made.boxes(record))
    assert open_for_run(workspace, train(wide)).images == made.images  # not made again
    assert open_for_run(workspace, train(wide, imgsz=640)).content_hash == wide.content_hash
    assert open_for_run(workspace, train(wide, tiles="never")).content_hash == wide.content_hash


def test_every_object_lies_whole_in_some_tile(wide: Dataset, workspace: Workspace) -> None:
    made = open_for_run(workspace, train(wide, tiles=150))
    assert isinstance(made, CutDataset)
    for record in wide.images:
        whole = set()
        for tile in made.tiles_of(record):
            x, y = made.places[tile.id].tile[:2]
            whole |= {
                (round(b.x1 + x), round(b.y1 + y))
                for b in made.boxes(tile)
                if round(b.x2 - b.x1) == round(b.y2 - b.y1) == SIDE
            }
        assert whole == {(round(b.x1), round(b.y1)) for b in wide.boxes(record)}


def test_a_model_that_learned_from_tiles_is_pruned_on_tiles_and_predicts_in_such(
    wide: Dataset, workspace: Workspace
) -> None:
    made = open_for_run(workspace, train(wide))
    sizes = sizes_learned(made)
    assert sizes is not None
    assert (sizes.image, sizes.image_high) == (320, 320)
    card = ModelCard(
        id="m", name="m", kind="baseline", architecture="yolov8n", classes=wide.classes, imgsz=320,
        dataset=wide.name, trained=sizes, cost=Cost(macs=1, params=1, size_mb=1, imgsz=320),
    )  # fmt: skip
    write_card(workspace, card)

    config = PruneConfig(dataset=wide.name, model="m", imgsz=320)
    again = open_for_run(workspace, config)

    assert isinstance(again, CutDataset)
    assert {place.tile.x2 - place.tile.x1 for place in again.places.values()} == {320}
    assert len(again.images) == len(made.images)


def test_images_as_large_as_those_learned_from_stay_whole_beside_cut_ones(
    wide: Dataset, workspace: Workspace
) -> None:
    some = wide.images[0].id
    made = cut(workspace, wide, {some: Tiling(300, 60, "the test cuts it")})

    assert isinstance(made, CutDataset)
    assert len(made.images) == 9 + len(made.tiles_of(wide.image(some)))
    other = wide.images[1]
    assert made.tiles_of(other) == [other]
    assert made.boxes(other) == wide.boxes(other)
    assert np.array_equal(made.pixels(other), wide.pixels(other))


def test_tiles_are_whole_or_not_there_and_go_with_their_dataset(
    wide: Dataset, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    tilings = {wide.images[0].id: Tiling(300, 60, "the test cuts it")}
    place = tiles_folder(workspace, wide.name)
    place.mkdir(parents=True)
    (place / ".half.999999999").mkdir()  # of a process that was killed
    with monkeypatch.context() as full:
        full.setattr(cut_module, "encode_png", raising(OSError(errno.ENOSPC, "full")))
        with pytest.raises(DiskFullError, match="turn tiles off"):
            cut(workspace, wide, tilings)
    assert list(place.iterdir()) == []

    cut(workspace, wide, tilings)
    assert len(list(place.iterdir())) == 1
    delete_dataset(workspace, wide.name)
    assert not place.exists()


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_what_was_learned_decides_by_its_sizes(wide: Dataset) -> None:
    small = TrainedSizes(
        object_px=20, share_low=0.05, share=0.1, share_high=0.2,
        image_low=200, image=200, image_high=200,
    )  # fmt: skip
    assert {t.side for t in tilings_of(wide, 320, (small, 320)).values()} == {200}
    large = small.model_copy(update={"image": 700.0, "image_high": 700.0})
    assert tilings_of(wide, 320, (large, 320)) == {}
    assert tilings_of(wide, 320, (small, 320), "never") == {}


@pytest.mark.parametrize("left", [None, "[{", '{"a": 1}'])
def test_tiles_whose_list_others_damaged_are_made_again(
    wide: Dataset, workspace: Workspace, left: str | None
) -> None:
    first = open_for_run(workspace, train(wide))
    assert isinstance(first, CutDataset)
    path = first.root / "tiles.json"
    path.unlink()
    if left is not None:
        path.write_text(left)
    again = open_for_run(workspace, train(wide))
    assert again.document == first.document
    assert again.pixels(again.images[0]).size
