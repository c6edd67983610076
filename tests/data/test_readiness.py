"""Ready is one thing, able to teach another: both are said with the numbers of each part."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

import pytest

from msip_core.boxes import Box, Detection
from msip_core.config import ImageRecipe
from msip_core.data.correcting import restore_version, save_labels
from msip_core.data.dataset import ensure_ready, list_datasets, open_dataset
from msip_core.data.export import Predictions, export_dataset
from msip_core.data.manifest import SPLITS, DatasetDocument, ImageRecord, ImportReport, Problem
from msip_core.data.readiness import (
    PARTS,
    concerns_of,
    is_few,
    objects_of,
    readiness_of,
)
from msip_core.data.synthetic import import_example
from msip_core.errors import DatasetError
from msip_core.workspace import Workspace
from tests.data.conftest import Importer, yolo_folder
from tests.data.labelling import field


def _image(split: Literal["train", "val", "test"], **counts: int) -> ImageRecord:
    return ImageRecord(
        id=f"{split}-{len(counts)}", file="a.png", source="a.png", width=64, height=64,
        split=split, counts=counts, sha256="0" * 64, group="",
    )  # fmt: skip


def _set(**parts: dict[str, int]) -> list[ImageRecord]:
    return [_image(split, **parts[split]) for split in SPLITS if split in parts]


BOTH = ("crypt", "no_crypt")


def test_objects_are_counted_by_class_and_part() -> None:
    images = [*_set(train={"crypt": 3, "no_crypt": 5}, test={"crypt": 1}), _image("train", crypt=4)]

    assert objects_of(images, BOTH) == {
        "crypt": {"train": 7, "val": 0, "test": 1},
        "no_crypt": {"train": 5, "val": 0, "test": 0},
    }


def test_a_set_of_86_crypts_beside_11647_others_cannot_teach() -> None:
    images = _set(
        train={"crypt": 58, "no_crypt": 8200},
        val={"crypt": 8, "no_crypt": 1000},
        test={"crypt": 20, "no_crypt": 2447},
    )

    assert readiness_of(images, BOTH).ready
    rare, learn, check, test = concerns_of(objects_of(images, BOTH))
    assert "135 of class 'no_crypt'" in rare
    assert "58 crypt" in learn
    assert "8 crypt" in check
    assert "20 crypt (at least 25" in test


def test_a_set_with_enough_of_each_has_no_concern() -> None:
    images = _set(**{part: {"crypt": n, "no_crypt": n} for part, n in PARTS.items()})

    assert concerns_of(objects_of(images, BOTH)) == ()
    assert is_few("test", PARTS["test"] - 1)
    assert not is_few("test", PARTS["test"])


def test_a_test_part_without_a_class_is_named_with_its_zero() -> None:
    images = _set(
        train={"crypt": 200, "no_crypt": 200}, val={"crypt": 20, "no_crypt": 20}, test={"crypt": 50}
    )

    (only,) = concerns_of(objects_of(images, BOTH))
    assert only.startswith("Too few boxes for the final test: 0 no_crypt")


def test_one_function_refuses_for_training_pruning_and_studies(workspace: Workspace) -> None:
    dataset = import_example(workspace, "d", images=12, size=64, seed=0)
    assert ensure_ready(dataset) is dataset

    empty = dataset.document.model_copy(update={"images": ()})
    with pytest.raises(DatasetError, match=r"'d' cannot be used yet\. There are no images"):
        ensure_ready(type(dataset)(dataset.root, empty))


# --- new images, and images that lost labels ------------------------------------------


def test_new_images_are_welcome_in_no_part_and_their_next_step_is_counting(
    tmp_path: Path, bring_in: Importer, workspace: Workspace
) -> None:
    for row, well in enumerate(("A01", "A02", "B01", "B02", "C01")):
        for place in range(2):
            field(tmp_path / "s" / f"plate1_{well}_f{place}.png", 10 * row + place)

    dataset = bring_in(tmp_path / "s")

    assert dataset.unlabelled
    assert {record.split for record in dataset.images} == {None}
    assert len({record.group for record in dataset.images}) == 5  # wells are known all the same
    assert dataset.report.background == 0
    assert dataset.concerns() == ()
    assert all(not (dataset.root / "splits" / f"{part}.txt").read_text() for part in SPLITS)
    (summary,) = list_datasets(workspace)
    assert summary.unlabelled
    assert summary.splits == {"train": 0, "val": 0, "test": 0}
    assert "count them with a model" in str(summary.missing)
    with pytest.raises(DatasetError, match="To train on them, label them first"):
        ensure_ready(dataset)


def test_images_that_were_labelled_as_empty_are_not_new_ones(
    tmp_path: Path, bring_in: Importer
) -> None:
    dataset = bring_in(yolo_folder(tmp_path / "s", {"a": "", "b": ""}, ["crypt"]))

    assert not dataset.unlabelled
    assert dataset.report.background == 2
    assert "No image has a box" in str(dataset.readiness().missing)


def test_new_images_are_given_away_as_training_images(tmp_path: Path, bring_in: Importer) -> None:
    field(tmp_path / "s" / "a.png")
    dataset = bring_in(tmp_path / "s")

    box = Detection(cls=0, x1=2, y1=2, x2=20, y2=20, score=0.9)
    found = Predictions(model="m", conf=0.25, classes=("crypt",), found={"a": [box]})
    export_dataset(dataset, "yolo", tmp_path / "out.zip", predictions=found)

    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert "images/train/a.png" in archive.namelist()


def test_an_image_that_lost_some_labels_is_named_first(
    tmp_path: Path, bring_in: Importer, workspace: Workspace
) -> None:
    good = "0 0.5 0.5 0.2 0.2\n"
    labels = {f"good{n}": good for n in range(6)} | {"bad": good + "7 0.2 0.2 0.1 0.1\n"}
    dataset = bring_in(yolo_folder(tmp_path / "s", labels, ["crypt"]))

    assert [problem.file for problem in dataset.report.unsure] == ["images/bad.png"]
    assert dataset.readiness().ready  # it may be trained on, after a look
    assert dataset.concerns()[0].startswith("Look at these first: images/bad.png. Labels were lost")
    assert list_datasets(workspace)[0].concerns == dataset.concerns()


def test_a_box_that_was_clipped_makes_nothing_unsure(tmp_path: Path, bring_in: Importer) -> None:
    labels = {"a": "0 0.95 0.5 0.2 0.2\n", "b": "0 0.5 0.5 0.2 0.2\n"}
    dataset = bring_in(yolo_folder(tmp_path / "s", labels, ["crypt"]))

    assert len(dataset.report.repaired) == 1
    assert dataset.report.unsure == ()
    assert not any("Look at these first" in sentence for sentence in dataset.concerns())


def test_an_image_that_a_person_has_corrected_is_not_unsure_any_more(
    tmp_path: Path, bring_in: Importer, workspace: Workspace
) -> None:
    good = "0 0.5 0.5 0.2 0.2\n"
    labels = {f"good{n}": good for n in range(6)} | {"bad": good + "7 0.2 0.2 0.1 0.1\n"}
    dataset = bring_in(yolo_folder(tmp_path / "s", labels, ["crypt"]))

    box = Box(cls=0, x1=4, y1=4, x2=24, y2=24)
    save_labels(workspace, dataset.name, {"bad": [box]}, seen=1, who="Anna")

    again = open_dataset(workspace, dataset.name)
    assert not any("Look at these first" in sentence for sentence in again.concerns())


def test_new_images_get_their_parts_with_their_first_labels(
    tmp_path: Path, bring_in: Importer, workspace: Workspace
) -> None:
    for number in range(10):
        field(tmp_path / "s" / f"plate1_A{number // 2 + 1:02d}_f{number % 2}.png", number)
    dataset = bring_in(tmp_path / "s")
    box = Box(cls=0, x1=4, y1=4, x2=24, y2=24)

    boxes = {record.id: [box] for record in dataset.images}
    save_labels(workspace, dataset.name, boxes, seen=1, who="Anna", classes=["gland"])

    again = open_dataset(workspace, dataset.name)
    assert not again.unlabelled
    assert again.readiness().ready
    assert {record.split for record in again.images} == set(SPLITS)
    parts = {record.group: set() for record in again.images}
    for record in again.images:
        parts[record.group].add(record.split)
    assert all(len(sides) == 1 for sides in parts.values())  # a well lies on one side
    more = {again.images[0].id: [box, Box(cls=0, x1=40, y1=40, x2=60, y2=60)]}
    save_labels(workspace, dataset.name, more, seen=2, who="Anna")
    later = open_dataset(workspace, dataset.name)
    assert [r.split for r in later.images] == [r.split for r in again.images]


def test_images_whose_labels_were_taken_back_are_new_images_again_not_none(
    tmp_path: Path, bring_in: Importer, workspace: Workspace
) -> None:
    for number in range(2):
        field(tmp_path / "s" / f"plate1_A0{number + 1}_f0.png", number)
    dataset = bring_in(tmp_path / "s")
    box = Box(cls=0, x1=4, y1=4, x2=24, y2=24)
    first = {dataset.images[0].id: [box]}
    save_labels(workspace, dataset.name, first, seen=1, who="Anna", classes=["gland"])

    restore_version(workspace, dataset.name, 1, who="Anna")

    again = open_dataset(workspace, dataset.name)
    assert again.unlabelled
    assert "label them first" in (again.readiness().missing or "")
    (listed,) = list_datasets(workspace)
    assert listed.unlabelled


def _document(report: ImportReport) -> DatasetDocument:
    return DatasetDocument(
        name="d", classes=("crypt",), recipe=ImageRecipe(), pixel_size_um=None, images=(),
        report=report, content_hash="", created="",
    )  # fmt: skip


def test_of_many_unsure_images_the_first_five_are_named() -> None:
    lost = tuple(Problem(file=f"{n}.png", what="label line 2 left out") for n in range(8))
    (sentence,) = _document(ImportReport(unsure=(*lost, lost[0]))).doubts()
    assert "first: 0.png, 1.png, 2.png, 3.png, 4.png and 3 more. " in sentence
