"""The count itself: what the detector finds is what stands in the rows, however it went."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from msip_core.boxes import Detection
from msip_core.config import CountConfig
from msip_core.data.micrographs import read_micrograph
from msip_core.detector.prediction import Predictor, one_class_each
from msip_core.detector.sources import load_source_model
from msip_core.errors import DatasetError, NotFoundError, Stopped, WorkError
from msip_core.events import CountedRecord, ProgressRecord
from msip_core.plates import counting, reading
from msip_core.plates.counting import run
from msip_core.plates.folder import check, read, roles
from msip_core.plates.overlays import numbered
from msip_core.questions.sources import SavedModel
from msip_core.workspace import Workspace
from tests.detector.conftest import RunHistory
from tests.drawn import copy_example
from tests.plates.conftest import FILES, IMGSZ, SIDE, Count, picture, write, write_plate


def predicted(lab: Workspace, file: Path, conf: float = 0.25) -> list[Detection]:
    model, _ = load_source_model(lab, SavedModel(model="one"))
    predictor = Predictor(model, imgsz=IMGSZ)
    return one_class_each(predictor(read_micrograph(file).pixels, conf=conf), 0.7)


def test_every_row_is_what_the_model_finds_on_that_file(
    lab: Workspace, count: Count, tmp_path: Path
) -> None:
    source = write_plate(tmp_path / "plate 1")

    counted = read(count(source))

    assert counted.done
    assert len(counted.images) == 4
    for image in counted.images:
        found = predicted(lab, source / image.image)
        rows = [row for row in counted.objects if row.image == image.image]
        assert [row.object for row in rows] == list(range(1, len(found) + 1))
        assert sum(image.counts.values()) == len(found) > 0
        for row, box in zip(rows, found, strict=True):
            assert (row.x1, row.y1, row.x2, row.y2) == pytest.approx(box.xyxy, abs=0.01)
            assert row.score == pytest.approx(box.score, abs=1e-4)
            assert row.class_name == counted.classes[box.cls]
    assert sum(well.total for well in counted.wells) == len(counted.objects)


def test_what_failed_what_is_blank_and_what_has_nothing_are_three_things(
    count: Count, tmp_path: Path
) -> None:
    source = write_plate(tmp_path / "in", ("A01", "A02", "A03", "A04"), 1)
    (source / "A01_f1.png").write_bytes((source / "A01_f1.png").read_bytes()[:300])
    write(source / "A02_f1.png", np.full((SIDE, SIDE), 2, np.uint8))

    counted = read(count(source, conf=0.999))

    states = {image.well: image.state for image in counted.images}
    assert states == {"A01": "failed", "A02": "empty", "A03": "counted", "A04": "counted"}
    failed, blank, nothing = counted.images[:3]
    assert "damaged or cut short" in failed.reason
    assert failed.counts == {}
    assert (blank.blank, "blank" in blank.reason) == (True, True)
    assert (nothing.blank, nothing.reason) == (False, "")
    assert nothing.counts == dict.fromkeys(counted.classes, 0)
    wells = [(w.well, w.fields_counted, w.fields_empty, w.fields_failed) for w in counted.wells]
    assert wells == [("A01", 0, 0, 1), ("A02", 1, 1, 0), ("A03", 1, 0, 0), ("A04", 1, 0, 0)]


@pytest.mark.parametrize("planes", [1, 3])
def test_a_mask_whose_name_tells_nothing_is_not_counted(
    count: Count, tmp_path: Path, planes: int
) -> None:
    source = write_plate(tmp_path / "in", ("A01",), 1)
    numbers = np.zeros((SIDE, SIDE), np.uint16)
    for n in range(4):
        numbers[5:40, 5 + 20 * n : 20 + 20 * n] = n + 1
    stack = np.stack([numbers] * planes)
    tifffile.imwrite(source / "A02_f1.tif", stack, photometric="minisblack", imagej=True)

    counted = read(count(source))

    assert [image.state for image in counted.images] == ["counted", "failed"]
    assert "it is a mask and no micrograph" in counted.images[1].reason


def test_a_source_of_which_nothing_can_be_read_fails_with_the_reason(
    count: Count, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "A01.png").write_bytes(b"no image")

    with pytest.raises(DatasetError, match=r"No image could be read.*A01\.png"):
        count(tmp_path / "in")


def test_micrometres_are_given_where_the_size_of_a_pixel_is_known_and_nowhere_else(
    count: Count, tmp_path: Path
) -> None:
    known = tmp_path / "in" / "A01_f1.tif"
    known.parent.mkdir()
    tifffile.imwrite(
        known, picture()[..., 0], imagej=True, resolution=(0.5, 0.5), metadata={"unit": "um"}
    )
    write(tmp_path / "in" / "A02_f1.png", picture())

    counted = read(count(tmp_path / "in"))
    told = read(count(tmp_path / "in", "other", pixel_size_um=3.0))

    assert [image.um_per_px for image in counted.images] == [pytest.approx(2.0), None]
    assert not counted.um_per_px_known
    assert told.um_per_px_known
    for row in counted.objects:
        if row.well == "A02":
            assert row.area_um2 is row.diameter_um is None
        else:
            width, height = row.x2 - row.x1, row.y2 - row.y1
            assert row.diameter_um == pytest.approx(2 * (width * height) ** 0.5, abs=0.02)
            assert row.area_um2 == pytest.approx(4 * np.pi / 4 * width * height, rel=1e-3)
    assert told.objects[0].diameter_um == pytest.approx(3 * told.objects[0].diameter_px, abs=0.002)


def test_an_object_at_the_border_is_marked(count: Count, tmp_path: Path) -> None:
    counted = read(count(write_plate(tmp_path / "in", ("A01",), 1)))

    for row in counted.objects:
        at = min(row.x1, row.y1) < 1 or max(row.x2, row.y2) > SIDE - 1
        assert row.at_edge == at
    assert {row.at_edge for row in counted.objects} == {True, False}


def test_pictures_side_by_side_have_the_same_objects_as_one_after_the_other(
    lab: Workspace,
) -> None:
    model, _ = load_source_model(lab, SavedModel(model="one"))
    images = [picture(seed)[: 64 if seed % 5 == 4 else SIDE] for seed in range(12)]
    lanes = Predictor(model, imgsz=IMGSZ, together=4)

    found = lanes.several(images, conf=0.1)

    alone = Predictor(model, imgsz=IMGSZ)
    assert found == [alone(image, conf=0.1) for image in images]
    assert lanes.together == 4


def test_a_gpu_s_batch_that_was_cut_is_counted_anew(
    lab: Workspace, count: Count, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_plate(tmp_path / "in", ("A01", "A02"), 3)
    unbroken = count(source, "unbroken")
    monkeypatch.setattr(counting, "_device", lambda _: nullcontext(counting._Device("cpu", 1, 4)))
    with pytest.raises(Stopped):
        count(source, "broken", stop_after=2)  # in the second batch
    file = tmp_path / "broken" / FILES[0]
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:3]))

    broken = count(source, "broken")

    for name in FILES:
        assert (broken / name).read_bytes() == (unbroken / name).read_bytes()


def test_a_picture_that_is_there_twice_is_told_also_behind_a_stop(
    count: Count, tmp_path: Path
) -> None:
    source = write_plate(tmp_path / "in", ("A01", "A02"), 2)
    (source / "B01_f1.png").write_bytes((source / "A01_f2.png").read_bytes())
    for name in ("C01_f1", "C02_f1"):  # dark wells look alike and are no copies
        write(source / f"{name}.png", np.zeros((SIDE, SIDE), np.uint8))
    with pytest.raises(Stopped):
        count(source, stop_after=3)

    counted = read(count(source, conf=0.9999))

    notes = {image.image: image.note for image in counted.images if "same picture" in image.note}
    assert list(notes) == ["B01_f1.png"]
    assert "Shows the same picture as A01_f2.png" in notes["B01_f1.png"]


def test_two_models_count_the_same_pictures(count: Count, tmp_path: Path) -> None:
    run_dir = count(write_plate(tmp_path / "in"), baseline="two")

    assert roles(run_dir) == ("model", "baseline")
    model, baseline = read(run_dir), read(run_dir, "baseline")
    assert [i.image for i in model.images] == [i.image for i in baseline.images]
    assert (model.model, baseline.model) == ("one", "two")
    assert model.objects != baseline.objects
    alone = read(count(tmp_path / "in", "alone", model="two"))
    assert baseline.objects == alone.objects
    with pytest.raises(NotFoundError, match="no baseline"):
        read(tmp_path / "alone", "baseline")


@pytest.mark.parametrize("stop_after", [1, 7, 12])
def test_a_count_that_was_stopped_goes_on_and_ends_as_an_unbroken_one(
    count: Count, tmp_path: Path, stop_after: int
) -> None:
    source = write_plate(tmp_path / "in", ("A01", "A02", "B01"), 4)
    unbroken = count(source, "unbroken")

    with pytest.raises(Stopped):
        count(source, "broken", stop_after=stop_after)
    half = len(read(tmp_path / "broken").images)
    broken = count(source, "broken")

    assert half < 12
    for file in FILES:
        assert (broken / file).read_bytes() == (unbroken / file).read_bytes()
    assert not (broken / "ahead").exists()


def test_what_is_counted_is_not_looked_at_again(count: Count, tmp_path: Path) -> None:
    source = write_plate(tmp_path / "in", ("A01", "A02"), 4)
    with pytest.raises(Stopped):
        count(source, stop_after=4)
    done = [image.image for image in read(tmp_path / "run").images]
    for name in done:
        (source / name).unlink()

    counted = read(count(source))

    assert done
    assert {image.state for image in counted.images} == {"counted"}


def test_the_history_tells_how_far_it_is_and_what_was_found(lab: Workspace, tmp_path: Path) -> None:
    source = write_plate(tmp_path / "in")
    history = RunHistory(lab, tmp_path / "run")
    history.run_dir.mkdir()

    run(CountConfig(source=source, model="one", device="cpu"), history)

    progress = [r for r in history.records if isinstance(r, ProgressRecord)]
    assert [r.done for r in progress] == [0.25, 0.5, 0.75, 1.0]
    assert progress[-1].message == "4 of 4 images"
    assert progress[-1].seconds_left == 0
    (told,) = [r for r in history.records if isinstance(r, CountedRecord)]
    counted = read(history.run_dir)
    assert (told.images, told.failed, told.empty) == (4, 0, 0)
    assert sum(told.counts.values()) == len(counted.objects)


def test_the_closing_check_finds_a_row_that_is_missing(
    lab: Workspace, count: Count, tmp_path: Path
) -> None:
    run_dir = count(write_plate(tmp_path / "in"))
    check(RunHistory(lab, run_dir))

    file = run_dir / "counts/model/images.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))

    with pytest.raises(WorkError, match="3 of 4 images"):
        check(RunHistory(lab, run_dir))


def test_images_of_a_dataset_are_counted_as_training_sees_them(
    lab: Workspace, count: Count
) -> None:
    dataset = copy_example(lab, "d", images=12, size=96)

    counted = read(count(None, dataset="d", part="test"))

    model, _ = load_source_model(lab, SavedModel(model="one"))
    predictor = Predictor(model, imgsz=IMGSZ)
    assert len(counted.images) == len(dataset.split("test"))
    for image in counted.images:
        found = one_class_each(predictor(dataset.pixels(dataset.image(image.image))), 0.7)
        assert sum(image.counts.values()) == len(found)


def test_a_large_field_is_read_in_parts_and_counted_in_tiles(
    count: Count, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = np.tile(picture(1), (2, 3, 1))
    write(tmp_path / "in" / "A01_f1.png", whole)
    monkeypatch.setattr(reading, "LARGE", 1000)  # what the detector's side takes for large

    counted = read(count(tmp_path / "in", tiles=SIDE, tile_overlap=0.0))

    (image,) = counted.images
    assert (image.width, image.height) == (3 * SIDE, 2 * SIDE)
    assert "6 tiles" in image.tiles
    assert len(counted.objects) == sum(image.counts.values()) > 0


def test_numbers_on_the_picture_are_those_of_the_table(
    lab: Workspace, count: Count, tmp_path: Path
) -> None:
    run_dir = count(write_plate(tmp_path / "in", ("A01",), 1))
    counted = read(run_dir)
    (image,) = counted.images
    plain = numbered(lab, run_dir, image, [])

    drawn = numbered(lab, run_dir, image, counted.objects[:1])

    row, factor = counted.objects[0], drawn.shape[0] / SIDE
    changed = np.argwhere((plain != drawn).any(axis=2))
    size = (plain.shape[1], plain.shape[0])
    assert np.array_equal(plain, cv2.resize(picture(1), size, interpolation=cv2.INTER_CUBIC))
    assert row.object == 1
    assert changed[:, 1].max() >= min(row.x2, SIDE - 2) * factor - 4
    with pytest.raises(NotFoundError):
        numbered(lab, run_dir, counted.images[0].__class__(
            plate="", well="", field="", image="gone.png", state="counted"), [])  # fmt: skip
