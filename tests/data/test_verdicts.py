"""What label files say against their own boxes: rejected ones are left out, unsure ones said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from msip_core.data.archive import open_tree
from msip_core.data.label_formats import find_labels
from msip_core.data.labels import ImageLabels
from msip_core.data.outlines import MaskIndex
from msip_core.data.verdicts import verdict
from msip_core.data.yolo_config import miscounted
from msip_core.errors import DatasetError
from tests.data.conftest import Importer, yolo_folder
from tests.data.labelling import boxes, field, left_out, mended

GOOD, BAD = [4, 4, 20, 20], [30, 30, 50, 50]
UNNAMED = ("crypt", "undefined", "None", "nan", "N/A")
LINE = "0 0.5 0.5 0.2 0.2\n"
TABLE = (
    "filename,class,xmin,ymin,xmax,ymax,{}\na.png,crypt,4,4,20,20,{}\na.png,crypt,30,30,50,50,{}\n"
)


def read(folder: Path, file: str, text: str | dict | list) -> ImageLabels:
    """The labels of one picture, as its only label file has them."""
    field(folder / "a.png", size=(64, 64))
    (folder / file).write_text(text if isinstance(text, str) else json.dumps(text))
    with open_tree(folder) as tree:
        reader = find_labels(tree, MaskIndex(tree, ["a.png"])).reader
        assert reader is not None
        return reader.read("a.png")


def labelme(flags: dict, **more: Any) -> dict:
    shapes = [
        {"label": "crypt", "points": [box[:2], box[2:]], "shape_type": "rectangle", **said}
        for box, said in ((GOOD, {}), (BAD, {"flags": flags, **more}))
    ]
    return {"shapes": shapes, "imagePath": "a.png", "imageWidth": 64, "imageHeight": 64}


def coco(annotation: dict, image: dict | None = None) -> dict:
    listed = [
        {"id": n, "image_id": 1, "category_id": 1, "bbox": [x, y, x2 - x, y2 - y], **said}
        for n, ((x, y, x2, y2), said) in enumerate(((GOOD, {}), (BAD, annotation)), 1)
    ]
    images = [{"id": 1, "file_name": "a.png", "width": 64, "height": 64, **(image or {})}]
    categories = [{"id": 1, "name": "crypt"}]
    return {"images": images, "annotations": listed, "categories": categories}


def via(attributes: dict, **more: Any) -> dict:
    regions = [
        {
            "shape_attributes": {"name": "rect", "x": x, "y": y, "width": x2 - x, "height": y2 - y},
            "region_attributes": {"class": "crypt", **said},
        }
        for (x, y, x2, y2), said in ((GOOD, {}), (BAD, attributes))
    ]
    return {"a.png1": {"filename": "a.png", "size": 1, "regions": regions, **more}}


def studio(answer: dict, **more: Any) -> list:
    size = {"original_width": 100, "original_height": 100, "type": "rectanglelabels"}
    shapes = [
        {"id": key, **size, "value": {"x": x, "y": y, "width": 16, "height": 16,
                                      "rectanglelabels": ["crypt"]}}
        for key, (x, y, _, _) in (("r1", GOOD), ("r2", BAD))
    ]  # fmt: skip
    question = {"type": "choices", "from_name": "q", "to_name": "image", **answer}
    done = {"id": 1, "result": [*shapes, *([question] if answer else [])], **more}
    return [{"id": 1, "data": {"image": "a.png"}, "annotations": [done]}]


def supervisely(tags: list) -> dict:
    points = {"exterior": [GOOD[:2], GOOD[2:]], "interior": []}
    figure = {"classTitle": "crypt", "geometryType": "rectangle", "points": points}
    return {"size": {"width": 64, "height": 64}, "tags": tags, "objects": [figure]}


RESULTS = (  # of ImageJ, with objects of planes 1 and 2 of a stack
    " ,Label,Area,BX,BY,Width,Height\n1,a.png:0001-0012-0012,256,4,4,16,16\n"
    "2,a.png:0002-0040-0040,400,30,30,20,20\n"
)
VOC = (
    "<annotation><filename>a.png</filename><object><name>crypt</name>{}<bndbox><xmin>30</xmin>"
    "<ymin>30</ymin><xmax>50</xmax><ymax>50</ymax></bndbox></object><object><name>crypt</name>"
    "<bndbox><xmin>5</xmin><ymin>5</ymin><xmax>20</xmax><ymax>20</ymax></bndbox></object>"
    "</annotation>"
)
CVAT = (
    '<annotations><image name="a.png" width="64" height="64">'
    '<box label="crypt" xtl="4" ytl="4" xbr="20" ybr="20" occluded="1"/>'
    '<box label="crypt" xtl="30" ytl="30" xbr="50" ybr="50" {}</box></image></annotations>'
)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("b.csv", TABLE.format("rejected", 0, 1)),
        ("b.csv", TABLE.format("Review status", "approved", "Rejected")),
        ("b.csv", TABLE.format("keep", "x", "")),
        ("b.csv", TABLE.format("IsGroupOf", 0, 1)),
        ("a.json", labelme({"rejected": True})),
        ("a.json", labelme({}, description="rejected")),
        ("a.json", labelme({}, attributes={"valid": "False"})),
        ("c.json", coco({"ignore": 1})),
        ("c.json", coco({"attributes": {"Status": "deleted"}})),
        ("v.json", via({"qc": {"rejected": True}})),
        ("t.json", studio({"id": "r2", "value": {"choices": ["Rejected"]}})),
        ("a.xml", VOC.format("<deleted>1</deleted>")),
        ("c.xml", CVAT.format('outside="1">')),
        ("c.xml", CVAT.format('><attribute name="rejected">true</attribute>')),
    ],
)
def test_a_box_that_its_file_rejects_is_left_out_by_name(
    tmp_path: Path, file: str, text: str | dict | list
) -> None:
    found = read(tmp_path, file, text)

    assert [obj.xyxy[2] for obj in found.objects] == [20]
    assert len(found.problems) == 1
    assert "rejects it" in found.problems[0]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("a.json", {**labelme({}), "flags": {"bad_image": True}}),
        ("v.json", via({}, file_attributes={"excluded": "1"})),
        ("t.json", studio({"id": "x", "value": {"choices": ["Reject"]}})),
        ("t.json", studio({}, reviews=[{"accepted": True}, {"accepted": False}])),
        ("a.json", supervisely([{"name": "rejected", "value": None}])),
        ("b.csv", TABLE.format("frame", 1, 2)),
        ("b.csv", TABLE.format("unit", "µm", "µm")),
        ("b.csv", RESULTS),
    ],
)
def test_an_image_that_its_file_rejects_or_whose_boxes_are_of_others_has_no_boxes(
    tmp_path: Path, file: str, text: str | dict | list
) -> None:
    found = read(tmp_path, file, text)

    assert not found.objects
    whys = ("rejects the image", "of several planes", "lengths in µm")
    assert any(why in found.problems[0] for why in whys)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("b.csv", TABLE.format("verified", 1, 0)),
        ("a.json", labelme({"unsure": True})),
        ("a.xml", VOC.format("<difficult>1</difficult>")),
        ("c.json", coco({"attributes": {"difficult": True}})),
    ],
)
def test_a_box_that_its_file_calls_unsure_is_kept_and_said(
    tmp_path: Path, file: str, text: str | dict | list
) -> None:
    found = read(tmp_path, file, text)

    assert len(found.objects) == 2
    assert found.notes[0].endswith("and kept: 1")


@pytest.mark.parametrize(
    "said",
    [
        {"ignore": 0, "iscrowd": 0, "deleted": False, "rejected": "no", "occluded": 1},
        {"isValid": True, "keep": "yes", "status": "accepted", "comment": "no crypt at the rim"},
        {"flags": {}, "attributes": {"rotation": 0.0, "outside": "0.0"}, "points": [[1, 2]]},
        {"valid": None, "keep": None, "rejected": None},
        {"label": "bad", "rectanglelabels": ["Ignore"], "group_id": 3, "area": 1.0},
    ],
)
def test_most_of_what_stands_beside_a_box_is_no_verdict(said: dict) -> None:
    assert verdict(said) == ("", "")


def test_an_image_that_coco_lists_as_deleted_is_left_out(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"c\.json rejects the image \(deleted: True\)"):
        read(tmp_path, "c.json", coco({}, {"deleted": True}))


def test_images_that_nobody_has_annotated_are_no_background(tmp_path: Path) -> None:
    text = coco({}, {"annotated": True})
    text["images"].append({"id": 2, "file_name": "b.png", "annotated": False})
    (tmp_path / "c.json").write_text(json.dumps(text))
    for name in ("a.png", "b.png"):
        field(tmp_path / name, size=(64, 64))

    with open_tree(tmp_path) as tree:
        reader = find_labels(tree, MaskIndex(tree, ["a.png", "b.png"])).reader

    assert reader is not None
    assert reader.labelled == {"a.png"}


def test_boxes_of_a_class_that_marks_nothing_are_left_out_unless_they_are_asked_for(
    tmp_path: Path, bring_in: Importer
) -> None:
    for at, name in enumerate("abc"):
        field(tmp_path / "s" / f"{name}.png", at, size=(64, 64))
    (tmp_path / "s" / "classes.txt").write_text("__background__\ncrypt\n")
    (tmp_path / "s" / "a.txt").write_text("0 .5 .5 1 1\n1 .5 .5 .25 .25\n")
    (tmp_path / "s" / "b.txt").write_text("0 .5 .5 1 1\n")
    (tmp_path / "s" / "c.txt").write_text("1 .5 .5 .25 .25\n")

    left = bring_in(tmp_path / "s", "left")
    asked = bring_in(tmp_path / "s", "asked", class_map={"__background__": "dish"})

    assert left.classes == ("crypt",)
    assert boxes(left) == {name: [(24.0, 24.0, 40.0, 40.0)] for name in ("a.png", "c.png")}
    assert "marks no object: 1" in mended(left)[0]
    assert "marks no object" in left_out(left)["b.png"]
    assert asked.classes == ("dish", "crypt")


@pytest.mark.parametrize(
    ("config", "doubted"),
    [
        ({"names": ["crypt", "cyst"], "nc": "3"}, True),
        ({"names": ["crypt", "cyst"], "nc": "1"}, True),
        ({"names": ["crypt", "cyst"], "nc": "2"}, False),
        ({"names": {"0": "crypt", "2": "cyst"}, "nc": "2"}, False),
        ({"names": {"0": "crypt", "2": "cyst"}, "nc": "3"}, False),
        ({"names": ["crypt", "cyst"]}, False),
        ({"nc": "3"}, False),
    ],
)
def test_a_list_of_names_that_is_counted_otherwise_is_doubted(config: dict, doubted: bool) -> None:
    for folder in (".", "day1"):
        found = miscounted([config | {"__folder__": folder, "__file__": "data.yaml"}], {"": ["x"]})

        assert list(found) == ([""] if doubted else [])


def test_labels_that_were_copied_for_another_picture_are_said(
    tmp_path: Path, bring_in: Importer
) -> None:
    three = "".join(f"0 0.{n} 0.5 0.2 0.2\n" for n in (2, 5, 8))
    labels = {
        "a": three,
        "b": three,
        "c": LINE,
        "d": LINE,
        "e": three.replace("0.2 0.2", "0.3 0.2"),
    }

    notes = bring_in(yolo_folder(tmp_path / "s", labels, ["crypt"])).report.notes

    assert next(note for note in notes if "exactly those of another image: 1" in note).endswith(
        "(the first is images/b.png, with those of images/a.png). Check that each label is of its "
        "own image."
    )


def test_two_names_of_one_number_are_no_names(tmp_path: Path, bring_in: Importer) -> None:
    root = yolo_folder(tmp_path / "s", {"a": LINE})
    (root / "data.yaml").write_text("names: {crypt: 0, cyst: 0}\n")

    assert bring_in(root).classes == ("class_0",)


def test_labels_that_were_put_aside_are_not_taken(tmp_path: Path, bring_in: Importer) -> None:
    for seed, name in enumerate("ab"):
        field(tmp_path / "images" / f"{name}.png", seed=seed)
    for folder, name in (("labels_rejected", "a"), ("labels", "b")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.txt").write_text(LINE)

    dataset = bring_in(tmp_path)

    assert list(boxes(dataset)) == ["images/b.png"]
    assert list(left_out(dataset)) == ["images/a.png"]
    assert "put aside" in dataset.report.notes[0]
    assert "labels_rejected/a.txt" in dataset.report.notes[0]


@pytest.mark.parametrize("said", ['deleted="true"', ">TAG"])
def test_cvat_says_of_a_whole_image_that_it_is_none(tmp_path: Path, said: str) -> None:
    box = '<box label="crypt" xtl="4" ytl="4" xbr="20" ybr="20"/>'
    attribute, tag = (said, "") if ">" not in said else ("", '<tag label="Reject"/>')
    image = f'<image name="a.png" width="64" height="64" {attribute}>{tag}{box}</image>'

    labels = read(tmp_path, "a.xml", f"<annotations>{image}</annotations>")

    assert not labels.objects
    assert "rejects the image" in labels.problems[0]


def test_what_programs_write_for_no_class_is_no_class(tmp_path: Path, bring_in: Importer) -> None:
    folder = tmp_path / "in"
    field(folder / "a.png", size=(64, 64))
    rows = [f"a.png,{4 * n},4,{4 * n + 20},20,{name}" for n, name in enumerate(UNNAMED)]
    table = "\n".join(["filename,xmin,ymin,xmax,ymax,class", *rows])
    (folder / "labels.csv").write_text(table)

    assert bring_in(folder).report.boxes == {"crypt": 1, "object": len(UNNAMED) - 1}
    mapped = bring_in(folder, name="mapped", class_map={"undefined": "cyst", "object": "crypt"})
    assert mapped.report.boxes == {"crypt": len(UNNAMED) - 1, "cyst": 1}


def test_a_shape_called_undefined_names_no_class_either(tmp_path: Path, bring_in: Importer) -> None:
    folder = tmp_path / "in"
    field(folder / "a.png", size=(64, 64))
    shapes = [
        {"label": name, "points": [[4 * n, 4], [4 * n + 20, 20]], "shape_type": "rectangle"}
        for n, name in enumerate(("crypt", "undefined"))
    ]
    said = {"imagePath": "a.png", "imageWidth": 64, "imageHeight": 64, "shapes": shapes}
    (folder / "a.json").write_text(json.dumps(said))

    assert bring_in(folder).report.boxes == {"crypt": 1, "object": 1}
