"""Labels and image that disagree in size, turn or unit: converted if certain, else named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from msip_core.data.fitting import fit_labels, same_shape
from msip_core.data.labels import ImageLabels, LabelledObject
from msip_core.errors import DatasetError
from tests.data.conftest import Importer
from tests.data.labelling import HEIGHT, WIDTH, boxes, coco, field, left_out, mended, voc

ONE = {"id": 1, "image_id": 1, "category_id": 1}


def test_boxes_of_a_picture_that_was_shrunk_are_scaled_and_it_is_said(
    tmp_path: Path, bring_in: Importer
) -> None:
    for kind in ("voc", "coco", "labelme", "csv"):
        field(tmp_path / kind / "a.png")
    voc(tmp_path / "voc" / "a.xml", (21, 21, 80, 80), (400, 240))
    entry = {"id": 1, "file_name": "a.png", "width": 400, "height": 240}
    coco(tmp_path / "coco" / "x.json", [entry], [{**ONE, "bbox": [20, 20, 60, 60]}])
    shape = {"label": "crypt", "points": [[20, 20], [80, 80]], "shape_type": "rectangle"}
    (tmp_path / "labelme" / "a.json").write_text(
        json.dumps({"shapes": [shape], "imageWidth": 400, "imageHeight": 240, "imagePath": "a.png"})
    )
    (tmp_path / "csv" / "x.csv").write_text(
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,400,240,crypt,20,20,80,80\n"
    )

    for kind in ("voc", "coco", "labelme", "csv"):
        dataset = bring_in(tmp_path / kind, kind)
        assert boxes(dataset) == {"a.png": [(10, 10, 40, 40)]}
        assert mended(dataset) == ["boxes scaled from 400 × 240 to 200 × 120 pixels"]


def test_a_picture_of_another_shape_is_left_out_by_name(tmp_path: Path, bring_in: Importer) -> None:
    for i in range(3):
        field(tmp_path / "s" / f"a{i}.png", i)
    voc(tmp_path / "s" / "a0.xml", (21, 21, 80, 80))
    voc(tmp_path / "s" / "a1.xml", (21, 21, 80, 80), (640, 480))
    voc(tmp_path / "s" / "a2.xml", (21, 21, 80, 80), (HEIGHT, WIDTH))  # turned, and no tag says how

    dataset = bring_in(tmp_path / "s")

    assert boxes(dataset) == {"a0.png": [(20, 20, 80, 80)]}
    assert left_out(dataset)["a1.png"].startswith("its labels are for an image of 640 × 480 pixels")
    assert left_out(dataset)["a2.png"].startswith("its labels are for an image of 120 × 200 pixels")


@pytest.mark.parametrize(
    ("stated", "size", "same"),
    [
        ((2048, 1536), (1024, 768), True),
        ((1999, 1501), (1000, 751), True),  # rounded up
        ((1999, 1501), (999, 750), True),  # rounded down
        ((500, 375), (2000, 1500), True),
        ((2048, 1536), (1024, 1024), False),
        ((400, 240), (200, 123), False),
    ],
)
def test_a_resized_picture_keeps_its_shape_but_for_rounding(
    stated: tuple[int, int], size: tuple[int, int], same: bool
) -> None:
    assert same_shape(stated, *size) is same


def test_a_missing_or_zero_size_is_taken_as_the_images_only_if_all_boxes_fit(
    tmp_path: Path, bring_in: Importer
) -> None:
    for i in range(4):
        field(tmp_path / "s" / f"a{i}.png", i)
    voc(tmp_path / "s" / "a0.xml", (21, 21, 80, 80), None)
    voc(tmp_path / "s" / "a1.xml", (21, 21, 80, 80), (0, 0))
    voc(tmp_path / "s" / "a2.xml", (21, 21, 280, 80), None)
    voc(tmp_path / "s" / "a3.xml", (21, 21, 280, 80), (0, 0))

    dataset = bring_in(tmp_path / "s")

    assert set(boxes(dataset)) == {"a0.png", "a1.png"}
    assert "do not say for which size" in left_out(dataset)["a2.png"]
    assert "do not say for which size" in left_out(dataset)["a3.png"]


# One pixel block of the sensor's picture, and where each turn of the tag shows it.
TURNS = {
    2: (150, 20, 190, 40), 3: (150, 80, 190, 100), 4: (10, 80, 50, 100), 5: (20, 10, 40, 50),
    6: (80, 10, 100, 50), 7: (80, 150, 100, 190), 8: (20, 150, 40, 190),
}  # fmt: skip


@pytest.mark.parametrize("turn", [5, 6, 7, 8])
def test_boxes_in_pixels_of_the_sensor_are_turned_as_the_picture_is(
    tmp_path: Path, bring_in: Importer, turn: int
) -> None:
    from PIL import Image

    pixels = np.full((HEIGHT, WIDTH), 200, np.uint8)
    pixels[20:40, 10:50] = 0
    exif = Image.Exif()
    exif[0x0112] = turn
    (tmp_path / "s").mkdir()
    Image.fromarray(pixels).save(tmp_path / "s" / "a.png", exif=exif)
    voc(tmp_path / "s" / "a.xml", (11, 21, 50, 40))

    dataset = bring_in(tmp_path / "s")
    (record,) = dataset.images
    x1, y1, x2, y2 = (round(v) for v in dataset.boxes(record)[0].xyxy)

    assert (x1, y1, x2, y2) == TURNS[turn]
    shown = dataset.pixels(record)
    assert shown[y1:y2, x1:x2].max() == 0
    assert np.count_nonzero(shown[..., 0] == 0) == (x2 - x1) * (y2 - y1)
    assert mended(dataset)[0].startswith("boxes turned into the upright image")


def test_boxes_of_a_turned_picture_are_kept_where_they_are_for_the_upright_one(
    tmp_path: Path, bring_in: Importer
) -> None:
    field(tmp_path / "s" / "a.jpg", turn=6)
    voc(tmp_path / "s" / "a.xml", (11, 21, 50, 40), (HEIGHT, WIDTH))

    assert boxes(bring_in(tmp_path / "s")) == {"a.jpg": [(10, 20, 50, 40)]}


@pytest.mark.parametrize(("turn", "size"), [(3, (200, 120)), (2, (200, 120)), (6, (120, 120))])
def test_a_turn_that_the_size_cannot_tell_leaves_the_image_out(
    tmp_path: Path, bring_in: Importer, turn: int, size: tuple[int, int]
) -> None:
    field(tmp_path / "s" / "a.png", 1, size, turn)
    field(tmp_path / "s" / "b.png", 2, size)
    for name in "ab":
        voc(tmp_path / "s" / f"{name}.xml", (11, 21, 50, 40), size)

    dataset = bring_in(tmp_path / "s")

    assert set(boxes(dataset)) == {"b.png"}
    assert left_out(dataset)["a.png"].startswith("the camera's tag turns it")


def test_fractions_of_a_turned_picture_are_of_the_upright_one_and_it_is_said(
    tmp_path: Path, bring_in: Importer
) -> None:
    field(tmp_path / "s" / "a.jpg", turn=8)
    (tmp_path / "s" / "a.txt").write_text("0 0.5 0.25 0.5 0.1\n")

    dataset = bring_in(tmp_path / "s")

    assert boxes(dataset) == {"a.jpg": [(30, 40, 90, 60)]}
    assert "fractions were taken of the upright image" in mended(dataset)[0]


# --- fractions and pixels -----------------------------------------------------------


def test_fractions_where_pixels_belong_are_converted_and_it_is_said(
    tmp_path: Path, bring_in: Importer
) -> None:
    for kind in ("voc", "coco", "csv"):
        field(tmp_path / kind / "a.png")
        field(tmp_path / kind / "b.png", 1)
    voc(tmp_path / "voc" / "a.xml", (0.1, 0.25, 0.3, 0.5))
    voc(tmp_path / "voc" / "b.xml", (21, 31, 60, 60))
    entries = [{"id": i, "file_name": f"{name}.png"} for i, name in enumerate("ab", 1)]
    found = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0.1, 0.25, 0.2, 0.25]},
        {"id": 2, "image_id": 2, "category_id": 1, "bbox": [20, 30, 40, 30]},
    ]
    coco(tmp_path / "coco" / "x.json", entries, found)
    (tmp_path / "csv" / "x.csv").write_text(
        "a.png,0.1,0.25,0.3,0.5,crypt\nb.png,20,30,60,60,crypt\n"
    )

    for kind in ("voc", "coco", "csv"):
        dataset = bring_in(tmp_path / kind, kind)
        assert boxes(dataset) == {"a.png": [(20, 30, 60, 60)], "b.png": [(20, 30, 60, 60)]}
        assert mended(dataset) == ["corners between 0 and 1 were taken as fractions of the image"]


def test_fractions_and_pixels_of_one_image_leave_it_out(tmp_path: Path, bring_in: Importer) -> None:
    for i, name in enumerate("abc"):
        field(tmp_path / "s" / f"{name}.png", i)
    (tmp_path / "s" / "x.csv").write_text(
        "a.png,0.1,0.25,0.3,0.5,crypt\na.png,20,30,60,60,crypt\n"
        "b.png,0,0,1,1,crypt\nc.png,20,30,60,60,crypt\n"
    )

    dataset = bring_in(tmp_path / "s")

    assert set(boxes(dataset)) == {"c.png"}
    assert "1 of its 2 boxes are fractions" in left_out(dataset)["a.png"]
    assert "one pixel or the whole image" in left_out(dataset)["b.png"]


def test_pixels_in_yolo_files_are_converted_only_if_their_order_is_certain(
    tmp_path: Path, bring_in: Importer
) -> None:
    for i, name in enumerate("abcd"):
        field(tmp_path / "s" / f"{name}.png", i)
    texts = {
        "a": "0 170 60 60 80\n0 40 60 50 60\n",  # corner and size would leave the image
        "b": "0 40 40 20 20\n",  # may be corner and size
        "c": "0 0.1 0.1 0.3 0.1 0.3 0.6\n0 0.5 0.5 0.2 0.2\n",
        "d": "0 20 12 60 12 60 72\n",  # points have one order only
    }
    for name, text in texts.items():
        (tmp_path / "s" / f"{name}.txt").write_text(text)

    dataset = bring_in(tmp_path / "s")

    assert boxes(dataset) == {
        "a.png": [(140, 20, 200, 100), (15, 30, 65, 90)],
        "c.png": [(20, 12, 60, 72), (80, 48, 120, 72)],
        "d.png": [(20, 12, 60, 72)],
    }
    assert left_out(dataset)["b.png"].startswith("coordinates are not fractions of the image")
    assert mended(dataset) == ["numbers above 1 were taken as pixels"] * 2


# --- boxes that are not of this image -------------------------------------------------


def test_boxes_that_lie_mostly_outside_leave_the_image_out_instead_of_being_clipped(
    tmp_path: Path, bring_in: Importer
) -> None:
    field(tmp_path / "s" / "a.png")
    field(tmp_path / "s" / "b.png", 1)
    voc(tmp_path / "s" / "a.xml", (190, 110, 400, 300))
    voc(tmp_path / "s" / "b.xml", (150, 60, 215, 130))

    dataset = bring_in(tmp_path / "s")

    assert boxes(dataset) == {"b.png": [(149, 59, 200, 120)]}
    assert left_out(dataset)["a.png"].startswith("1 of its 1 boxes lie mostly outside the image")


def test_outlines_are_moved_with_their_boxes() -> None:
    outline = np.array([[20.0, 20.0], [80.0, 20.0], [80.0, 60.0]])
    labels = ImageLabels(
        [LabelledObject("crypt", (20, 20, 80, 60), outline)], picture=(400.0, 240.0)
    )

    (half,) = fit_labels(labels, 200, 120).objects
    (turned,) = fit_labels(labels, 120, 200, orientation=6).objects

    assert half.outline is not None
    assert half.outline.tolist() == [[10, 10], [40, 10], [40, 30]]
    assert turned.outline is not None
    assert turned.outline.tolist() == [[110, 10], [110, 40], [90, 40]]
    assert turned.xyxy == (90, 10, 110, 40)
    with pytest.raises(DatasetError, match="400 × 240 pixels, and it has 100 × 100"):
        fit_labels(labels, 100, 100)


@pytest.mark.parametrize(("turn", "kept"), [(1, True), (3, False), (6, False)])
def test_a_tiff_that_its_tag_turns_is_left_out_with_its_labels(
    tmp_path: Path, bring_in: Importer, turn: int, kept: bool
) -> None:
    field(tmp_path / "b.png", 1)
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, extratags=[(274, "H", 1, turn, True)])
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("0 0.5 0.5 0.2 0.2\n")

    dataset = bring_in(tmp_path)

    assert ("a.tif" in boxes(dataset)) == kept
    assert ("camera's tag turns it" in left_out(dataset).get("a.tif", "")) != kept
