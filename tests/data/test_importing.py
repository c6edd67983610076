"""A folder becomes a dataset whole, or not at all, and the report names every loss."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from msip_core.config import ImageRecipe, ImportConfig, SplitConfig
from msip_core.data.dataset import list_datasets, open_dataset
from msip_core.data.importing import import_dataset
from msip_core.data.micrographs import read_micrograph
from msip_core.data.questions import Import, Inspect
from msip_core.data.writing import delete_dataset
from msip_core.errors import (
    DatasetError,
    DiskFullError,
    InputError,
    NotFoundError,
    Stopped,
)
from msip_core.questions.base import Job
from msip_core.workspace import Workspace
from tests.data.conftest import Importer, grey, write_image, yolo_folder

BOX = "0 0.5 0.5 0.2 0.2\n"


def test_8_bit_originals_are_copied_byte_for_byte(tmp_path: Path, bring_in: Importer) -> None:
    root = tmp_path / "s"
    for i, suffix in enumerate((".png", ".jpg", ".bmp")):
        write_image(root / f"im{i}{suffix}", i)
        (root / f"im{i}.txt").write_text(BOX)

    dataset = bring_in(root)

    for record in dataset.images:
        stored, source = dataset.path(record).read_bytes(), (root / record.source).read_bytes()
        assert stored == source
        assert record.sha256 == hashlib.sha256(source).hexdigest()


def test_deep_images_are_scaled_by_two_values_that_the_dataset_remembers(
    tmp_path: Path, bring_in: Importer
) -> None:
    root = tmp_path / "s"
    root.mkdir()
    dark = np.arange(100, 2500, dtype=np.uint16).reshape(40, 60)
    for name, image in (("dark", dark), ("bright", dark + 2400)):
        cv2.imwrite(str(root / f"{name}.tif"), image)
        (root / f"{name}.txt").write_text(BOX)

    dataset = bring_in(root, recipe=ImageRecipe(low_percentile=0, high_percentile=100))
    pixels = {record.id: dataset.pixels(record) for record in dataset.images}

    assert (dataset.recipe.low_value, dataset.recipe.high_value) == (100, 4899)
    assert pixels["dark"].max() == round(255 * (2499 - 100) / 4799)
    assert pixels["bright"].max() == 255
    assert all(record.file.endswith(".png") for record in dataset.images)
    assert dataset.report.depths == {"12": 1, "14": 1}
    # A new image of the same microscope is scaled in the same way.
    again = read_micrograph(root / "dark.tif", dataset.recipe).pixels
    assert (again == pixels["dark"]).all()


def test_images_of_several_depths_are_scaled_one_by_one_and_the_report_says_so(
    tmp_path: Path, bring_in: Importer
) -> None:
    root = yolo_folder(tmp_path / "s", {"a": BOX, "b": BOX}, ["crypt"])
    cv2.imwrite(str(root / "images" / "b.png"), grey(1).astype(np.uint16) * 16)

    dataset = bring_in(root, recipe=ImageRecipe(normalise=True))

    assert dataset.recipe.scope == "image"
    assert any("several depths" in note for note in dataset.report.notes)


def test_enhanced_images_are_stored_as_png(tmp_path: Path, bring_in: Importer) -> None:
    write_image(tmp_path / "s" / "a.jpg", 0)
    (tmp_path / "s" / "a.txt").write_text(BOX)

    dataset = bring_in(tmp_path / "s", recipe=ImageRecipe(clahe=True))
    (record,) = dataset.images

    assert record.file == "images/a.png"
    expected = read_micrograph(tmp_path / "s" / "a.jpg", dataset.recipe).pixels
    assert (dataset.pixels(record) == expected).all()


def test_boxes_that_reach_outside_are_clipped_and_impossible_ones_left_out(
    tmp_path: Path, bring_in: Importer
) -> None:
    text = (
        "0 0.0 0.5 0.4 0.5\n"  # half outside: clipped
        "0 1.5 1.5 0.2 0.2\n"  # wholly outside
        "0 0.5 0.5 0.001 0.2\n"  # thinner than a pixel
        "0 0.7 0.5 0.2 0.2\n0 0.7 0.5 0.2 0.2\n"  # twice
        "0 0.9000001 0.5 0.2 0.2\n"  # rounding: no repair
    )
    dataset = bring_in(yolo_folder(tmp_path / "s", {"a": text}, ["crypt"]))
    (record,) = dataset.images

    assert [b.xyxy for b in dataset.boxes(record)] == [
        pytest.approx((0, 10, 12, 30), abs=1e-3),
        pytest.approx((36, 16, 48, 24), abs=1e-3),
        pytest.approx((48, 16, 60, 24), abs=1e-3),
    ]
    words = [p.what.split("24: ")[-1].split(" 30 ")[-1] for p in dataset.report.repaired]
    assert words[0] == "reaches outside the image: clipped"
    assert "lies outside the image: left out" in dataset.report.repaired[1].what
    assert "smaller than a pixel: left out" in dataset.report.repaired[2].what
    assert "occurs twice: left out once" in dataset.report.repaired[3].what


def test_duplicates_are_found_by_their_pixels_and_named(tmp_path: Path, bring_in: Importer) -> None:
    root = yolo_folder(tmp_path / "s", {"a": BOX, "b": BOX, "c": BOX}, ["crypt"])
    shutil.copy(root / "images" / "a.png", root / "images" / "b.png")
    cv2.imwrite(str(root / "images" / "c.png"), grey(0), [cv2.IMWRITE_PNG_COMPRESSION, 0])

    report = bring_in(root).report

    assert report.kept == 1
    assert [(p.file, p.what) for p in report.skipped] == [
        ("images/b.png", "the same image as images/a.png, which was kept"),
        ("images/c.png", "the same image as images/a.png, which was kept"),
    ]


def test_unreadable_files_are_named_and_the_others_go_on(
    tmp_path: Path, bring_in: Importer
) -> None:
    root = yolo_folder(tmp_path / "s", {"a": BOX, "bad": BOX}, ["crypt"])
    (root / "images" / "bad.png").write_bytes(b"not an image")
    (root / "stack.czi").write_bytes(b"ZISRAWFILE")

    report = bring_in(root).report

    assert (report.found, report.kept) == (2, 1)
    assert [p.file for p in report.skipped] == ["stack.czi", "images/bad.png"]
    assert report.headline() == "1 of 2 images (1 crypt); 2 left out."


def test_classes_are_mapped_joined_and_dropped(tmp_path: Path, bring_in: Importer) -> None:
    lines = "".join(f"{i} 0.{i + 2} 0.5 0.1 0.2\n" for i in range(5))
    names = ["cyst", "early", "late", "spheroid", "dirt"]
    root = yolo_folder(tmp_path / "s", {"a": lines}, names)
    mapping = {"cyst": "no_crypt", "spheroid": "no_crypt", "early": "crypt", "late": "crypt"}

    dataset = bring_in(root, class_map={**mapping, "dirt": None})

    assert dataset.classes == ("no_crypt", "crypt")
    assert [box.cls for box in dataset.boxes(dataset.images[0])] == [0, 1, 1, 0]
    assert dataset.report.boxes == {"no_crypt": 2, "crypt": 2}
    assert "Boxes of class 'dirt' dropped, as asked: 1." in dataset.report.notes


def test_classes_without_a_box_are_left_out_and_the_rest_renumbered(
    tmp_path: Path, bring_in: Importer
) -> None:
    root = yolo_folder(tmp_path / "s", {"a": "2 0.5 0.5 0.2 0.2\n"}, ["x", "y", "z"])

    dataset = bring_in(root)

    assert dataset.classes == ("z",)
    assert dataset.boxes(dataset.images[0])[0].cls == 0
    assert "Classes without any box were left out: x, y." in dataset.report.notes


def test_a_class_map_with_a_typing_error_is_refused_at_once(
    tmp_path: Path, bring_in: Importer
) -> None:
    root = yolo_folder(tmp_path / "s", {"a": BOX}, ["crypt"])

    write_image(tmp_path / "bare" / "a.png", 0)
    with pytest.raises(DatasetError, match=r"bare has the classes \(none\)"):
        bring_in(tmp_path / "bare", class_map={"crypt": "x"})
    with pytest.raises(DatasetError, match=r"names crpyt, but s has the classes crypt"):
        bring_in(root, class_map={"crpyt": "x"})


def test_images_alone_come_in_to_be_counted(tmp_path: Path, bring_in: Importer) -> None:
    for i in range(4):
        write_image(tmp_path / "s" / f"im{i}.png", i)

    dataset = bring_in(tmp_path / "s")

    assert len(dataset.images) == 4
    assert dataset.boxes(dataset.images[0]) == ()
    assert dataset.readiness().missing == (
        "These are new images without labels: count them with a model. To train on them, label "
        "them first."
    )


def test_names_of_stored_files_are_plain_and_unique(tmp_path: Path, bring_in: Importer) -> None:
    root = tmp_path / "s"
    for i, name in enumerate(("ä b/x y.png", "c/X Y.png", "-$(rm).png", "…….png")):
        write_image(root / name, i)

    dataset = bring_in(root)

    assert sorted(record.id for record in dataset.images) == ["X_Y", "image", "rm", "x_y-2"]


def test_pixel_size_is_the_one_given_else_the_one_that_all_images_state(
    tmp_path: Path, bring_in: Importer
) -> None:
    import tifffile

    for i in range(2):
        tifffile_path = tmp_path / "s" / f"im{i}.tif"
        tifffile_path.parent.mkdir(exist_ok=True)
        tifffile.imwrite(
            tifffile_path, grey(i), imagej=True, resolution=(4, 4), metadata={"unit": "um"}
        )

    assert bring_in(tmp_path / "s", "own").pixel_size_um == pytest.approx(0.25)
    assert bring_in(tmp_path / "s", "given", pixel_size_um=0.5).pixel_size_um == 0.5


# --- whole or not at all ------------------------------------------------------


def test_a_cancelled_import_leaves_nothing(tmp_path: Path, workspace: Workspace) -> None:
    root = yolo_folder(tmp_path / "s", {f"im{i}": BOX for i in range(6)}, ["crypt"])

    def stop(done: float, message: str) -> None:
        if "Image 4" in message:
            raise Stopped("cancel")

    with pytest.raises(Stopped):
        import_dataset(workspace, ImportConfig(source=root, name="set"), stop)

    assert list(workspace.datasets.iterdir()) == []


def test_progress_grows_from_0_to_1(tmp_path: Path, workspace: Workspace) -> None:
    root = yolo_folder(tmp_path / "s", {f"im{i}": BOX for i in range(4)}, ["crypt"])
    seen: list[float] = []

    import_dataset(
        workspace, ImportConfig(source=root, name="set"), lambda done, text: seen.append(done)
    )

    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0.0, 1.0)


def test_a_name_is_given_once_and_must_be_a_folder_name(tmp_path: Path, bring_in: Importer) -> None:
    root = yolo_folder(tmp_path / "s", {"a": BOX}, ["crypt"])
    bring_in(root, "mine")

    with pytest.raises(DatasetError, match="already is a dataset 'mine'"):
        bring_in(root, "mine")
    with pytest.raises(InputError, match="cannot be a dataset name"):
        bring_in(root, "../mine")


def test_what_a_killed_import_left_is_swept_by_the_next(
    tmp_path: Path, workspace: Workspace, bring_in: Importer
) -> None:
    (workspace.datasets / ".building-old-set-99999999-abcdef").mkdir()
    alive = workspace.datasets / ".building-other-1-abcdef"
    alive.mkdir()

    bring_in(yolo_folder(tmp_path / "s", {"a": BOX}, ["crypt"]))

    assert sorted(p.name for p in workspace.datasets.iterdir()) == [alive.name, "set"]
    assert [s.name for s in list_datasets(workspace)] == ["set"]


def test_too_little_room_is_said_before_the_work(
    tmp_path: Path, bring_in: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = yolo_folder(tmp_path / "s", {"a": BOX}, ["crypt"])
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)

    with pytest.raises(DiskFullError, match=r"The import needs at least .*: delete old runs"):
        bring_in(root)


def test_a_source_in_which_nothing_is_usable_is_refused_with_reasons(
    tmp_path: Path, bring_in: Importer, workspace: Workspace
) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.png").write_bytes(b"junk")

    with pytest.raises(DatasetError, match=r"Nothing in s could be used \(a.png: is not a PNG"):
        bring_in(tmp_path / "s")
    assert list(workspace.datasets.iterdir()) == []


# --- what is written ----------------------------------------------------------


def test_ultralytics_opens_the_dataset_wherever_it_lies(tmp_path: Path, bring_in: Importer) -> None:
    labels = {f"im{i:02d}": BOX + "1 0.2 0.2 0.1 0.1\n" for i in range(20)}
    dataset = bring_in(yolo_folder(tmp_path / "s", labels, ["crypt", "no_crypt"]))
    moved = tmp_path / "some where else"
    shutil.copytree(dataset.root, moved)
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    found = check_det_dataset(str(moved / "data.yaml"))

    assert found["names"] == {0: "crypt", 1: "no_crypt"}
    for split, images in (("train", 14), ("val", 2), ("test", 4)):
        read = YOLODataset(found[split], data=found, task="detect", imgsz=64)
        assert len(read) == images == len(dataset.split(split))
        assert all(str(moved) in path for path in read.im_files)
        assert sum(len(label["cls"]) for label in read.labels) == 2 * images


def test_the_hash_changes_with_pixels_labels_and_split_and_with_nothing_else(
    tmp_path: Path, bring_in: Importer
) -> None:
    labels = {f"im{i}": BOX for i in range(10)}
    root = yolo_folder(tmp_path / "s", labels, ["crypt"])
    base = bring_in(root, "a").content_hash

    assert bring_in(root, "b").content_hash == base
    assert bring_in(root, "c", split=SplitConfig(seed=5)).content_hash != base
    (root / "labels" / "im3.txt").write_text("0 0.5 0.5 0.3 0.2\n")
    changed = bring_in(root, "d").content_hash
    assert changed != base
    write_image(root / "images" / "im3.png", 77)
    assert bring_in(root, "e").content_hash not in (base, changed)


def test_the_summary_repeats_the_dataset_in_a_few_numbers(
    tmp_path: Path, workspace: Workspace, bring_in: Importer
) -> None:
    labels = {f"im{i}": BOX for i in range(10)}
    dataset = bring_in(yolo_folder(tmp_path / "s", labels, ["crypt"]))

    (summary,) = list_datasets(workspace)

    assert summary.images == 10
    assert summary.boxes == {"crypt": 10}
    assert summary.splits == {"train": 7, "val": 1, "test": 2}
    assert summary.ready
    assert not summary.drawn
    assert summary.content_hash == dataset.content_hash


def test_a_kept_split_follows_the_folders_of_data_yaml(tmp_path: Path, bring_in: Importer) -> None:
    root = tmp_path / "s"
    for i, part in enumerate(("train", "testA", "testB")):
        write_image(root / "images" / part / f"{part}_1.png", i)
        (root / "labels" / part).mkdir(parents=True)
        (root / "labels" / part / f"{part}_1.txt").write_text(BOX)
    (root / "data.yaml").write_text(
        "train: images/train\nval: images/testA\ntest: images/testB\nnames: [gland]\n"
    )

    dataset = bring_in(root, split=SplitConfig(keep_existing=True))

    assert {r.id: r.split for r in dataset.images} == {
        "train_1": "train",
        "testA_1": "val",
        "testB_1": "test",
    }


def test_a_deleted_dataset_is_gone(
    tmp_path: Path, workspace: Workspace, bring_in: Importer
) -> None:
    bring_in(yolo_folder(tmp_path / "s", {"a": BOX}, ["crypt"]))

    delete_dataset(workspace, "set")

    assert list(workspace.datasets.iterdir()) == []
    with pytest.raises(NotFoundError, match="There is no dataset 'set'"):
        delete_dataset(workspace, "set")


# --- jobs ---------------------------------------------------------------------


def test_the_jobs_give_json_and_name_a_wrong_setting(tmp_path: Path, workspace: Workspace) -> None:
    root = yolo_folder(tmp_path / "s", {f"im{i}": BOX for i in range(5)}, ["crypt"])

    def quiet(done: float, message: str) -> None:
        assert 0 <= done <= 1

    at = Job(workspace, tmp_path, quiet)
    looked = Inspect(path=root).answer(at)
    done = Import(config=ImportConfig(source=root, name="set")).answer(at)

    assert looked.classes == {"crypt": 5}
    assert done.summary.images == 5
    assert open_dataset(workspace, "set").classes == ("crypt",)
