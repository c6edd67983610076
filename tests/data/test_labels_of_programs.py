"""Labels of annotation programs end as the same boxes; what is not read is named with advice."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from msip_core.data.coco_objects import read_object as coco_object
from msip_core.data.dataset import Dataset
from msip_core.data.formats_json import geojson
from msip_core.data.labels_records import turned
from msip_core.data.labels_voc import _object as voc_object
from msip_core.errors import DatasetError
from tests.data.conftest import Importer
from tests.data.labelling import boxes, field, left_out, mended

BOX = [(40.0, 30.0, 80.0, 70.0)]
CORNERS = [[40, 30], [80, 30], [80, 70], [40, 70]]


def labelme(shapes: list[dict]) -> str:
    return json.dumps({"shapes": shapes, "imagePath": "..\\x\\a.png", "imageData": None,
                       "imageWidth": 200, "imageHeight": 120})  # fmt: skip


def via(regions: list[dict]) -> str:
    return json.dumps({"a.png123": {"filename": "a.png", "size": 123, "regions": regions}})


def studio(value: dict, **more: object) -> str:
    result = {"type": "rectanglelabels", "original_width": 200, "original_height": 120}
    name = "12ab34cd-a.png"
    return json.dumps([{
        "id": 1, "file_upload": name, "data": {"image": f"/data/upload/1/{name}"},
        "annotations": [{"result": [{**result, "value": value}]}], **more,
    }])  # fmt: skip


def test_a_value_that_is_missing_is_told_in_words(tmp_path: Path, bring_in: Importer) -> None:
    field(tmp_path / "a.png")
    (tmp_path / "a.geojson").write_text(geo(None))

    with pytest.raises(DatasetError, match="a value of it is missing, or of another kind"):
        bring_in(tmp_path)


def geo(geometry: dict | None) -> str:
    properties = {"objectType": "annotation", "classification": {"name": "crypt"}}
    feature = {"type": "Feature", "geometry": geometry, "properties": properties}
    return json.dumps({"type": "FeatureCollection", "features": [feature]})


RECT = {"name": "rect", "x": 40, "y": 30, "width": 40, "height": 40}
VIA_CSV = (
    "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,"
    "region_attributes\n"
    'a.png,1,"{}",1,0,"{""name"":""rect"",""x"":40,""y"":30,""width"":40,""height"":40}",'
    '"{""type"":""crypt""}"\n'
)
STUDIO_CSV = (
    "annotation_id,annotator,id,image,label\n3,1,1,/x/12ab34cd-a.png,"
    '"[{""x"": 20, ""y"": 25, ""width"": 20, ""height"": 33.3333, ""rotation"": 0, '
    '""rectanglelabels"": [""crypt""], ""original_width"": 200, ""original_height"": 120}]"\n'
)
CVAT = (
    '<annotations><version>1.1</version><image id="0" name="sub/a.png" width="200" height="120">'
    "{}</image></annotations>"
)


@pytest.mark.parametrize(
    ("program", "file", "text"),
    [
        ("labelme", "a.json", labelme([{"label": "crypt", "points": [[80, 70], [40, 30]],
                                        "shape_type": "rectangle"}])),
        ("labelme", "a.json", labelme([{"label": "crypt", "points": CORNERS,
                                        "shape_type": "polygon"}])),
        ("labelme", "a.json", labelme([{"label": "crypt", "points": CORNERS,
                                        "shape_type": "oriented_rectangle"}])),
        ("labelme", "a.json", labelme([{"label": "crypt", "points": [[40, 30], [79, 69]],
                                        "shape_type": "mask", "mask": "iVBO"}])),
        ("labelme", "a.json", labelme([{"label": "crypt", "points": [[60, 50], [60, 70]],
                                        "shape_type": "circle"}])),
        ("CVAT XML", "annotations.xml", CVAT.format(
            '<box label="crypt" xtl="40" ytl="30" xbr="80" ybr="70"/>')),
        ("CVAT XML", "annotations.xml", CVAT.format(
            '<polygon label="crypt" points="40,30;80,30;80,70;40,70"/>')),
        ("CVAT XML", "annotations.xml", CVAT.format(
            '<ellipse label="crypt" cx="60" cy="50" rx="20" ry="20"/>')),
        ("CVAT XML", "annotations.xml", CVAT.format(
            '<mask label="crypt" rle="1" left="40" top="30" width="40" height="40"/>')),
        ("VIA", "via.json", via([{"shape_attributes": RECT,
                                  "region_attributes": {"type": "crypt"}}])),
        ("VIA", "via.json", json.dumps({"_via_settings": {}, "_via_img_metadata": json.loads(via(
            [{"shape_attributes": {"name": "circle", "cx": 60, "cy": 50, "r": 20},
              "region_attributes": {"note": "x", "class": {"crypt": True, "cyst": False}}}]))})),
        ("CVAT XML", "annotations.xml", CVAT.format(
            '<ellipse label="crypt" cx="60" cy="50" rx="20" ry="20" rotation="30"/>')),
        ("VIA", "via.json", via([{"region_attributes": {"type": "crypt"}, "shape_attributes": {
            "name": "ellipse", "cx": 60, "cy": 50, "rx": 20, "ry": 20, "theta": 0.5}}])),
        ("VIA", "via.csv", VIA_CSV),
        ("QuPath GeoJSON", "a.geojson", geo({"type": "Polygon", "coordinates": [CORNERS]})),
        ("QuPath GeoJSON", "a.png.geojson", geo({"type": "MultiPolygon", "coordinates": [
            [[[40, 30], [80, 30], [60, 40]]], [[[40, 60], [80, 60], [60, 70]]]]})),
        ("Label Studio", "tasks.json", studio({
            "x": 20, "y": 25, "width": 20, "height": 33.3333, "rectanglelabels": ["crypt"]})),
        ("Label Studio", "tasks.json", studio({
            "points": [[20, 25], [40, 25], [40, 58.3333]], "polygonlabels": ["crypt"]})),
        ("Label Studio", "min.json", json.dumps([{
            "image": "s3://lab/x/a.png", "annotation_id": 3, "label": [{
                "x": 20, "y": 25, "width": 20, "height": 33.3333, "rectanglelabels": ["crypt"],
                "original_width": 200, "original_height": 120}]}])),
        ("Label Studio", "tasks.json", json.dumps([{"data": {"image": "/x/a.png"}, "annotations": [
            {"result": [
                {"id": "r1", "type": "rectangle", "original_width": 200, "original_height": 120,
                 "value": {"x": 20, "y": 25, "width": 20, "height": 33.3333}},
                {"id": "r1", "type": "labels", "original_width": 200, "original_height": 120,
                 "value": {"x": 20, "y": 25, "width": 20, "height": 33.3333,
                           "labels": ["crypt"]}}]}]}])),
        ("Label Studio", "min.csv", STUDIO_CSV),
        ("DOTA", "labelTxt/a.txt", "imagesource:x\ngsd:1\n60 30 80 50 60 70 40 50 crypt 0\n"),
        ("CSV", "labels.csv", "crypt,40,30,40,40,a.png,200,120\n"),  # Make Sense
        ("DOTA", "a.txt", "40 30 80 30 80 70 40 70 crypt"),
        ("Supervisely", "a.png.json", json.dumps({
            "size": {"width": 200, "height": 120}, "objects": [{
                "classTitle": "crypt", "geometryType": "rectangle",
                "points": {"exterior": [[40, 30], [80, 70]], "interior": []}}]})),
        ("CreateML", "a.json", json.dumps([{"image": "a.png", "annotations": [{
            "label": "crypt", "coordinates": {"x": 60, "y": 50, "width": 40, "height": 40}}]}])),
    ],
)  # fmt: skip
def test_boxes_of_a_program_are_read(
    tmp_path: Path, bring_in: Importer, program: str, file: str, text: str
) -> None:
    field(tmp_path / "s" / "a.png")
    (tmp_path / "s" / file).parent.mkdir(exist_ok=True)
    (tmp_path / "s" / file).write_text(text)

    dataset = bring_in(tmp_path / "s")

    assert dataset.report.format == program
    assert dataset.classes == ("crypt",)
    assert boxes(dataset) == {"a.png": BOX}
    assert dataset.report.skipped == ()


def test_a_class_of_qupath_may_have_several_names() -> None:
    value = json.loads(geo({"type": "Polygon", "coordinates": [CORNERS]}))
    value["features"][0]["properties"]["classification"] = {"names": ["crypt", "Ki67"]}

    (record,) = geojson(value) or []

    assert [obj.name for obj in record.labels.objects] == ["crypt: Ki67"]


def test_shapes_of_qupath_on_several_planes_are_not_taken_for_those_of_one() -> None:
    value = json.loads(geo({"type": "Polygon", "coordinates": [CORNERS]}))
    second = json.loads(json.dumps(value["features"][0]))
    second["geometry"]["plane"] = {"c": -1, "z": 3, "t": 0}
    value["features"].append(second)

    with pytest.raises(ValueError, match="several planes"):
        geojson(value)


def test_a_bad_shape_costs_one_box_and_is_named(tmp_path: Path, bring_in: Importer) -> None:
    field(tmp_path / "s" / "a.png")
    good = {"label": "crypt", "points": CORNERS, "shape_type": "polygon"}
    bad = [
        {"label": "crypt", "points": [[1, 2]], "shape_type": "point"},
        {"label": "crypt", "points": [[1, "x"], [3, 4], [5, 6]]},
        {"label": "crypt"},
        {"label": {"a": 1}, "points": CORNERS},
        7,
    ]
    (tmp_path / "s" / "a.json").write_text(labelme([*bad, good]))

    dataset = bring_in(tmp_path / "s")

    assert boxes(dataset) == {"a.png": BOX}
    assert [what.split(" left out")[0] for what in mended(dataset)] == [
        f"shape {i}" for i in range(1, 6)
    ]
    assert "a point has no extent" in mended(dataset)[0]


def test_an_empty_file_is_background_but_an_unfinished_task_is_not_labelled(
    tmp_path: Path, bring_in: Importer
) -> None:
    for folder in ("m", "t"):
        for i, name in enumerate("ab"):
            field(tmp_path / folder / f"{name}.png", i)
    (tmp_path / "m" / "a.json").write_text(labelme([]))
    done = json.loads(studio({"x": 20, "y": 25, "width": 20, "height": 20}))[0]
    open_task = {"id": 2, "data": {"image": "/x/b.png"}, "annotations": []}
    (tmp_path / "t" / "t.json").write_text(json.dumps([done, open_task]))

    empty, tasks = bring_in(tmp_path / "m", "m"), bring_in(tmp_path / "t", "t")

    assert empty.report.background == 1
    assert boxes(empty) == {"a.png": []}
    assert set(boxes(tasks)) == {"a.png"}
    assert left_out(tasks)["b.png"].startswith("image without a label")


def test_turned_boxes_become_the_boxes_around_them() -> None:
    # 20 x 10 about its corner (50, 50), a quarter turn clockwise: it hangs down to the left.
    points = turned(50, 50, [(50, 50), (70, 50), (70, 60), (50, 60)], 90)

    assert points.round(6).tolist() == [[50, 50], [50, 70], [40, 70], [40, 50]]
    assert np.allclose(turned(5, 5, points, 0), points)


def test_a_box_that_cvat_turned_is_turned_in_its_coco_and_voc_exports_too() -> None:
    coco = {"bbox": [10, 20, 40, 20], "attributes": {"rotation": 90.0}}
    voc = ElementTree.fromstring(
        "<object><name>crypt</name><bndbox><xmin>10</xmin><ymin>20</ymin><xmax>50</xmax>"
        "<ymax>40</ymax></bndbox><attributes><attribute><name>rotation</name><value>90.0</value>"
        "</attribute></attributes></object>"
    )

    for found in (coco_object("crypt", coco).object, voc_object(voc)):
        assert np.round(found.xyxy, 6).tolist() == [20, 10, 40, 50]


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("a_seg.npy", "save the masks as PNG or TIFF"),
        ("RoiSet.zip", "ROI Manager"),
        ("a.qpdata", "export the objects as GeoJSON"),
        ("boxes.xlsx", "save the boxes as CSV"),
        ("train.tfrecord", "export COCO or YOLO"),
        ("labels.h5", "TIFF masks"),
    ],
)
def test_label_files_that_are_not_read_are_named_with_what_to_export(
    tmp_path: Path, bring_in: Importer, name: str, advice: str
) -> None:
    field(tmp_path / "s" / "a.png")
    (tmp_path / "s" / name).write_bytes(b"\x00\x01")

    assert advice in left_out(bring_in(tmp_path / "s"))[name]


def test_other_files_that_may_hold_labels_are_named_in_one_note(
    tmp_path: Path, bring_in: Importer
) -> None:
    field(tmp_path / "s" / "a.png")
    (tmp_path / "s" / "README.txt").write_text("Taken in May.")
    for i in range(7):
        (tmp_path / "s" / f"export{i}.json").write_text('{"frames": []}')

    (note,) = bring_in(tmp_path / "s").report.notes

    assert note == (
        "Files in which no labels were recognised: export0.json, export1.json, export2.json, "
        "export3.json, export4.json and 2 more. If they hold labels, export these as COCO or YOLO."
    )


def track(*shapes: tuple[int, float, int], kind: str = "box") -> str:
    """Shapes of 20 pixels at (frame, x, whether outside)."""
    found = "".join(
        f'<box frame="{frame}" xtl="{x}" ytl="10" xbr="{x + 20}" ybr="30" outside="{outside}"/>'
        if kind == "box"
        else f'<polygon frame="{frame}" points="{x},10;{x + 20},10;{x},30" outside="{outside}"/>'
        for frame, x, outside in shapes
    )
    return f'<track id="0" label="crypt">{found}</track>'


def video(folder: Path, *tracks: str) -> Path:
    for frame in range(5):
        field(folder / "images" / f"frame_{frame:06d}.PNG", frame)
    size = "<original_size><width>200</width><height>120</height></original_size>"
    text = f"<annotations><meta><task>{size}</task></meta>{''.join(tracks)}</annotations>"
    (folder / "annotations.xml").write_text(text)
    return folder


def test_boxes_of_cvat_for_video_move_along_between_their_frames(
    tmp_path: Path, bring_in: Importer
) -> None:
    moving = track((0, 10, 0), (2, 30, 0), (3, 30, 1))
    still = track((1, 100, 0), (2, 100, 0), (3, 100, 0))

    dataset = bring_in(video(tmp_path / "s", moving, still))

    assert {Path(name).stem: found for name, found in boxes(dataset).items()} == {
        "frame_000000": [(10, 10, 30, 30)],
        "frame_000001": [(20, 10, 40, 30), (100, 10, 120, 30)],
        "frame_000002": [(30, 10, 50, 30), (100, 10, 120, 30)],
        "frame_000003": [(100, 10, 120, 30)],
    }
    assert left_out(dataset)["images/frame_000004.PNG"].startswith("image without a label")


def test_a_track_that_is_not_known_at_a_frame_is_named(tmp_path: Path, bring_in: Importer) -> None:
    gap = track((0, 10, 0), (2, 30, 0), kind="polygon")

    dataset = bring_in(video(tmp_path / "s", gap, track((1, 100, 0))))

    assert "a track of polygons has no shape at frame 1" in left_out(dataset)["annotations.xml"]
    assert not dataset.report.boxes


NAPARI = "index,shape-type,vertex-index,axis-0,axis-1\n"


def napari(*shapes: tuple[str, list[tuple[float, ...]]], header: str = NAPARI) -> str:
    return header + "".join(
        f"{i},{kind},{n},{','.join(map(str, point))}\n"
        for i, (kind, points) in enumerate(shapes)
        for n, point in enumerate(points)
    )


SQUARE = [(29.5, 39.5), (29.5, 79.5), (69.5, 79.5), (69.5, 39.5)]  # y before x, middles of pixels


@pytest.mark.parametrize("file", ["a.csv", "a_shapes.csv", "a_Shapes [1].csv"])
@pytest.mark.parametrize(
    ("kind", "points", "corners"),
    [
        ("rectangle", SQUARE, 0),
        ("ellipse", SQUARE, 0),
        ("ellipse", [(49.5, 59.5 - 800**0.5), (49.5 - 800**0.5, 59.5),
                     (49.5, 59.5 + 800**0.5), (49.5 + 800**0.5, 59.5)], 0),
        ("polygon", [*SQUARE, (50, 39.5)], 5),
    ],
)  # fmt: skip
def test_shapes_of_napari_become_boxes_and_outlines(
    tmp_path: Path, bring_in: Importer, file: str, kind: str, points: list, corners: int
) -> None:
    field(tmp_path / "s" / "a.png")
    (tmp_path / "s" / file).write_text(napari((kind, points)))

    dataset = bring_in(tmp_path / "s")

    assert dataset.report.format == "napari shapes"
    assert boxes(dataset) == {"a.png": BOX}
    assert dataset.classes == ("object",)
    assert outlines(dataset) == ([corners] if corners else [])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("index,axis-0,axis-1\n0,1,2\n", "points have no extent"),
        (napari(("rectangle", [(z, *p) for z, p in enumerate(SQUARE)]),
                header=NAPARI.replace("axis-1", "axis-1,axis-2")), "several planes"),
    ],
)  # fmt: skip
def test_shapes_of_napari_that_are_no_objects_are_named(
    tmp_path: Path, bring_in: Importer, text: str, reason: str
) -> None:
    field(tmp_path / "s" / "a.png")
    (tmp_path / "s" / "a.csv").write_text(text)

    assert reason in left_out(bring_in(tmp_path / "s"))["a.csv"]


def test_lists_of_one_image_a_line_have_their_names_beside_them(
    tmp_path: Path, bring_in: Importer
) -> None:
    for i, name in enumerate(("a 1.jpg", "b.jpg", "c.jpg")):
        field(tmp_path / "train" / name, i)
    (tmp_path / "train" / "_classes.txt").write_text("crypt\nno\n")
    (tmp_path / "train" / "_annotations.txt").write_text(
        "a 1.jpg 40,30,80,70,1 10,10,30,30,0\nb.jpg 40,30,80,70,7 1,1,20,20,0\nc.jpg\n"
    )

    dataset = bring_in(tmp_path)

    assert dataset.report.format == "YOLO list (Keras, PyTorch)"
    assert boxes(dataset) == {
        "train/a 1.jpg": [(40, 30, 80, 70), (10, 10, 30, 30)],
        "train/b.jpg": [(1, 1, 20, 20)],
        "train/c.jpg": [],
    }
    assert set(dataset.classes) == {"crypt", "no"}
    assert "class number 7 has no name" in mended(dataset)[0]


def test_an_image_that_was_turned_in_label_studio_is_left_out(
    tmp_path: Path, bring_in: Importer
) -> None:
    for i, name in enumerate("ab"):
        field(tmp_path / "s" / f"{name}.png", i)
    task = json.loads(studio({"x": 20, "y": 25, "width": 20, "height": 20}))[0]
    task["annotations"][0]["result"][0]["image_rotation"] = 90
    (tmp_path / "s" / "tasks.json").write_text(
        json.dumps(
            [
                task,
                {
                    **task,
                    "data": {"image": "b.png"},
                    "file_upload": "",
                    "annotations": [{"result": []}],
                },
            ]
        )
    )

    dataset = bring_in(tmp_path / "s")

    assert "turned in Label Studio" in left_out(dataset)["a.png"]
    assert set(boxes(dataset)) == {"b.png"}


def test_turned_boxes_are_no_outlines(tmp_path: Path, bring_in: Importer) -> None:
    field(tmp_path / "s" / "a.png")
    (tmp_path / "s" / "a.txt").write_text("0 0.3 0.25 0.4 0.42 0.3 0.58 0.2 0.42\n")

    dataset = bring_in(tmp_path / "s")

    assert len(boxes(dataset)["a.png"]) == 1
    assert outlines(dataset) == []


def outlines(dataset: Dataset) -> list[int]:
    return [len(points) for points in dataset.contours(dataset.images[0]) or ()]


def test_polygons_of_programs_are_kept_as_outlines(tmp_path: Path, bring_in: Importer) -> None:
    field(tmp_path / "s" / "a.png")
    shapes = [
        {"label": "crypt", "points": CORNERS, "shape_type": "polygon"},
        {"label": "cyst", "points": [[1, 1], [30, 30]], "shape_type": "rectangle"},
    ]
    (tmp_path / "s" / "a.json").write_text(labelme(shapes))

    assert outlines(bring_in(tmp_path / "s")) == [4, 0]


def test_outlines_of_cellpose_are_objects(tmp_path: Path, bring_in: Importer) -> None:
    field(tmp_path / "s" / "a.png")
    text = "40,30,80,30,80,70,40,60\n100,30,120,30\n"
    (tmp_path / "s" / "a_cp_outlines.txt").write_text(text)

    dataset = bring_in(tmp_path / "s")

    assert (dataset.report.format, dataset.classes) == ("Cellpose", ("object",))
    assert boxes(dataset) == {"a.png": [(40.0, 30.0, 80.0, 70.0)]}
    assert dataset.contours(dataset.images[0]) is not None
    assert "shape 2 left out" in mended(dataset)[0]


@pytest.mark.parametrize(
    ("header", "row", "name"),
    [
        ("filename,width,height,x,y,w,h,class", "a.png,200,120,40,30,40,40,crypt", "crypt"),
        ("image_name,type,text,X,Y,Width,Height", "a.png,rectangle,crypt,40,30,40,40", "crypt"),
        ("image_name,type,X,Y,Width,Height", "a.png,Rectangle,40,30,40,40", "object"),
    ],
)
def test_tables_tell_sides_of_images_and_kinds_of_shapes_from_boxes_and_classes(
    bring_in: Importer, tmp_path: Path, header: str, row: str, name: str
) -> None:
    folder = field(tmp_path / "in" / "a.png").parent
    (folder / "boxes.csv").write_text(f"{header}\n{row}\n")

    dataset = bring_in(folder)

    assert boxes(dataset)["a.png"] == BOX
    assert dataset.classes == (name,) or list(dataset.classes) == [name]


@pytest.mark.parametrize("ending", ["oir", "stk", "qptiff", "mov", "psd", "manifest"])
def test_files_of_rare_kinds_are_named(bring_in: Importer, tmp_path: Path, ending: str) -> None:
    folder = field(tmp_path / "in" / "a.png").parent
    (folder / f"b.{ending}").write_bytes(b"x" * 99)

    assert "is not read" in left_out(bring_in(folder))[f"b.{ending}"]
