"""What a model counted goes out in every label format with its scores, and comes in again."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from msip_core.boxes import Detection
from msip_core.config import CountConfig, ImportConfig
from msip_core.data.dataset import Dataset
from msip_core.data.export_formats import FORMATS
from msip_core.data.importing import import_dataset
from msip_core.data.micrographs import decode
from msip_core.errors import DatasetError
from msip_core.plates.folder import PLAN_FILE, Facts, ModelFacts, read, write_facts
from msip_core.plates.journal import Journal
from msip_core.plates.label_files import write_labels
from msip_core.plates.making import Found, failed_row, image_row, object_rows
from msip_core.plates.pictures import Read
from msip_core.plates.plan import Item, plan_count
from msip_core.workspace import Workspace, write_json, write_text
from tests.plates.conftest import SIDE, picture, write

CLASSES = ("crypt", "no_crypt")
# Image -> (class, score, corners): one box reaches over the border by part of a pixel.
FOUND = {
    "plate 1/A01_f1.png": [
        (1, 0.9375, (10.0, 5.0, 40.0, 25.5)),
        (0, 0.5, (50.0, 40.0, 80.0, 96.3)),
    ],
    "plate 1/A02_f1.png": [(0, 0.8125, (20.25, 30.5, 60.0, 70.0))],
    "plate 2/A01_f1.png": [],
}


@pytest.fixture
def run_dir(workspace: Workspace, tmp_path: Path) -> Path:
    """A count made by hand: three pictures of which one shows nothing, and one that was broken."""
    source, folder = tmp_path / "plates", workspace.run_dir("count-1")
    for seed, name in enumerate(FOUND):
        write(source / name, picture(seed))
    (source / "plate 2" / "A02_f1.png").write_bytes(b"no picture")
    folder.mkdir(parents=True)
    config = CountConfig(source=source, model="weights.pt", conf=0.3)
    plan = plan_count(workspace, config, folder)
    # Of the first file, as of one with several scenes, a part cannot be read.
    part = Item(name="plate 1/A01_f1.png", problem="its second scene is no picture")
    plan = plan.model_copy(update={"items": (*plan.items, part)})
    write_json(folder / "config.json", config.model_dump(mode="json"))
    write_text(folder / PLAN_FILE, plan.model_dump_json())
    model = ModelFacts(model="weights.pt", name="light", classes=CLASSES, imgsz=64)
    total = len(plan.items)
    write_facts(folder, Facts(source=str(source), wells="", total=total, models={"model": model}))
    journal = Journal(folder, ["model"])
    for item in plan.items:
        journal.append("model", *rows(item))
    journal.commit()
    return folder


def rows(item: Item) -> tuple:
    if item.name not in FOUND or item.problem:
        return failed_row(item, "is no picture"), []
    boxes = [
        Detection(cls=cls, score=score, x1=x1, y1=y1, x2=x2, y2=y2)
        for cls, score, (x1, y1, x2, y2) in FOUND[item.name]
    ]
    seen, found = Read(width=SIDE, height=SIDE), Found(boxes, 0.65, CLASSES)
    return image_row(item, seen, found), object_rows(item, seen, found)


def content(dataset: Dataset) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    """Pixels of an image -> its objects, sorted."""
    return {
        dataset.pixels(record).tobytes().hex(): sorted(
            (dataset.classes[box.cls], tuple(round(v, 1) for v in box.xyxy))
            for box in dataset.boxes(record)
        )
        for record in dataset.images
    }


@pytest.mark.parametrize("form", FORMATS)
def test_out_and_in_again_is_the_same(
    form: str, run_dir: Path, workspace: Workspace, tmp_path: Path
) -> None:
    target = tmp_path / "labels.zip"

    written = write_labels(workspace, run_dir, read(run_dir), form, target)

    assert (written.images, written.boxes) == (3, 3)
    with zipfile.ZipFile(target) as archive:
        texts = [archive.read(n).decode() for n in archive.namelist() if n[-4:] != ".png"]
    for score in ("0.9375", "0.8125", "0.5"):
        assert any(score in text for text in texts)
    again = import_dataset(workspace, ImportConfig(source=target, name="again"))
    assert again.pixel_size_um == 0.65
    if form == "label-studio":  # predictions there wait for a person to accept them
        assert (len(again.images), again.report.boxes) == (3, {})
        return
    wanted = {
        picture(seed).tobytes().hex(): sorted(
            (CLASSES[cls], tuple(round(min(v, SIDE), 1) for v in xyxy)) for cls, _, xyxy in objects
        )
        for seed, objects in enumerate(FOUND.values())
    }
    found = content(again)
    assert found.keys() == wanted.keys()
    for pixels, objects in wanted.items():
        assert [name for name, _ in found[pixels]] == [name for name, _ in objects]
        for (_, one), (_, other) in zip(found[pixels], objects, strict=True):
            assert one == pytest.approx(other, abs=0.11)
    assert again.classes == CLASSES
    assert any("the model light predicted them (score 0.3" in n for n in again.report.notes)
    assert {record.group.split("/")[-1] for record in again.images} == {
        "plate 1 well A01", "plate 1 well A02", "plate 2 well A01"
    }  # fmt: skip


def test_without_images_labels_name_the_originals(
    run_dir: Path, workspace: Workspace, tmp_path: Path
) -> None:
    write_labels(workspace, run_dir, read(run_dir), "yolo", tmp_path / "x.zip", with_images=False)

    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        names = set(archive.namelist())
    assert {f"labels/train/{name[:-3]}txt" for name in FOUND} < names
    assert not [name for name in names if name.endswith(".png")]


def test_images_go_out_as_the_model_saw_them_and_one_that_is_gone_is_named(
    run_dir: Path, workspace: Workspace, tmp_path: Path
) -> None:
    write_labels(workspace, run_dir, read(run_dir), "csv", tmp_path / "x.zip")

    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        for seed, name in enumerate(FOUND):
            pixels = decode(archive.read(f"images/train/{name}"), name).pixels
            assert np.array_equal(pixels, picture(seed)[..., 0])  # grey, as drawn
    (tmp_path / "plates" / "plate 1" / "A02_f1.png").unlink()
    with pytest.raises(DatasetError, match=r"plate 1/A02_f1\.png"):
        write_labels(workspace, run_dir, read(run_dir), "csv", tmp_path / "y.zip")
    assert not (tmp_path / "y.zip").exists()
