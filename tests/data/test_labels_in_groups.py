"""What marks mean together: groups, ground truth, areas, tasks of several images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from msip_core.errors import DatasetError
from tests.data.conftest import Importer
from tests.data.labelling import boxes, field, left_out, mended
from tests.data.test_labels_of_programs import BOX, CVAT, RECT, labelme, studio, via

PARTS = [(40.0, 30.0, 80.0, 45.0), (40.0, 55.0, 80.0, 70.0)]


def ring(box: tuple[float, ...]) -> list[list[float]]:
    x1, y1, x2, y2 = box
    return [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]


def grouped(number: int | None) -> str:
    return labelme([{"label": "crypt", "points": ring(p), "group_id": number} for p in PARTS])


def cvat_grouped(number: int) -> str:
    shape = '<box label="crypt" xtl="{}" ytl="{}" xbr="{}" ybr="{}" group_id="{}"/>'
    return CVAT.format("".join(shape.format(*part, number) for part in PARTS))


@pytest.mark.parametrize(
    ("file", "text", "found"),
    [
        ("a.json", grouped(3), BOX),
        ("a.json", grouped(None), PARTS),
        ("annotations.xml", cvat_grouped(3), BOX),
        ("annotations.xml", cvat_grouped(0), PARTS),
    ],
)
def test_shapes_that_a_person_grouped_are_one_object(
    tmp_path: Path, bring_in: Importer, file: str, text: str, found: list
) -> None:
    field(tmp_path / "s" / "a.png")
    (tmp_path / "s" / file).write_text(text)

    dataset = bring_in(tmp_path / "s")

    assert boxes(dataset) == {"a.png": found}
    assert mended(dataset) == (
        ["shapes of one group and class were taken as parts of one object: 2 as 1"]
        if found == BOX
        else []
    )


def test_numbers_of_via_are_called_as_its_project_shows_them(
    tmp_path: Path, bring_in: Importer
) -> None:
    field(tmp_path / "s" / "a.png")
    regions = [
        {"shape_attributes": {**RECT, "x": x}, "region_attributes": {"kind": kind}}
        for x, kind in ((40, "1"), (100, "2"), (140, "cyst"))
    ]
    options = {"1": "crypt", "2": " ", "cyst": "a closed one"}
    project = {
        "_via_img_metadata": json.loads(via(regions)),
        "_via_attributes": {"region": {"kind": {"type": "dropdown", "options": options}}},
    }
    (tmp_path / "s" / "via.json").write_text(json.dumps(project))

    assert bring_in(tmp_path / "s").report.boxes == {"2": 1, "crypt": 1, "cyst": 1}


def test_of_several_labels_of_one_task_the_ground_truth_is_taken(
    tmp_path: Path, bring_in: Importer
) -> None:
    field(tmp_path / "s" / "a.png")
    value = {"x": 20, "y": 25, "width": 20, "height": 33.3333, "rectanglelabels": ["crypt"]}
    (task,) = json.loads(studio(value))
    other = {"result": [{**task["annotations"][0]["result"][0], "value": {**value, "x": 60}}]}
    task["annotations"] = [other, {**task["annotations"][0], "ground_truth": True}]
    (tmp_path / "s" / "tasks.json").write_text(json.dumps([task]))

    dataset = bring_in(tmp_path / "s")

    assert boxes(dataset) == {"a.png": BOX}
    assert mended(dataset) == ["labelled 2 times: the labels marked as ground truth were taken"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"x": 1, "y": 1, "width": 9, "height": 9, "rectanglelabels": ["crypt", "cyst"]},
         "it has several classes (crypt, cyst)"),
        ({"x": 1, "y": 1, "width": 0.5, "keypointlabels": ["crypt"]}, "a point has no extent"),
    ],
)  # fmt: skip
def test_regions_of_label_studio_that_are_no_object_of_one_class_are_named(
    tmp_path: Path, bring_in: Importer, value: dict, reason: str
) -> None:
    field(tmp_path / "s" / "a.png")
    (tmp_path / "s" / "tasks.json").write_text(studio(value))

    with pytest.raises(DatasetError) as refused:
        bring_in(tmp_path / "s")
    assert reason in str(refused.value)


def test_a_task_of_several_pictures_in_label_studio_is_left_out(
    tmp_path: Path, bring_in: Importer
) -> None:
    value = {"x": 20, "y": 25, "width": 20, "height": 33.3333, "rectanglelabels": ["crypt"]}
    (task,) = json.loads(studio(value))
    (result,) = task["annotations"][0]["result"]
    task["annotations"][0]["result"] = [{**result, "to_name": to} for to in ("one", "two")]
    other = {**json.loads(studio(value))[0], "file_upload": "b.png"}
    for i, name in enumerate("ab"):
        field(tmp_path / "s" / f"{name}.png", i)
    (tmp_path / "s" / "tasks.json").write_text(json.dumps([task, other]))

    dataset = bring_in(tmp_path / "s")

    assert boxes(dataset) == {"b.png": BOX}
    assert "its task shows 2 pictures" in left_out(dataset)["a.png"]


def qupath(*features: tuple[str, str, tuple[float, ...]]) -> str:
    """Features of (kind, class or "", box), each with a name of its own."""
    found = [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring(box)]},
         "properties": {"objectType": kind, "name": f"Organoid {n}",
                        **({"classification": {"name": name}} if name else {})}}
        for n, (kind, name, box) in enumerate(features)
    ]  # fmt: skip
    return json.dumps({"type": "FeatureCollection", "features": found})


ALL, OTHER = (0.0, 0.0, 200.0, 120.0), (100.0, 30.0, 140.0, 70.0)


@pytest.mark.parametrize(
    ("features", "counts", "areas"),
    [
        ([("annotation", "", BOX[0]), ("annotation", "", OTHER)], {"object": 2}, 0),
        ([("annotation", "", ALL), ("detection", "crypt", BOX[0])], {"crypt": 1}, 1),
        ([("annotation", "Region*", ALL), ("annotation", "crypt", BOX[0])], {"crypt": 1}, 1),
        ([("annotation", "crypt", BOX[0]), ("detection", "", OTHER)], {"crypt": 1, "object": 1}, 0),
    ],
)
def test_names_of_single_objects_and_areas_of_qupath_are_no_classes(
    tmp_path: Path, bring_in: Importer, features: list, counts: dict, areas: int
) -> None:
    field(tmp_path / "s" / "a.png")
    (tmp_path / "s" / "a.geojson").write_text(qupath(*features))

    report = bring_in(tmp_path / "s").report

    assert report.boxes == counts
    assert sum("areas in which QuPath" in p.what for p in report.repaired) == areas
