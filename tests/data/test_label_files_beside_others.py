"""Several files tell of the same images: what one of them lacks takes nothing from the others."""

from __future__ import annotations

from pathlib import Path

from tests.data.conftest import Importer, yolo_folder
from tests.data.labelling import boxes, coco, field, mended


def test_an_empty_record_of_another_file_makes_no_background(
    tmp_path: Path, bring_in: Importer
) -> None:
    """Two people share a task of CVAT, and each saves the images of both."""
    box = '<box label="crypt" xtl="40" ytl="30" xbr="80" ybr="70"/>'
    for seed, name in enumerate("ab"):
        field(tmp_path / f"{name}.png", seed=seed)
        images = [f'<image name="{n}.png">{box if n == name else ""}</image>' for n in "ab"]
        (tmp_path / f"job_{name}.xml").write_text(f"<annotations>{''.join(images)}</annotations>")

    dataset = bring_in(tmp_path)

    assert boxes(dataset) == {"a.png": [(40, 30, 80, 70)], "b.png": [(40, 30, 80, 70)]}
    assert any("without labels in another file" in what for what in mended(dataset))


def test_captions_beside_boxes_are_no_lost_labels(tmp_path: Path, bring_in: Importer) -> None:
    field(tmp_path / "a.png")
    images = [{"id": 1, "file_name": "a.png", "width": 200, "height": 120}]
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [40, 30, 40, 40]}
    coco(tmp_path / "instances.json", images, [box])
    coco(tmp_path / "captions.json", images, [{"id": 1, "image_id": 1, "caption": "a dish"}])

    report = bring_in(tmp_path).report

    assert not report.unsure
    assert "captions.json" in report.notes[-1]


def test_a_list_that_data_yaml_names_is_no_class(tmp_path: Path, bring_in: Importer) -> None:
    yolo_folder(tmp_path, {"a": "1 0.5 0.5 0.5 0.5\n"})
    (tmp_path / "data.yaml").write_text("names: classes.txt\n")
    (tmp_path / "classes.txt").write_text("cyst\ncrypt\n")

    assert bring_in(tmp_path).report.boxes == {"crypt": 1}
