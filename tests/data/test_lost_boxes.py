"""An image that has lost its boxes is no background, and a class number without a name no class."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from msip_core.data.labels_csv import _layout
from tests.data.conftest import Importer, yolo_folder
from tests.data.labelling import HEIGHT, WIDTH, boxes, coco, field, left_out, mended

GOOD = "0 0.5 0.5 0.2 0.2\n"


@pytest.mark.parametrize(
    "text",
    [
        "5 0.5 0.5 0.2 0.2\n",  # a class without a name
        "-1 0.5 0.5 0.2 0.2\n",
        "1.5 0.5 0.5 0.2 0.2\n",
        "1e400 0.5 0.5 0.2 0.2\n",
        "nan 0.5 0.5 0.2 0.2\n",
        "other 0.5 0.5 0.2 0.2\n",
        "0 0.5 0.5 0.001 0.001\n",  # smaller than a pixel
        "0 0.5 0.5 0 0\n",
        "1 0.5 0.5 0.001 0.001\n5 0.5 0.5 0.2 0.2\n",  # dropped, and unreadable
    ],
)
def test_an_image_that_lost_all_its_boxes_is_left_out_by_name(
    tmp_path: Path, bring_in: Importer, text: str
) -> None:
    root = yolo_folder(tmp_path / "s", {"good": GOOD, "bad": text, "empty": ""}, ["crypt", "dirt"])

    dataset = bring_in(root, class_map={"dirt": None})

    assert set(boxes(dataset)) == {"images/good.png", "images/empty.png"}
    assert dataset.report.background == 1
    assert "as background it would teach the wrong thing" in left_out(dataset)["images/bad.png"]
    assert dataset.classes == ("crypt",)


def test_a_class_that_was_dropped_as_asked_leaves_background_with_a_loud_note(
    tmp_path: Path, bring_in: Importer
) -> None:
    labels = {"a": GOOD, "b": "1 0.5 0.5 0.2 0.2\n", "c": "1 0.5 0.5 0.1 0.1\n" + GOOD}
    root = yolo_folder(tmp_path / "s", labels, ["crypt", "dirt"])

    report = bring_in(root, class_map={"dirt": None}).report

    assert (report.kept, report.background) == (3, 1)
    assert "Boxes of class 'dirt' dropped, as asked: 2." in report.notes
    assert any("boxes are all of dropped classes: 1. They were kept" in n for n in report.notes)


def test_boxes_whose_class_has_no_name_are_left_out_by_name(
    tmp_path: Path, bring_in: Importer
) -> None:
    extra = "".join(f"{number} 0.{i + 1} 0.2 0.05 0.1\n" for i, number in enumerate((5, -1, 2, 1)))
    root = yolo_folder(tmp_path / "y", {"a": GOOD + extra}, ["crypt", "no_crypt"])
    field(tmp_path / "c" / "a.png")
    found = [
        {"id": i, "image_id": 1, "category_id": i, "bbox": [20 * i, 30, 15, 20]} for i in (1, 2, 9)
    ]
    coco(tmp_path / "c" / "x.json", [{"id": 1, "file_name": "a.png"}], found, ("crypt", "cyst"))

    yolo, listed = bring_in(root, "y"), bring_in(tmp_path / "c", "c")

    assert yolo.report.boxes == {"crypt": 1, "no_crypt": 1}
    assert mended(yolo) == [
        f"label line {line} left out: class number {number} has no name; the names are numbered "
        "0 to 1"
        for line, number in ((2, 5), (3, -1), (4, 2))
    ]
    assert listed.report.boxes == {"crypt": 1, "cyst": 1}
    assert mended(listed) == ["annotation 9 left out: class number 9 has no name"]


def test_gaps_in_the_numbering_are_no_classes(tmp_path: Path, bring_in: Importer) -> None:
    root = yolo_folder(tmp_path / "s", {"a": GOOD + "1 0.2 0.2 0.1 0.1\n3 0.8 0.8 0.1 0.1\n"})
    (root / "data.yaml").write_text("names: {0: crypt, 3: cyst}\n")

    dataset = bring_in(root)

    assert dataset.classes == ("crypt", "cyst")
    assert "class number 1 has no name" in mended(dataset)[0]


# --- names in lists --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        ("[no, yes]", ("no", "yes")),
        ("[on, off]", ("on", "off")),
        ("[null, ~]", ("null", "~")),
        ("[0, 1.0]", ("0", "1.0")),
        ("[2024-05-01, 1e3]", ("2024-05-01", "1e3")),
        ("{0: No, 1: TRUE}", ("No", "TRUE")),
        ("{no: 0, yes: 1}", ("no", "yes")),
        ("\n  - n\n  - y\n", ("n", "y")),
    ],
)
def test_class_names_of_yaml_are_text_as_written(
    tmp_path: Path, bring_in: Importer, names: str, classes: tuple[str, str]
) -> None:
    root = yolo_folder(tmp_path / "s", {"a": GOOD + "1 0.2 0.2 0.1 0.1\n"})
    (root / "data.yaml").write_text(f"train: images\nnc: 2\nnames: {names}\n")

    assert bring_in(root).classes == classes
    mapped = bring_in(root, "mapped", class_map={classes[0]: "no_crypt", classes[1]: "crypt"})
    assert mapped.report.boxes == {"no_crypt": 1, "crypt": 1}


def test_lists_of_names_hold_for_their_own_folder(tmp_path: Path, bring_in: Importer) -> None:
    for day, names in enumerate(("crypt\ncyst\n", "0 cyst\n1 crypt\n")):
        field(tmp_path / "s" / f"day{day}" / f"im{day}.png", day)
        (tmp_path / "s" / f"day{day}" / f"im{day}.txt").write_text(GOOD)
        (tmp_path / "s" / f"day{day}" / "classes.txt").write_text(names)

    dataset = bring_in(tmp_path / "s")

    assert {r.source: r.counts for r in dataset.images} == {
        "day0/im0.png": {"crypt": 1},
        "day1/im1.png": {"cyst": 1},
    }
    assert "differ: each holds for the labels beside and below it" in dataset.report.notes[0]


# --- lines and rows of many makes ---------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "0 0,3 0,5 0,2 0,5\n",  # decimal commas
        "0,0.3,0.5,0.2,0.5\n",
        "0, 0.3, 0.5, 0.2, 0.5\n",
        "0;0.3;0.5;0.2;0.5\n",
        "0;0,3;0,5;0,2;0,5\n",
        "0\t0.3\t0.5\t0.2\t0.5\n",
        "crypt 0.3 0.5 0.2 0.5\n",
        "\ufeff0.0 0.3 0.5 0.2 0.5 0.97\r\n",
        "0 0.2 0.25 0.4 0.25 0.4 0.75 0.2 0.75\n",  # oriented box: four corners
    ],
)
def test_yolo_lines_are_read_in_the_ways_programs_write_them(
    tmp_path: Path, bring_in: Importer, text: str
) -> None:
    root = yolo_folder(tmp_path / "s", {"a": text}, ["crypt"])

    dataset = bring_in(root)

    assert boxes(dataset) == {"images/a.png": [(12, 10, 24, 30)]}
    assert dataset.classes == ("crypt",)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", "Filename;Xmin;Ymin;Xmax;Ymax;Class\na.png;40,5;30,0;80,5;70,0;crypt\n"),
        ("cp1252", "filename\txmin\tymin\txmax\tymax\tclass\na.png\t40,5\t30\t80,5\t70\tcrypt\n"),
        ("utf-16", "filename;xmin;ymin;xmax;ymax;class\r\na.png;40,5;30;80,5;70;crypt\r\n"),
        ("utf-16-le", "filename,xmin,ymin,xmax,ymax,class\na.png,40.5,30,80.5,70,crypt\n"),
        ("utf-8", 'sep=;\nfilename;xmin;ymin;xmax;ymax;class\n"a.png";"40,5";30;"80,5";70;crypt\n'),
        ("utf-8", 'filename,xmin,ymin,xmax,ymax,class\na.png,"40,5",30,"80,5",70,crypt\n'),
        ("utf-8", "a.png;40,5;30,0;80,5;70,0;crypt\n"),
        ("utf-8", "filename|x|y|width|height|class\na.png|40.5|30|40|40|crypt\n"),
        ("utf-8", "image,x_center,y_center,width,height,label\na.png,60.5,50,40,40,crypt\n"),
        ("utf-8", "ImageID,LabelName,XMin,XMax,YMin,YMax\na.png,crypt,0.2025,0.4025,0.25,0.58333"),
        (
            "utf-8",
            "filename,xmin,ymin,xmax,ymax,width,height,class\na.png,40.5,30,80.5,70,40,40,crypt\n",
        ),  # the box's own width and height
    ],
)
def test_tables_are_read_in_the_ways_countries_write_them(
    tmp_path: Path, bring_in: Importer, encoding: str, text: str
) -> None:
    field(tmp_path / "s" / "a.png")
    (tmp_path / "s" / "boxes.csv").write_bytes(text.encode(encoding))

    dataset = bring_in(tmp_path / "s")

    assert boxes(dataset) == {"a.png": [(40.5, 30, 80.5, 70)]}
    assert dataset.classes == ("crypt",)


@pytest.mark.parametrize(
    ("rows", "read"),
    [
        ("a.png\t950\t30\t1,234\t70", ["950", "30", "1,234", "70"]),  # in English a thousand
        ("a.png\t0,5\t30\t1,234\t70", ["0.5", "30", "1.234", "70"]),
        ("a.png\t1,234\t30\t9\t7,25", ["1.234", "30", "9", "7.25"]),
    ],
)
def test_a_comma_between_tabs_is_one_before_decimals_where_another_is(
    rows: str, read: list[str]
) -> None:
    layout, _ = _layout(f"filename\txmin\tymin\txmax\tymax\n{rows}\n")

    assert layout is not None
    assert [layout.number(cell) for cell in rows.split("\t")[1:]] == read


def test_two_tables_of_different_columns_are_read_each_in_its_own_way(
    tmp_path: Path, bring_in: Importer
) -> None:
    for i, name in enumerate("ab"):
        field(tmp_path / "s" / f"{name}.png", i)
    (tmp_path / "s" / "1.csv").write_text("file,x1,y1,x2,y2,class\na.png,40,30,80,70,crypt\n")
    (tmp_path / "s" / "2.csv").write_text("file,x,y,w,h,class\nb.png,40,30,40,40,crypt\n")

    rows = [(40.0, 30.0, 80.0, 70.0)]
    assert boxes(bring_in(tmp_path / "s")) == {"a.png": rows, "b.png": rows}


def test_rows_of_another_length_than_their_header_are_read_by_their_own_form(
    tmp_path: Path, bring_in: Importer
) -> None:
    field(tmp_path / "s" / "a.png")
    (tmp_path / "s" / "x.csv").write_text(
        "image,image,xmin,ymin,xmax,ymax,class\na.png,40,30,80,70,crypt\n"
    )

    dataset = bring_in(tmp_path / "s")

    assert boxes(dataset) == {"a.png": [(40, 30, 80, 70)]}
    assert dataset.report.notes[0].startswith("x.csv: 1 rows do not have as many columns")


# --- COCO's masks and crowds ----------------------------------------------------------------


def run_lengths(*places: tuple[int, int, int, int]) -> dict:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for x1, y1, x2, y2 in places:
        mask[y1:y2, x1:x2] = True
    flat = mask.flatten(order="F").astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    counts = np.diff(np.concatenate([[0], edges])).tolist()
    return {"size": [HEIGHT, WIDTH], "counts": counts}


def crowd(number: int, segmentation: object, box: list[float] | None = None) -> dict:
    more = {} if box is None else {"bbox": box}
    return {"id": number, "image_id": 1, "category_id": 1, "iscrowd": 1,
            "segmentation": segmentation, **more}  # fmt: skip


def compressed(rle: dict) -> dict:
    from faster_coco_eval.core import mask

    packed = mask.frPyObjects(rle, *rle["size"])
    return {"size": rle["size"], "counts": packed["counts"].decode()}


def test_single_objects_marked_as_crowds_are_kept_and_crowds_are_not(
    tmp_path: Path, bring_in: Importer
) -> None:
    field(tmp_path / "s" / "a.png")
    one, two = (20, 10, 60, 40), (100, 50, 150, 90)
    found = [
        crowd(1, run_lengths(one), [20, 10, 40, 30]),
        crowd(2, compressed(run_lengths(two))),
        crowd(3, run_lengths((5, 100, 25, 115), (60, 100, 80, 115))),
        crowd(4, [], [10, 5, 150, 100]),  # covers 1 and 2
    ]
    coco(tmp_path / "s" / "x.json", [{"id": 1, "file_name": "a.png"}], found)

    dataset = bring_in(tmp_path / "s")
    outlines = dataset.contours(dataset.images[0])

    assert boxes(dataset) == {"a.png": [tuple(map(float, one)), tuple(map(float, two))]}
    assert mended(dataset) == [
        "annotation 3 left out: it marks a crowd, not one object",
        "annotation 4 left out: it marks a crowd, not one object",
        "marked as crowds, but single objects, and kept as boxes: 2",
    ]
    assert outlines is not None
    assert [o.min(axis=0).tolist() for o in outlines] == [[20.5, 10.5], [100.5, 50.5]]


def test_run_lengths_that_do_not_add_up_cost_their_box(tmp_path: Path, bring_in: Importer) -> None:
    field(tmp_path / "s" / "a.png")
    good = {**crowd(1, run_lengths((20, 10, 60, 40))), "iscrowd": 0}
    bad = [
        crowd(2, {"size": [HEIGHT, WIDTH], "counts": [5, 5]}),
        crowd(3, {"size": [10**6, 10**6], "counts": [10**12]}),
        crowd(4, {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}),
        crowd(5, {"size": [HEIGHT], "counts": "x"}),
    ]
    coco(tmp_path / "s" / "x.json", [{"id": 1, "file_name": "a.png"}], [good, *bad])

    dataset = bring_in(tmp_path / "s")

    assert boxes(dataset) == {"a.png": [(20, 10, 60, 40)]}
    assert len(mended(dataset)) == 4


def test_a_box_away_from_its_own_outline_is_left_out(tmp_path: Path, bring_in: Importer) -> None:
    field(tmp_path / "s" / "a.png")
    polygon = [100, 50, 150, 50, 150, 90, 100, 90]
    found = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": box, "segmentation": [polygon]}
        for box in ([100, 50, 50, 40], [100, 50, 150, 90])  # the second: corners, not a size
    ]
    coco(tmp_path / "s" / "x.json", [{"id": 1, "file_name": "a.png"}], found)

    dataset = bring_in(tmp_path / "s")

    assert boxes(dataset) == {"a.png": [(100, 50, 150, 90)]}
    assert "its box and its outline are not at one place" in mended(dataset)[0]


def test_classes_of_coco_without_categories_are_numbered_openly(
    tmp_path: Path, bring_in: Importer
) -> None:
    field(tmp_path / "s" / "a.png")
    value = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [20, 10, 40, 30]}],
        "categories": [],
    }
    (tmp_path / "s" / "x.json").write_text(json.dumps(value))

    dataset = bring_in(tmp_path / "s")

    assert dataset.classes == ("class_3",)
    assert "x.json names no classes" in dataset.report.notes[0]


def test_labels_lost_in_images_that_were_kept_are_counted_in_a_note(
    tmp_path: Path, bring_in: Importer
) -> None:
    labels = {"a": GOOD + "7 0.2 0.2 0.1 0.1\n8 0.7 0.2 0.1 0.1\n", "b": GOOD}

    notes = bring_in(yolo_folder(tmp_path / "s", labels, ["crypt"])).report.notes

    assert any("kept: 2 in 1 images (the first is images/a.png)" in note for note in notes)


@pytest.mark.parametrize(
    "names",
    ["crypt, no", "\ncrypt,no", "[crypt, no]", "{0: crypt, 1: no}", "{crypt: 0, no: 1}"],
)
def test_names_in_one_text_are_names(tmp_path: Path, bring_in: Importer, names: str) -> None:
    root = yolo_folder(tmp_path / "s", {"a": GOOD + "1 0.2 0.2 0.1 0.1\n"})
    (root / "data.yaml").write_text(f"names: {names.strip()}\n")

    assert bring_in(root).classes == ("crypt", "no")


def test_two_numbers_of_one_name_are_one_class_and_said(tmp_path: Path, bring_in: Importer) -> None:
    root = yolo_folder(tmp_path / "s", {"a": GOOD + "1 0.2 0.2 0.1 0.1\n"}, ["crypt", "crypt"])

    report = bring_in(root).report

    assert report.boxes == {"crypt": 2}
    assert "Several class numbers have one name, and are one class: crypt." in report.notes


@pytest.mark.parametrize("name", [False, True, None, {"en": "crypt"}])
def test_a_class_whose_name_became_something_else_on_the_way_is_none(
    tmp_path: Path, bring_in: Importer, name: object
) -> None:
    field(tmp_path / "a.png")
    annotations = [
        {"id": i, "image_id": 1, "category_id": i, "bbox": [40 * i, 30, 20, 20]} for i in (1, 2)
    ]
    coco(tmp_path / "x.json", [{"id": 1, "file_name": "a.png"}], annotations, ("crypt", name))

    dataset = bring_in(tmp_path)

    assert dataset.classes == ("crypt",)
    assert f"a class is called {json.dumps(name)}" in left_out(dataset)["x.json"]
    assert "class number 2 has no name" in mended(dataset)[0]


@pytest.mark.parametrize("number", [1, 1.0, "1", "1.0", " 1 "])
def test_ids_are_the_same_number_however_they_are_written(
    tmp_path: Path, bring_in: Importer, number: object
) -> None:
    field(tmp_path / "a.png")
    annotation = {"id": 1, "image_id": number, "category_id": number, "bbox": [40, 30, 40, 40]}
    coco(tmp_path / "x.json", [{"id": 1, "file_name": "a.png"}], [annotation])

    assert boxes(bring_in(tmp_path)) == {"a.png": [(40, 30, 80, 70)]}


def test_rows_with_more_cells_than_the_header_are_no_boxes(
    tmp_path: Path, bring_in: Importer
) -> None:
    for i, name in enumerate("ab"):
        field(tmp_path / f"{name}.png", i)
    (tmp_path / "x.csv").write_text(
        "filename,xmin,ymin,xmax,ymax,class\na.png,40,5,80,7,crypt\n"
        "b.png,40,5,30,7,80,5,70,5,crypt\na.png,1,1,30,30,crypt,,\n"
    )

    dataset = bring_in(tmp_path)

    assert boxes(dataset) == {"a.png": [(40, 5, 80, 7), (1, 1, 30, 30)]}
    assert "it has 10 cells and the header 6" in left_out(dataset)["b.png"]


def test_fractions_that_may_be_two_corners_leave_the_image_out(
    tmp_path: Path, bring_in: Importer
) -> None:
    corners = "0 0.1 0.1 0.4 0.5\n0 0.5 0.6 0.9 0.95\n"
    border = "0 0.02 0.5 0.1 0.2\n0 0.5 0.5 0.2 0.2\n"  # centre and size, over the border a little
    root = yolo_folder(tmp_path / "s", {"corners": corners, "border": border}, ["crypt"])

    dataset = bring_in(root)

    assert set(boxes(dataset)) == {"images/border.png"}
    assert "as two corners: left out" in left_out(dataset)["images/corners.png"]


@pytest.mark.parametrize("form", ["yolo", "coco", "csv"])
def test_boxes_with_scores_are_said_to_be_predictions(
    tmp_path: Path, bring_in: Importer, form: str
) -> None:
    field(tmp_path / "a.png")
    if form == "yolo":
        (tmp_path / "a.txt").write_text("0 0.5 0.5 0.2 0.2 0.31\n")
    elif form == "coco":
        found = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [40, 30, 40, 40], "score": 0.31}
        coco(tmp_path / "x.json", [{"id": 1, "file_name": "a.png"}], [found])
    else:
        (tmp_path / "x.csv").write_text(
            "filename,xmin,ymin,xmax,ymax,class,score\na.png,40,30,80,70,crypt,0.31\n"
        )

    notes = bring_in(tmp_path).report.notes

    assert any(note.startswith("Boxes that carry a score: 1.") for note in notes)


def test_a_class_is_one_whether_a_mac_wrote_it_or_not(tmp_path: Path, bring_in: Importer) -> None:
    field(tmp_path / "s" / "a.png")
    rows = "".join(f"a.png,{x},30,{x + 9},70,{name}\n" for x, name in
                   enumerate(("Größe", "Gro\u0308ße", "late", " late")))  # fmt: skip
    (tmp_path / "s" / "boxes.csv").write_text(f"filename,xmin,ymin,xmax,ymax,class\n{rows}")

    dataset = bring_in(tmp_path / "s", class_map={"late": "crypt"})

    assert dataset.report.boxes == {"Größe": 2, "crypt": 2}


def test_a_box_of_two_classes_is_said(tmp_path: Path, bring_in: Importer) -> None:
    field(tmp_path / "s" / "a.png")
    rows = "".join(f"a.png,40,30,80,70,{name}\n" for name in ("crypt", "cyst", "crypt"))
    (tmp_path / "s" / "boxes.csv").write_text(f"filename,xmin,ymin,xmax,ymax,class\n{rows}")

    dataset = bring_in(tmp_path / "s")

    assert dataset.report.boxes == {"crypt": 1, "cyst": 1}
    assert any("is of class 'crypt' too" in what for what in mended(dataset))
