"""A dataset goes out in every label format, and comes in again as it was."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import yaml

from msip_core.boxes import Box, Detection
from msip_core.config import SplitConfig
from msip_core.data.correcting import save_labels
from msip_core.data.dataset import Dataset, open_dataset
from msip_core.data.export import Predictions, export_dataset, exported_names
from msip_core.data.export_formats import FORMATS
from msip_core.data.manifest import ImageRecord
from msip_core.errors import ConfigError, DatasetError
from msip_core.workspace import Workspace
from tests.data.conftest import Importer, write_image, yolo_folder
from tests.data.labelling import left_out

CLASSES = ["crypt", "no", "-crypt, late", '<b>"7" & x</b>', "隐窝"]
# Folders and names that readers, tables, addresses or systems may take for something else.
NAMES = [
    "plate1/A01_f1.png", "plate1/A01_f2.png", "plate1/B02_f1.png", "plate2/A01_f1.png",
    "plate2/B02 f1 #3.png", "plate2/C03+50%.png", "plate2/培养 é.png", "plate2/a&b;c,d.png",
    "plate2/x.png", "plate2/x.jpg", "exp/a/b/1.png", "exp/b/a/1.png",
]  # fmt: skip
AS_TEXT = ("yolo", "coco", "voc")  # formats whose outlines stand beside their boxes


def test_a_picture_that_was_damaged_does_not_go_out(tmp_path: Path, bring_in: Importer) -> None:
    dataset = bring_in(yolo_folder(tmp_path / "in", {"a": "0 0.5 0.5 0.5 0.5\n"}))
    path = dataset.path(dataset.images[0])
    path.write_bytes(bytes(path.stat().st_size))

    with pytest.raises(DatasetError, match=r"a\.png is damaged"):
        export_dataset(dataset, "yolo", tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()


def ring(rng: np.random.Generator, box: list[float]) -> list[list[float]]:
    """A contour that a mask of this box would have."""
    x1, y1, x2, y2 = box
    turn = np.sort(rng.uniform(0, 2 * np.pi, 20))
    points = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    points = (points - points.min(axis=0)) / np.ptp(points, axis=0)
    found: list[list[float]] = (points * [x2 - x1 - 1, y2 - y1 - 1] + [x1 + 0.5, y1 + 0.5]).tolist()
    return found


def source(root: Path, seed: int) -> Path:
    """Drawn boxes of every size on images of several sizes; some with outlines, one empty."""
    rng = np.random.default_rng(seed)
    for number, name in enumerate(NAMES):
        width, height = int(rng.integers(60, 400)), int(rng.integers(60, 400))
        path = root / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (height, width), dtype=np.uint8)
        done, data = cv2.imencode(path.suffix, pixels)
        assert done
        path.write_bytes(data.tobytes())
        lines, outlines = [], []
        for _ in range(0 if number == 3 else int(rng.integers(1, 9))):
            side = rng.uniform(3, 60, 2)
            low = rng.uniform(0, np.array([width, height]) - side)
            box = [*low, *(low + side)]
            centre, size = low + side / 2, np.array([width, height])
            values = [*(centre / size), *(side / size)]
            lines.append(f"{rng.integers(len(CLASSES))} {' '.join(f'{v:.6f}' for v in values)}\n")
            outlines.append(ring(rng, box) if min(side) > 8 and rng.random() < 0.7 else [])
        label = root / "labels" / Path(name).with_suffix(".txt" if name[-3:] == "png" else ".y")
        if label.suffix == ".y":  # x.png and x.jpg share one stem: only one can be labelled
            label = root / "images" / Path(name).with_suffix(".txt")
            path.rename(path.with_name("y.jpg"))
            label = label.with_name("y.txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("".join(lines))
        mask = root / "masks" / Path(name).with_suffix(".json")
        if any(outlines) and name.endswith("png"):
            mask.parent.mkdir(parents=True, exist_ok=True)
            mask.write_text(json.dumps({"outlines": outlines}))
    (root / "data.yaml").write_text(json.dumps({"names": CLASSES, "origin": "drawn by computer"}))
    return root


def content(dataset: Dataset) -> dict[str, list[tuple]]:
    """Pixels of an image (their hash) -> part, pixel size, and its objects, rounded."""
    return {
        record.sha256: (
            record.split,
            record.pixel_size_um or dataset.pixel_size_um,
            [
                (dataset.classes[box.cls], *(round(v, 1) for v in box.xyxy))
                for box in dataset.boxes(record)
            ],
        )
        for record in dataset.images
    }


def outlines(dataset: Dataset) -> dict[str, list[np.ndarray]]:
    return {r.sha256: list(dataset.contours(r) or ()) for r in dataset.images}


@pytest.fixture
def original(bring_in: Importer, tmp_path: Path) -> Dataset:
    return bring_in(source(tmp_path / "in", 0), "out", pixel_size_um=0.65)


@pytest.mark.parametrize("form", FORMATS)
def test_out_and_in_again_is_the_same(
    form: str, original: Dataset, bring_in: Importer, tmp_path: Path
) -> None:
    written = export_dataset(original, form, tmp_path / "x.zip")

    again = bring_in(tmp_path / "x.zip", "again", split=SplitConfig(keep_existing=True))

    assert not left_out(again)
    assert again.report.format.startswith(FORMATS[form].title)
    assert (again.classes, again.drawn) == (original.classes, True)
    assert again.pixel_size_um == 0.65
    first, second = content(original), content(again)
    assert second.keys() == first.keys()
    for key, (split, size, objects) in first.items():
        assert second[key][:2] == (split, size)
        for one, two in zip(objects, second[key][2], strict=True):
            assert one[0] == two[0]
            assert one[1:] == pytest.approx(two[1:], abs=0.11)
    assert written.boxes == sum(len(objects) for *_, objects in first.values())
    assert {r.group.split("/")[-1] for r in again.images} == {
        r.group.split("/")[-1] for r in original.images
    }


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "csv"])
def test_outlines_go_out_and_come_in(
    form: str, original: Dataset, bring_in: Importer, tmp_path: Path
) -> None:
    written = export_dataset(original, form, tmp_path / "x.zip")
    again = outlines(bring_in(tmp_path / "x.zip", "again"))

    known = 0
    for key, first in outlines(original).items():
        second = again[key] or [np.empty((0, 2))] * len(first)
        for one, two in zip(first, second, strict=True):
            assert one.shape == two.shape
            assert np.abs(one - two).max(initial=0) <= 0.011
            known += len(one) > 0
    assert written.outlines == known > 10
    assert written.without_outline == 0


def test_an_outline_that_does_not_fill_its_box_is_left_out_and_counted(
    bring_in: Importer, tmp_path: Path
) -> None:
    root = source(tmp_path / "in", 1)
    path = next(p for p in sorted((root / "masks").rglob("*.json")))
    value = json.loads(path.read_text())
    number = next(i for i, points in enumerate(value["outlines"]) if points)
    points = np.array(value["outlines"][number])
    value["outlines"][number] = (points.mean(0) + 0.9 * (points - points.mean(0))).tolist()
    path.write_text(json.dumps(value))
    dataset = bring_in(root, "out")

    assert export_dataset(dataset, "cvat", tmp_path / "x.zip").without_outline == 1
    assert export_dataset(dataset, "coco", tmp_path / "y.zip").without_outline == 0
    again = bring_in(tmp_path / "x.zip", "again")
    first, second = content(dataset), content(again)
    for key, (*_, objects) in first.items():
        for one, two in zip(objects, second[key][2], strict=True):
            assert one[1:] == pytest.approx(two[1:], abs=0.11)


def test_an_outline_that_was_mended_elsewhere_takes_its_box_along(
    original: Dataset, bring_in: Importer, tmp_path: Path
) -> None:
    export_dataset(original, "cvat", tmp_path / "x.zip")
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        archive.extractall(tmp_path / "y")
    tree = ElementTree.parse(tmp_path / "y" / "annotations.xml")
    polygon = next(tree.iter("polygon"))
    polygon.set("points", "10,10;50,12;48,50;12,48")
    tree.write(tmp_path / "y" / "annotations.xml", encoding="utf-8")

    again = bring_in(tmp_path / "y", "again")

    boxes = [b[1:] for *_, objects in content(again).values() for b in objects]
    assert (10.0, 10.0, 50.0, 50.0) in boxes


@pytest.mark.parametrize("form", FORMATS)
def test_predictions_carry_their_scores_and_are_no_labels(
    form: str, original: Dataset, bring_in: Importer, tmp_path: Path
) -> None:
    found = {
        record.id: [Detection(cls=1, x1=-0.5, y1=5, x2=20, y2=25, score=0.8125)]
        for record in original.images[1:]
    }
    predictions = Predictions(model="yolo-3", conf=0.25, classes=("cyst", "crypt"), found=found)

    export_dataset(original, form, tmp_path / "x.zip", predictions=predictions)

    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        texts = [archive.read(n).decode() for n in archive.namelist() if n[:7] != "images/"]
    assert sum(text.count("0.8125") for text in texts) >= len(found)
    if form == "label-studio":
        return  # predictions there wait for a person to accept them
    again = bring_in(tmp_path / "x.zip", "again")
    assert any(
        note.startswith("These boxes are not labels: the model yolo-3")
        for note in again.report.notes
    )
    boxes = Counter(o for *_, objects in content(again).values() for o in objects)
    assert boxes == {("crypt", 0.0, 5.0, 20.0, 25.0): len(found)}


def test_predictions_of_label_studio_are_not_taken_for_labels(
    original: Dataset, bring_in: Importer, tmp_path: Path
) -> None:
    predictions = Predictions(model="m", conf=0.25, classes=("crypt",), found={})
    export_dataset(original, "label-studio", tmp_path / "x.zip", predictions=predictions)

    again = bring_in(tmp_path / "x.zip", "again")

    assert not again.report.boxes
    assert not again.readiness().ready


def test_yolo_opens_in_ultralytics(original: Dataset, tmp_path: Path) -> None:
    from ultralytics.data.utils import check_det_dataset, img2label_paths

    export_dataset(original, "yolo", tmp_path / "x.zip")
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        archive.extractall(tmp_path / "y")
    config = yaml.safe_load((tmp_path / "y" / "data.yaml").read_text(encoding="utf-8"))
    assert config["names"] == dict(enumerate(original.classes))

    data = check_det_dataset(str(tmp_path / "y" / "data.yaml"), autodownload=False)
    images = [str(p) for p in Path(data["train"]).rglob("*.*")]
    assert len(images) == len(original.split("train"))
    assert all(Path(label).is_file() for label in img2label_paths(images))


def test_labels_alone_name_the_originals(original: Dataset, tmp_path: Path) -> None:
    export_dataset(original, "coco", tmp_path / "x.zip", with_images=False)

    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        names = archive.namelist()
        value = json.loads(archive.read("annotations/instances_train.json"))
    assert not [name for name in names if name.startswith("images/")]
    sources = {Path(record.source).name for record in original.images}
    assert {Path(image["file_name"]).name for image in value["images"]} <= sources


def test_names_are_unique_and_writable_on_every_system() -> None:
    sources = ["a/x.tif", "A/X.png", "a/x.jpg", "train/x.tif", "test-plate3/x.tif", "masks/x.tif",
               'a/q?".png', "a/ .hidden .png", "raw/Thumbs/y.png"]  # fmt: skip
    images = [
        ImageRecord(id=str(i), file=f"images/{i}.png", width=9, height=9, split="val", group="",
                    sha256="", source=name)
        for i, name in enumerate(sources)
    ]  # fmt: skip

    names = list(exported_names(images).values())

    assert names == [
        "images/val/a/x.png", "images/val/A/X-2.png", "images/val/a/x-3.png", "images/val/x.png",
        "images/val/plate3/x.png", "images/val/x-2.png", "images/val/a/q__.png",
        "images/val/a/_hidden.png", "images/val/raw/y.png",
    ]  # fmt: skip


def test_images_without_labels_do_not_go_out_as_background(
    bring_in: Importer, tmp_path: Path
) -> None:
    write_image(tmp_path / "s" / "a.png", 0)

    with pytest.raises(DatasetError, match="no labels to take out"):
        export_dataset(bring_in(tmp_path / "s"), "yolo", tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


@pytest.mark.parametrize("labelled", [True, False])
def test_what_nobody_has_labelled_stays_out(
    labelled: bool, workspace: Workspace, bring_in: Importer, tmp_path: Path
) -> None:
    folder = yolo_folder(tmp_path / "s", {"a": "0 0.5 0.5 0.2 0.2\n"}, ["crypt"])
    write_image(folder / "images" / "b.png", 7)
    if not labelled:
        (folder / "labels" / "a.txt").unlink()
    dataset = bring_in(folder, "d", keep_unlabelled=True)
    if not labelled:
        box = Box(cls=0, x1=24, y1=16, x2=36, y2=24)
        save_labels(workspace, "d", {"a": [box]}, seen=1, who="Ada", classes=["crypt"])
        dataset = open_dataset(workspace, "d")

    written = export_dataset(dataset, "yolo", tmp_path / "x.zip")

    assert (len(dataset.images), written.images) == (2, 1)
    again = bring_in(tmp_path / "x.zip", "again")
    assert [PurePosixPath(image.source).name for image in again.images] == ["a.png"]


@pytest.mark.parametrize("form", FORMATS)
def test_boxes_of_one_pixel_are_not_lost(form: str, bring_in: Importer, tmp_path: Path) -> None:
    write_image(tmp_path / "s" / "a.png", 0, 700, 900)
    lines = [
        f"0 {(x + 0.5) / 900:.6f} {(y + 0.5) / 700:.6f} {1 / 900:.6f} {1 / 700:.6f}\n"
        for x, y in ((0, 3), (899, 699), (450, 1))
    ]
    (tmp_path / "s" / "a.txt").write_text("".join(lines))
    dataset = bring_in(tmp_path / "s")
    assert dataset.report.boxes == {"class_0": 3}

    export_dataset(dataset, form, tmp_path / "x.zip")

    assert bring_in(tmp_path / "x.zip", "again").report.boxes == {"class_0": 3}


def test_a_format_that_is_not_there_is_named(original: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="choose yolo, coco, voc"):
        export_dataset(original, "tfrecord", tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()
