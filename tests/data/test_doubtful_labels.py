"""Labels that could mean two things are left out by name, and never taken for the likelier one."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from msip_core.config import SplitConfig
from msip_core.data.dataset_writer import safe_stem
from msip_core.data.manifest import NO_LABELS
from msip_core.data.references import ImageIndex
from msip_core.data.yolo_doubts import doubt
from msip_core.errors import DatasetError
from tests.data.conftest import Importer, yolo_folder
from tests.data.labelling import boxes, coco, field, left_out

NAMES = ("crypt", "cyst")


def _drawn(n: int = 60) -> np.ndarray:
    """Boxes inside the image, (n, 4) centre and size."""
    rng = np.random.default_rng(0)
    size = rng.uniform(0.05, 0.2, (n, 2))
    return np.concatenate([rng.uniform(size / 2, 1 - size / 2), size], axis=1)


def _lines(rows: np.ndarray, numbers: tuple[int, ...] = (0, 1)) -> list[list[str]]:
    return [
        [str(numbers[i % len(numbers)]), *(f"{v:.4f}" for v in row)] for i, row in enumerate(rows)
    ]


def test_what_yolo_writes_leaves_no_doubt() -> None:
    centred = _drawn()
    scored = np.concatenate([centred, np.full((60, 1), 0.9)], axis=1)
    centre, half = centred[:, :2], centred[:, 2:] / 2
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    quads = (centre[:, None] + signs * half[:, None]).reshape(-1, 8)
    angles = np.linspace(0, 6, 30)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rings = (centre[:, None] + circle * half[:, None]).reshape(-1, 60)
    whole = np.tile([0.5, 0.5, 0.98, 1.02], (20, 1))

    for rows in (centred, scored, quads, rings, rings[:1], quads[:1], whole):
        assert doubt(_lines(rows), NAMES) is None
    assert doubt(_lines(centred, (1,)), NAMES) is None  # one class of two
    assert doubt(_lines(centred, (0, 5)), NAMES) is None  # named line by line
    assert doubt(_lines(centred, (1, 2)), ()) is None


def test_names_numbered_from_1_beside_labels_from_0_are_doubted() -> None:
    lines = _lines(_drawn())

    assert "the names may be from 1" in (doubt(lines, ("", "crypt", "cyst")) or "")
    assert doubt(lines, ("", "crypt")) is None  # 0 is named line by line


def test_numbers_corners_scores_and_keypoints_in_the_wrong_place_are_doubted() -> None:
    centred = _drawn()
    centre, size = centred[:, :2], centred[:, 2:]
    corners = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    scored = np.concatenate([np.full((60, 1), 0.9), centred], axis=1)
    points = np.concatenate([centred, centre - size / 4, centre + size / 4], axis=1)
    seen = np.insert(points, (6, 8), 2, axis=1)

    assert "counted from 1" in str(doubt(_lines(centred, (1, 2)), NAMES))
    assert "two corners" in str(doubt(_lines(corners), NAMES))
    assert "score may stand before" in str(doubt(_lines(scored), NAMES))
    assert "9 values and may be boxes with keypoints" in str(doubt(_lines(points), NAMES))
    assert "11 values and may be boxes with keypoints" in str(doubt(_lines(seen), NAMES))


def test_a_doubt_leaves_out_images_whose_own_boxes_would_fit(
    tmp_path: Path, bring_in: Importer
) -> None:
    # As centre and size the second reaches outside; the first would be a wrong box inside.
    labels = {"fits": "0 0.3 0.3 0.4 0.4\n", "not": "0 0.7 0.7 0.9 0.9\n", "empty": ""}
    root = yolo_folder(tmp_path / "s", labels, ["crypt"])

    dataset = bring_in(root)

    assert set(boxes(dataset)) == {"images/empty.png"}
    assert "may be two corners" in left_out(dataset)["images/fits.png"]


def test_pixels_and_fractions_in_one_label_leave_the_image_out(
    tmp_path: Path, bring_in: Importer
) -> None:
    labels = {"good": "0 0.5 0.5 0.2 0.2\n", "mixed": "0 0.5 0.5 0.2 0.2\n0 30 20 12 12\n"}

    dataset = bring_in(yolo_folder(tmp_path / "s", labels, ["crypt"]))

    assert set(boxes(dataset)) == {"images/good.png"}
    assert left_out(dataset)["images/mixed.png"].startswith("1 of the 2 lines of its label")


def test_labels_that_lead_to_no_image_do_not_make_background(
    tmp_path: Path, bring_in: Importer
) -> None:
    for folder in "ab":
        field(tmp_path / "s" / folder / "x.png", seed=ord(folder))
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [40, 30, 40, 40]}
    coco(tmp_path / "s" / "l.json", [{"id": 1, "file_name": "x.png"}], [box])

    report = bring_in(tmp_path / "s").report

    assert (report.kept, report.background, report.format) == (2, 0, NO_LABELS)
    assert any("which may be a/x.png or b/x.png" in p.what for p in report.skipped)
    assert any("No label could be matched with an image" in note for note in report.notes)


def test_two_label_files_that_mark_one_object_in_two_ways_leave_the_image_out(
    tmp_path: Path, bring_in: Importer
) -> None:
    for name in ("a", "b"):
        field(tmp_path / "s" / f"{name}.png", seed=ord(name))
    images = [{"id": i, "file_name": f"{n}.png"} for i, n in enumerate("ab")]

    def boxes_at(x: int, category: int = 1) -> list[dict]:
        return [
            {"id": i, "image_id": i, "category_id": category, "bbox": [x if i else 40, 30, 40, 40]}
            for i in (0, 1)
        ]

    coco(tmp_path / "s" / "new.json", images, boxes_at(40), NAMES)
    coco(tmp_path / "s" / "old.json", images, boxes_at(44), NAMES)
    twice = bring_in(tmp_path / "s", "twice")
    coco(tmp_path / "s" / "old.json", images, boxes_at(44, category=2), NAMES)
    kinds = bring_in(tmp_path / "s", "kinds")

    assert boxes(twice) == {"a.png": [(40, 30, 80, 70)]}  # the copy is left out once
    assert left_out(twice)["b.png"].startswith("new.json and old.json mark an object of it in two")
    assert kinds.report.boxes == {"crypt": 2, "cyst": 2}  # a file for each class


def test_an_image_that_one_file_lists_twice_in_two_ways_is_left_out(
    tmp_path: Path, bring_in: Importer
) -> None:
    for name in ("a", "b"):
        field(tmp_path / "s" / f"{name}.png", seed=ord(name))
    images = [{"id": i, "file_name": f"{n}.png"} for i, n in enumerate("aba")]
    found = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [40 + 4 * i, 30, 40, 40]}
        for i in range(3)
    ]
    coco(tmp_path / "s" / "l.json", images, found)

    dataset = bring_in(tmp_path / "s")

    assert set(boxes(dataset)) == {"b.png"}
    assert left_out(dataset)["a.png"].startswith("l.json and l.json (image 2) mark an object")


def test_the_rows_of_two_tables_that_differ_leave_the_image_out(
    tmp_path: Path, bring_in: Importer
) -> None:
    for name in ("a", "b"):
        field(tmp_path / "s" / f"{name}.png", seed=ord(name))
    row = "path,x1,y1,x2,y2,class\na.png,{},30,80,70,crypt\n"
    (tmp_path / "s" / "1.csv").write_text(row.format(40) + "b.png,40,30,80,70,crypt\n")
    (tmp_path / "s" / "2.csv").write_text(row.format(44))

    dataset = bring_in(tmp_path / "s")

    assert set(boxes(dataset)) == {"b.png"}
    assert "1.csv and 2.csv mark an object" in left_out(dataset)["a.png"]


def test_an_area_tells_that_a_box_of_coco_is_two_corners(
    tmp_path: Path, bring_in: Importer
) -> None:
    field(tmp_path / "s" / "a.png")
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [40, 30, 80, 70], "area": 1600}
    coco(tmp_path / "s" / "l.json", [{"id": 1, "file_name": "a.png"}], [box])

    with pytest.raises(DatasetError, match="by its area its box is two corners"):
        bring_in(tmp_path / "s")

    shutil.rmtree(tmp_path / "s")
    field(tmp_path / "s" / "a.png")
    coco(tmp_path / "s" / "l.json", [{"id": 1, "file_name": "a.png"}], [{**box, "area": 5600}])
    assert boxes(bring_in(tmp_path / "s")) == {"a.png": [(40, 30, 120, 100)]}


def test_addresses_and_names_of_ome_tiffs_lead_to_their_images() -> None:
    index = ImageIndex(["day1/a.png", "day2/a.png", "b.ome.tif"])

    assert index.find("https://lab.org/up/day2/a.png?sig=x%2F1", "l.json") == "day2/a.png"
    assert index.find("/data/local-files/?d=raw/day1/a.png", "l.json") == "day1/a.png"
    assert index.find("b") == "b.ome.tif"
    assert index.find("b.tif") == "b.ome.tif"


def test_copies_of_one_picture_with_other_labels_are_all_left_out(
    tmp_path: Path, bring_in: Importer
) -> None:
    labels = dict.fromkeys(("a", "b", "c", "d"), "0 0.5 0.5 0.2 0.2\n") | {"b": ""}
    root = yolo_folder(tmp_path / "s", labels, ["crypt"])
    for name in ("b", "c"):
        shutil.copy(root / "images" / "a.png", root / "images" / f"{name}.png")

    dataset = bring_in(root)

    assert set(boxes(dataset)) == {"images/d.png"}
    assert (dataset.report.background, dataset.report.boxes) == (0, {"crypt": 1})
    assert len(list((dataset.root / "images").iterdir())) == 1
    assert {f: w.partition(":")[0] for f, w in left_out(dataset).items()} == {
        "images/a.png": "the same image as images/b.png, with other labels",
        "images/b.png": "the same image as images/a.png, with other labels",
        "images/c.png": "the same image as images/a.png, with other labels",
    }


def test_objects_in_a_picture_of_one_value_are_left_out(tmp_path: Path, bring_in: Importer) -> None:
    root = yolo_folder(tmp_path / "s", {"a": "0 0.5 0.5 0.2 0.2\n", "b": ""}, ["crypt"])
    for name in ("a", "b"):
        cv2.imwrite(str(root / "images" / f"{name}.png"), np.zeros((40, 60), np.uint8))

    dataset = bring_in(root)

    assert set(boxes(dataset)) == {"images/b.png"}
    assert left_out(dataset)["images/a.png"].startswith("all its pixels have one value")


def test_classes_that_may_be_one_and_boxes_without_a_class_are_said(
    tmp_path: Path, bring_in: Importer
) -> None:
    field(tmp_path / "s" / "a.png")
    rows = ("a.png,1,1,20,20,crypt", "a.png,30,1,50,20,Crypt", "a.png,60,1,80,20,")
    (tmp_path / "s" / "b.csv").write_text("path,x1,y1,x2,y2,class\n" + "\n".join(rows))

    notes = bring_in(tmp_path / "s").report.notes

    assert any("differ in capitals or signs only: crypt, Crypt." in note for note in notes)
    assert any("Boxes that name no class, beside others that do: 1." in note for note in notes)


def test_no_file_is_called_as_windows_calls_a_device() -> None:
    assert [safe_stem(n, set()) for n in ("CON.png", "a/lpt1.tif", "console.png")] == [
        "image_CON",
        "image_lpt1",
        "console",
    ]


def test_lists_that_number_the_same_classes_in_two_ways_leave_all_out(
    tmp_path: Path, bring_in: Importer
) -> None:
    labels = {"a": "0 0.5 0.5 0.2 0.2\n", "b": "1 0.5 0.5 0.2 0.2\n"}
    root = yolo_folder(tmp_path / "s", labels, ["crypt", "cyst"])
    (root / "labels" / "classes.txt").write_text("cyst\ncrypt\n")

    with pytest.raises(DatasetError, match=r"data\.yaml and labels/classes\.txt number the same"):
        bring_in(root)

    (root / "labels" / "classes.txt").write_text("Cyst\ncrypt\ndebris\n")
    with pytest.raises(DatasetError, match=r"data\.yaml and labels/classes\.txt number the same"):
        bring_in(root)

    (root / "labels" / "classes.txt").write_text("dog\nperson\ncat\n")  # labelImg's own list
    (root / "coco128.yaml").write_text("names: [person, bicycle]\n")  # Ultralytics' own
    assert bring_in(root).report.boxes == {"crypt": 1, "cyst": 1}


def test_an_empty_line_in_a_list_of_classes_keeps_its_number(
    tmp_path: Path, bring_in: Importer
) -> None:
    labels = {n: f"{i} 0.5 0.5 0.2 0.2\n" for i, n in enumerate("abc")}
    root = yolo_folder(tmp_path / "s", labels)
    (root / "classes.txt").write_text("crypt\n\ncyst\n\n")

    dataset = bring_in(root)

    assert dataset.report.boxes == {"crypt": 1, "cyst": 1}
    assert "class number 1 has no name" in left_out(dataset)["images/b.png"]


def test_parts_are_found_by_the_paths_of_another_computer(
    tmp_path: Path, bring_in: Importer
) -> None:
    for n, part in enumerate(("one", "two")):
        field(tmp_path / "s" / part / "images" / f"{part}.png", seed=n)
        label = tmp_path / "s" / part / "labels" / f"{part}.txt"
        label.parent.mkdir()
        label.write_text("0 0.5 0.5 0.2 0.2\n")
    text = "train: /content/lab/one/images\nval: C:\\lab\\two\\images\nnames: [crypt]\n"
    (tmp_path / "s" / "data.yaml").write_text(text)

    images = bring_in(tmp_path / "s", split=SplitConfig(keep_existing=True)).images

    assert {image.id: image.split for image in images} == {"one": "train", "two": "val"}


def test_a_table_without_a_header_in_another_order_is_not_read(
    tmp_path: Path, bring_in: Importer
) -> None:
    field(tmp_path / "s" / "a.png")
    (tmp_path / "s" / "b.csv").write_text("a.png,40,80,30,70,crypt\na.png,100,110,20,90,crypt\n")

    with pytest.raises(DatasetError, match="may be x1, x2, y1, y2"):
        bring_in(tmp_path / "s")


def test_each_of_several_projects_has_the_classes_of_its_own_list(
    tmp_path: Path, bring_in: Importer
) -> None:
    lists = {"one": ["crypt"], "two": ["cyst", "crypt"]}
    for n, (project, names) in enumerate(lists.items()):
        root = tmp_path / "s" / project
        yolo_folder(root, {f"{project}{i}": "0 0.5 0.5 0.2 0.2\n" for i in range(n + 1)}, names)
    field(tmp_path / "s" / "two" / "images" / "two0.png", seed=7)
    field(tmp_path / "s" / "two" / "images" / "two1.png", seed=8)

    dataset = bring_in(tmp_path / "s")

    assert dataset.report.boxes == {"crypt": 1, "cyst": 2}
    assert any("each holds for the labels beside and below it" in n for n in dataset.report.notes)

    (tmp_path / "s" / "data.yaml").write_text("names: [crypt, cyst]\n")
    why = left_out(bring_in(tmp_path / "s", "t"))["two/images/two0.png"]
    assert why.startswith("two/data.yaml and data.yaml number the same classes differently")


def test_labels_of_kitti_are_not_taken_for_outlines(tmp_path: Path, bring_in: Importer) -> None:
    field(tmp_path / "s" / "a.png")
    line = "crypt 0.00 0 0.00 40.00 30.00 80.00 70.00 0 0 0 0 0 0 0\n"
    (tmp_path / "s" / "a.txt").write_text(line)
    (tmp_path / "s" / "classes.txt").write_text("crypt\n")

    with pytest.raises(DatasetError, match="may be those of KITTI"):
        bring_in(tmp_path / "s")


@pytest.mark.parametrize("line", ["crypt, cyst", "['crypt', 'cyst']"])
def test_class_names_on_one_line_are_several(tmp_path: Path, bring_in: Importer, line: str) -> None:
    root = yolo_folder(tmp_path / "s", {"a": "1 0.5 0.5 0.2 0.2\n"})
    (root / "classes.txt").write_text(f"{line}\n")

    assert bring_in(root).report.boxes == {"cyst": 1}


def test_darknet_calls_its_list_of_classes_as_it_likes(tmp_path: Path, bring_in: Importer) -> None:
    root = yolo_folder(tmp_path / "s", {"a": "1 0.5 0.5 0.2 0.2\n"})
    (root / "organoid.names").write_text("crypt\ncyst\n")

    assert bring_in(root).report.boxes == {"cyst": 1}


@pytest.mark.parametrize(
    ("rows", "doubted"),
    [
        ([(0.3, 0.3, 0.2, 0.2), (0.6, 0.5, 0.1, 0.3)], True),  # fractions that could be either
        ([(0.0, 0.1, 0.2, 0.2), (0.6, 0.5, 0.1, 0.3)], False),  # outside as middles
        ([(170, 60, 50, 60), (40, 100, 40, 30)], True),  # outside as corners
        ([(0, 60, 50, 60), (40, 80, 40, 30)], False),
        ([(100, 60, 20, 20), (40, 80, 40, 30)], False),  # pixels: corners, as tables have them
    ],
)
def test_x_and_y_that_may_be_the_middles_of_boxes_leave_the_image_out(
    tmp_path: Path, bring_in: Importer, rows: list[tuple[float, ...]], doubted: bool
) -> None:
    field(tmp_path / "s" / "a.png")
    text = "".join(f"a.png,crypt,{','.join(map(str, row))}\n" for row in rows)
    (tmp_path / "s" / "b.csv").write_text(f"image,label,x,y,w,h\n{text}")

    if doubted:
        with pytest.raises(DatasetError, match="may be corners or the middles of the boxes"):
            bring_in(tmp_path / "s")
        (tmp_path / "s" / "b.csv").write_text(f"image,label,x_center,y_center,w,h\n{text}")
    assert bring_in(tmp_path / "s", "t").report.boxes == {"crypt": 2}


@pytest.mark.parametrize(("share", "said"), [(1.0, False), (0.6, True)])
def test_labels_that_all_lie_in_one_corner_are_said(
    tmp_path: Path, bring_in: Importer, share: float, said: bool
) -> None:
    rows = []
    for i, row in enumerate(_drawn(24).reshape(6, 4, 4)):
        field(tmp_path / "s" / f"{i}.png", i)
        for x, y, w, h in row * np.array([200, 120, 200, 120]) * share:
            rows.append(f"{i}.png,crypt,{x - w / 2},{y - h / 2},{x + w / 2},{y + h / 2}\n")
    (tmp_path / "s" / "b.csv").write_text("image,label,xmin,ymin,xmax,ymax\n" + "".join(rows))

    notes = bring_in(tmp_path / "s").report.notes

    assert any("All 24 boxes lie in the upper left of their images" in n for n in notes) == said


def test_a_sixth_value_that_is_no_score_is_doubted() -> None:
    drawn = _drawn()
    for last, what in (([*range(1, 61)], "numbers of tracks"), ([-45.0, 30.0] * 30, "angles")):
        rows = np.concatenate([drawn, np.array(last, float)[:, None]], axis=1)
        assert what in (doubt(_lines(rows), NAMES) or "")


def test_seven_values_a_line_may_be_a_score_and_a_track() -> None:
    rows = np.concatenate([_drawn(), np.tile([0.9, 1.0], (60, 1))], axis=1)

    assert "number of a track" in (doubt(_lines(rows), NAMES) or "")


def test_outlines_with_half_a_point_lose_that_object_by_name(
    bring_in: Importer, tmp_path: Path
) -> None:
    half = "0 0.2 0.25 0.4 0.25 0.4 0.583 0.2"
    folder = yolo_folder(
        tmp_path / "in", {"a": half, "b": f"{half}\n0 0.5 0.5 0.2 0.2\n"}, ["crypt"]
    )

    dataset = bring_in(folder)

    assert "odd number of coordinates" in left_out(dataset)["images/a.png"]
    assert [len(rows) for rows in boxes(dataset).values()] == [1]


def _coco(folder: Path, images: list[dict], **more: object) -> Path:
    """Three fields with a box each; `more` is in every annotation."""
    for n, entry in enumerate(images, 1):
        field(folder / f"f{n}.png", seed=n)
        entry |= {"id": n, "width": 200, "height": 120}
    marked = [
        {"id": n, "image_id": n, "category_id": 1, "bbox": [40, 30, 40, 40], **more}
        for n in range(1, len(images) + 1)
    ]
    coco(folder / "a.json", images, marked)
    return folder


def test_annotations_counted_from_another_number_than_the_images_are_not_taken(
    bring_in: Importer, tmp_path: Path
) -> None:
    folder = _coco(tmp_path / "in", [{"file_name": f"f{n}.png"} for n in (1, 2, 3)])
    text = (folder / "a.json").read_text()
    for n in (1, 2, 3):
        text = text.replace(f'"image_id": {n}', f'"image_id": {n - 1}')
    (folder / "a.json").write_text(text)

    with pytest.raises(DatasetError, match="counted from another number"):
        bring_in(folder)


def test_a_mask_for_another_size_is_left_out_with_its_box(
    bring_in: Importer, tmp_path: Path
) -> None:
    turned = {"size": [200, 120], "counts": [40 * 200 + 30, 40, 200 * 120 - 40 * 200 - 70]}
    names = [{"file_name": f"f{n}.png"} for n in (1, 2, 3)]

    with pytest.raises(DatasetError, match="its mask is for 120 × 200 pixels"):
        bring_in(_coco(tmp_path / "in", names, segmentation=turned, bbox=[]))


@pytest.mark.parametrize("key", ["path", "coco_url"])
def test_images_of_coco_are_found_by_their_path_where_no_file_name_is_written(
    bring_in: Importer, tmp_path: Path, key: str
) -> None:
    names = [{key: f"http://lab/images/f{n}.png"} for n in (1, 2, 3)]

    dataset = bring_in(_coco(tmp_path / "in", names))

    assert sum(map(len, boxes(dataset).values())) == 3


def test_json_that_cannot_be_read_is_named_beside_other_labels_and_alone(
    bring_in: Importer, tmp_path: Path
) -> None:
    labelled = yolo_folder(tmp_path / "in", {"a": "0 0.5 0.5 0.2 0.2\n"}, ["crypt"])
    alone = field(tmp_path / "alone" / "a.png").parent
    for folder in (labelled, alone):
        (folder / "boxes.json").write_text('{"images": [], "annotations": [],}')
        assert "is not readable JSON" in left_out(bring_in(folder, folder.name))["boxes.json"]
