"""Boxes of every format end as the same pixels, and what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from msip_core.data.dataset import Dataset
from msip_core.data.importing import inspect_source
from msip_core.errors import DatasetError
from tests.data.conftest import Importer, write_image, yolo_folder

# One box in a 60 x 40 image: corners 6, 4 and 18, 24.
CORNERS = (6.0, 4.0, 18.0, 24.0)


def only_box(dataset: Dataset) -> tuple[float, ...]:
    (record,) = dataset.images
    (box,) = dataset.boxes(record)
    return box.xyxy


def voc_object(name: str, xmin: float, ymin: float, xmax: float, ymax: float) -> str:
    return (
        f"<object><name>{name}</name><bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin>"
        f"<xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>"
    )


def coco(images: list[dict], annotations: list[dict], names: tuple[str, ...] = ("crypt",)) -> str:
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(names)]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories})


def test_yolo_boxes_are_read(tmp_path: Path, bring_in: Importer) -> None:
    yolo_folder(tmp_path / "s", {"a": "0 0.2 0.35 0.2 0.5\n"}, ["crypt"])

    dataset = bring_in(tmp_path / "s")

    assert dataset.report.format == "YOLO"
    assert dataset.classes == ("crypt",)
    assert only_box(dataset) == pytest.approx(CORNERS, abs=1e-3)


def test_coco_boxes_are_read(tmp_path: Path, bring_in: Importer) -> None:
    write_image(tmp_path / "s" / "a.png", 0)
    annotation = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [6, 4, 12, 20]}
    (tmp_path / "s" / "x.json").write_text(coco([{"id": 7, "file_name": "a.png"}], [annotation]))

    dataset = bring_in(tmp_path / "s")

    assert dataset.report.format == "COCO"
    assert only_box(dataset) == pytest.approx(CORNERS, abs=1e-3)


def test_voc_boxes_are_1_based_and_inclusive(tmp_path: Path, bring_in: Importer) -> None:
    write_image(tmp_path / "s" / "JPEGImages" / "a.png", 0)
    (tmp_path / "s" / "Annotations").mkdir()
    xml = f"<annotation>{voc_object('crypt', 7, 5, 18, 24)}</annotation>"
    (tmp_path / "s" / "Annotations" / "a.xml").write_text(xml)

    dataset = bring_in(tmp_path / "s")

    assert dataset.report.format == "Pascal VOC"
    assert only_box(dataset) == pytest.approx(CORNERS, abs=1e-3)


@pytest.mark.parametrize(
    "text",
    [
        "a.png,6,4,18,24,crypt\n",  # keras-retinanet, OrgaQuant
        "image,class,x1,y1,x2,y2\na.png,crypt,6,4,18,24\n",
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,60,40,crypt,6,4,18,24\n",
        "image_path;label;x;y;width;height\nsome/where/a.png;crypt;6;4;12;20\n",
        "\ufeffFile Name\tLabel\tX Min\tY Min\tX Max\tY Max\na.png\tcrypt\t18\t24\t6\t4\n",
        "image,x0,y0,x1,y1,width,height,label\na.png,6,4,18,24,60,40,crypt\n",
        "image,xmin,ymin,xmax,ymax,class,name\na.png,6,4,18,24,0,crypt\n",  # YOLOv5's pandas
        'image, "xmin", "ymin", "xmax", "ymax", "class"\n"a.png" , "6", "4", "18", "24", "crypt"\n',
        "image,xmin (px),ymin (px),xmax (px),ymax (px),class\na.png,6,4,18,24,crypt\n",
        "文件名,左,上,右,下,类别\na.png,6,4,18,24,crypt\n",
        "# made by a program\n# in May\nimage,xmin,ymin,xmax,ymax,label\na.png,6,4,18,24,crypt\n",
    ],
)
def test_csv_boxes_are_read_in_the_ways_people_write_them(
    tmp_path: Path, bring_in: Importer, text: str
) -> None:
    write_image(tmp_path / "s" / "a.png", 0)
    (tmp_path / "s" / "labels.csv").write_text(text, encoding="utf-8")

    dataset = bring_in(tmp_path / "s")

    assert dataset.report.format == "CSV"
    assert dataset.classes == ("crypt",)
    assert only_box(dataset) == pytest.approx(CORNERS, abs=1e-3)


@pytest.mark.parametrize(
    "text",
    [
        " ,Label,Area,BX,BY,Width,Height\n1,a.png:0001-0042,240,6,4,12,20\n",  # ImageJ
        "ImageNumber,FileName_BF,"
        + ",".join(f"AreaShape_BoundingBox{m}_{a}" for m in ("Minimum", "Maximum") for a in "XY")
        + "\n1,a.png,6,4,18,24\n",  # CellProfiler
    ],
)
def test_tables_of_measured_objects_are_boxes(
    tmp_path: Path, bring_in: Importer, text: str
) -> None:
    write_image(tmp_path / "s" / "a.png", 0)
    (tmp_path / "s" / "Results.csv").write_text(text)

    assert only_box(bring_in(tmp_path / "s")) == pytest.approx(CORNERS, abs=1e-3)


def test_lengths_of_imagej_that_are_no_whole_pixels_are_not_taken_for_pixels(
    tmp_path: Path, bring_in: Importer
) -> None:
    write_image(tmp_path / "s" / "a.png", 0)
    rows = "1,a.png,240,6,4,12,20\n2,a.png,240,19.5,4,12,20\n"
    (tmp_path / "s" / "Results.csv").write_text(f" ,Label,Area,BX,BY,Width,Height\n{rows}")

    with pytest.raises(DatasetError, match=r"row 2 left out: its lengths .* remove the scale"):
        bring_in(tmp_path / "s")


@pytest.mark.parametrize(
    "names",
    ["names: |\n  crypt\n  cyst\n", "names:\n  - {id: 1, name: cyst}\n  - {id: 0, name: crypt}\n"],
)
def test_names_of_classes_may_be_lines_or_records(
    tmp_path: Path, bring_in: Importer, names: str
) -> None:
    root = yolo_folder(tmp_path / "s", {"a": "0 0.5 0.5 0.2 0.2\n1 0.2 0.2 0.2 0.2\n"})
    (root / "data.yaml").write_text(names)

    assert bring_in(root).report.boxes == {"crypt": 1, "cyst": 1}


def test_a_table_of_corners_that_names_no_image_is_of_the_image_of_its_name(
    tmp_path: Path, bring_in: Importer
) -> None:
    for i, name in enumerate("ab"):
        write_image(tmp_path / "images" / f"{name}.png", i)
    (tmp_path / "boxes").mkdir()
    header = "class,xmin,ymin,xmax,ymax\n"
    (tmp_path / "boxes" / "a.csv").write_text(f"{header}crypt,6,4,18,24\n")
    (tmp_path / "boxes" / "b.csv").write_text(header)

    dataset = bring_in(tmp_path)

    assert dataset.report.boxes == {"crypt": 1}
    assert dataset.report.background == 1
    assert dataset.boxes(dataset.images[0])[0].xyxy == pytest.approx(CORNERS, abs=1e-3)


def test_numbers_that_several_names_share_stay_the_classes(
    tmp_path: Path, bring_in: Importer
) -> None:
    write_image(tmp_path / "a.png", 0)
    rows = "a.png,6,4,18,24,1,organoid 7\na.png,30,4,48,24,1,organoid 8\n"
    (tmp_path / "b.csv").write_text(f"image,xmin,ymin,xmax,ymax,class,name\n{rows}")

    assert bring_in(tmp_path).report.boxes == {"1": 2}


@pytest.mark.parametrize("angle", [0, 3.14159265])
def test_turned_boxes_of_rolabelimg_are_read(
    tmp_path: Path, bring_in: Importer, angle: float
) -> None:
    write_image(tmp_path / "a.png", 0)
    sides = f"<cx>12</cx><cy>14</cy><w>12</w><h>20</h><angle>{angle}</angle>"
    box = f"<object><name>crypt</name><robndbox>{sides}</robndbox></object>"
    (tmp_path / "a.xml").write_text(f"<annotation>{box}</annotation>")

    assert only_box(bring_in(tmp_path)) == pytest.approx(CORNERS, abs=1e-3)


@pytest.mark.parametrize(
    "annotation",
    [
        {"bbox": "[6.0, 4.0, 12, 20]"},  # a table of Python
        {"segmentation": [[[6, 4], [12, 4], [12, 24], [6, 24], [18, 14]]]},  # pairs, an odd number
        {"segmentation": [[6, 4], [12, 4], [12, 24], [6, 24], [18, 14]]},
    ],
)
def test_coco_as_programs_write_it_is_read_without_names_of_classes_too(
    tmp_path: Path, bring_in: Importer, annotation: dict
) -> None:
    write_image(tmp_path / "a.png", 0)
    value = json.loads(coco([{"id": 7, "file_name": "a.png"}], []))
    value["annotations"] = [{"id": 1, "image_id": 7, "category_id": 1, **annotation}]
    del value["categories"]
    (tmp_path / "x.json").write_text(json.dumps(value))

    dataset = bring_in(tmp_path)

    assert only_box(dataset) == pytest.approx(CORNERS, abs=1e-3)
    assert dataset.classes == ("class_1",)


def test_a_turned_box_of_coco_is_named(tmp_path: Path, bring_in: Importer) -> None:
    write_image(tmp_path / "a.png", 0)
    annotation = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [12, 14, 12, 20, 30]}
    (tmp_path / "x.json").write_text(coco([{"id": 7, "file_name": "a.png"}], [annotation]))

    with pytest.raises(DatasetError, match=r"its box has 5 numbers, and boxes of COCO have four"):
        bring_in(tmp_path)


def test_polygons_become_boxes_and_outlines(tmp_path: Path, bring_in: Importer) -> None:
    yolo_folder(tmp_path / "y", {"a": "0 0.1 0.1 0.3 0.1 0.3 0.6\n0 0.5 0.5 0.2 0.2\n"}, ["crypt"])

    dataset = bring_in(tmp_path / "y")
    (record,) = dataset.images
    outlines = dataset.contours(record)

    assert dataset.boxes(record)[0].xyxy == pytest.approx(CORNERS, abs=1e-3)
    assert outlines is not None
    assert outlines[0] == pytest.approx(np.array([[6, 4], [18, 4], [18, 24]]), abs=0.01)
    assert outlines[1].shape == (0, 2)
    assert dataset.crypts(record) is None


def test_coco_polygons_become_outlines(tmp_path: Path, bring_in: Importer) -> None:
    write_image(tmp_path / "s" / "a.png", 0)
    parts = [[6, 4, 18, 4, 18, 24], [6, 4, 7, 4, 7, 5]]
    annotation = {"id": 1, "image_id": 7, "category_id": 1, "segmentation": parts}
    (tmp_path / "s" / "x.json").write_text(coco([{"id": 7, "file_name": "a.png"}], [annotation]))

    dataset = bring_in(tmp_path / "s")
    outlines = dataset.contours(dataset.images[0])

    assert outlines is not None
    assert outlines[0].tolist() == [[6, 4], [18, 4], [18, 24]]
    assert only_box(dataset) == pytest.approx(CORNERS, abs=1e-3)


def test_one_bad_line_costs_one_box_and_is_named(tmp_path: Path, bring_in: Importer) -> None:
    bad = ["0 0.5 nan 0.2 0.2", "crypt here", "0 0.5 apple 0.2 0.2"]
    text = "\n".join(["0 0.5 0.5 0.2 0.2", *bad, "0 0.2 0.2 0.1 0.1"])
    yolo_folder(tmp_path / "s", {"a": text}, ["crypt"])

    dataset = bring_in(tmp_path / "s")

    assert dataset.report.boxes == {"crypt": 2}
    assert {p.file for p in dataset.report.repaired} == {"images/a.png"}
    assert [p.what for p in dataset.report.repaired] == [
        "label line 2 left out: 'nan' is not a number",
        "label line 3 left out: it has 2 of the 5 values (class, centre x and y, width, height)",
        "label line 4 left out: 'apple' is not a number",
    ]


def test_an_image_whose_labels_are_all_unreadable_does_not_become_background(
    tmp_path: Path, bring_in: Importer
) -> None:
    labels = {"good": "0 0.5 0.5 0.2 0.2\n", "bad": "0 120 80 20 20\n"}  # pixels, not fractions

    report = bring_in(yolo_folder(tmp_path / "s", labels, ["crypt"])).report

    assert (report.kept, report.background) == (1, 0)
    assert report.skipped[0].file == "images/bad.png"
    assert "coordinates are not fractions of the image" in report.skipped[0].what


def test_bad_objects_of_other_formats_are_named_too(tmp_path: Path, bring_in: Importer) -> None:
    write_image(tmp_path / "v" / "a.png", 0)
    bad = "<object><name>crypt</name></object>"
    xml = f"<annotation>{voc_object('crypt', 7, 5, 18, 24)}{bad}</annotation>"
    (tmp_path / "v" / "a.xml").write_text(xml)
    write_image(tmp_path / "c" / "a.png", 0)
    rows = "a.png,6,4,18,24,crypt\na.png,6,4,eighteen,24,crypt\n"
    (tmp_path / "c" / "boxes.csv").write_text(rows)

    voc, table = bring_in(tmp_path / "v", "voc"), bring_in(tmp_path / "c", "csv")

    assert "object 2 left out" in voc.report.repaired[0].what
    assert table.report.repaired[0].what == "row 2 left out: 'eighteen' is not a number"


def test_labels_and_lists_without_their_image_are_named(tmp_path: Path, bring_in: Importer) -> None:
    yolo = yolo_folder(tmp_path / "y", {"a": "0 0.5 0.5 0.2 0.2\n"}, ["crypt"])
    (yolo / "labels" / "lost.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (yolo / "README.txt").write_text("Taken in May.\n")
    write_image(tmp_path / "c" / "a.png", 0)
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "gone.png"}]
    annotations = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [6, 4, 12, 20]} for i in (1, 2)
    ]
    (tmp_path / "c" / "x.json").write_text(coco(images, annotations))

    lost = [(p.file, p.what) for p in bring_in(yolo, "y").report.skipped]
    listed = [p.what for p in bring_in(tmp_path / "c", "c").report.skipped]

    assert lost == [("labels/lost.txt", "label without an image of that name")]
    assert listed == [
        "lists 'gone.png', which is not there",
        "annotations of images that are not there: 1",
    ]


def test_an_image_without_a_label_is_left_out_but_an_empty_label_is_background(
    tmp_path: Path, bring_in: Importer
) -> None:
    root = yolo_folder(tmp_path / "s", {"a": "0 0.5 0.5 0.2 0.2\n", "empty": ""}, ["crypt"])
    write_image(root / "images" / "unlabelled.png", 99)

    report = bring_in(root).report

    assert report.kept == 2
    assert report.background == 1
    assert [p.file for p in report.skipped] == ["images/unlabelled.png"]
    assert "background" in report.skipped[0].what


def test_a_listed_coco_image_and_an_empty_csv_row_are_background(
    tmp_path: Path, bring_in: Importer
) -> None:
    write_image(tmp_path / "c" / "a.png", 0)
    (tmp_path / "c" / "x.json").write_text(coco([{"id": 1, "file_name": "a.png"}], []))
    write_image(tmp_path / "t" / "a.png", 0)
    write_image(tmp_path / "t" / "b.png", 1)
    (tmp_path / "t" / "x.csv").write_text("a.png,,,,,\nb.png,6,4,18,24,crypt\n")

    assert bring_in(tmp_path / "c", "c").report.background == 1
    assert bring_in(tmp_path / "t", "t").report.background == 1


def test_names_of_classes_come_from_a_list_or_are_numbered_openly(
    tmp_path: Path, bring_in: Importer
) -> None:
    listed = yolo_folder(tmp_path / "l", {"a": "1 0.5 0.5 0.2 0.2\n"})
    (listed / "classes.txt").write_text("cyst\nearly\n")
    bare = yolo_folder(tmp_path / "b", {"a": "1 0.5 0.5 0.2 0.2\n"})

    assert bring_in(listed, "l").classes == ("early",)
    dataset = bring_in(bare, "b")
    assert dataset.classes == ("class_1",)
    assert "class_0, class_1" in dataset.report.notes[0]


def test_the_same_stem_in_two_folders_goes_with_the_label_of_its_own_folder(
    tmp_path: Path, bring_in: Importer
) -> None:
    for number, part in enumerate(("train", "val")):
        write_image(tmp_path / "s" / part / "images" / "a.png", number)
        (tmp_path / "s" / part / "labels").mkdir()
        text = "0 0.5 0.5 0.2 0.2\n" * 1 + "0 0.2 0.2 0.1 0.1\n" * number
        (tmp_path / "s" / part / "labels" / "a.txt").write_text(text)

    dataset = bring_in(tmp_path / "s")

    assert [(r.source, r.id, sum(r.counts.values())) for r in dataset.images] == [
        ("train/images/a.png", "a", 1),
        ("val/images/a.png", "a-2", 2),
    ]


def test_of_two_formats_the_one_that_labels_more_images_is_taken_and_the_other_named(
    tmp_path: Path, bring_in: Importer
) -> None:
    root = yolo_folder(tmp_path / "s", {"a": "0 0.5 0.5 0.2 0.2\n", "b": ""}, ["crypt"])
    (root / "some.csv").write_text("a.png,6,4,18,24,crypt\n")

    report = bring_in(root).report

    assert report.format == "YOLO"
    assert report.notes[0] == "Labels were read as YOLO; also found: CSV (1 images)."


def test_instance_masks_beside_the_boxes_become_outlines(
    tmp_path: Path, bring_in: Importer
) -> None:
    import cv2

    root = yolo_folder(tmp_path / "s", {"a": "0 0.2 0.35 0.2 0.5\n0 0.75 0.5 0.2 0.5\n"}, ["crypt"])
    mask = np.zeros((40, 60), np.uint8)
    mask[4:24, 6:18] = 3
    (root / "masks").mkdir()
    cv2.imwrite(str(root / "masks" / "a.png"), mask)

    dataset = bring_in(root)
    outlines = dataset.contours(dataset.images[0])

    assert len(dataset.images) == 1
    assert outlines is not None
    assert outlines[0].min(axis=0).tolist() == [6.5, 4.5]
    assert outlines[0].max(axis=0).tolist() == [17.5, 23.5]
    assert len(outlines[1]) == 0
    assert "Outlines are known for 1 of 2 boxes." in dataset.report.notes


def test_xml_entities_and_huge_yaml_names_do_no_harm(tmp_path: Path, bring_in: Importer) -> None:
    write_image(tmp_path / "v" / "a.png", 0)
    write_image(tmp_path / "v" / "b.png", 1)
    bomb = '<!DOCTYPE a [<!ENTITY x "y">]><annotation>&x;</annotation>'
    (tmp_path / "v" / "a.xml").write_text(bomb)
    (tmp_path / "v" / "b.xml").write_text(
        f"<annotation>{voc_object('crypt', 7, 5, 18, 24)}</annotation>"
    )
    laughs = "a: &a [x, x]\nb: &b [*a, *a]\nnames: [*b, *b]\n"
    yolo = yolo_folder(tmp_path / "y", {"a": "0 0.5 0.5 0.2 0.2\n"})
    (yolo / "data.yaml").write_text(laughs)

    report = bring_in(tmp_path / "v", "v").report

    assert "declares XML entities" in report.skipped[0].what
    assert bring_in(yolo, "y").classes == ("class_0",)


def test_inspecting_counts_images_and_boxes_without_importing(tmp_path: Path) -> None:
    root = yolo_folder(
        tmp_path / "s",
        {"a": "0 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.2 0.2\n", "b": "x\n"},
        ["cyst", "late"],
    )
    write_image(root / "images" / "c.png", 9)

    info = inspect_source(root)

    assert (info.format, info.images, info.labelled) == ("YOLO", 3, 1)
    assert info.classes == {"cyst": 1, "late": 1}


def test_a_source_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "notes.txt").write_text("no images here")

    with pytest.raises(DatasetError, match="holds no PNG, JPEG, BMP or TIFF image"):
        inspect_source(tmp_path / "s")
