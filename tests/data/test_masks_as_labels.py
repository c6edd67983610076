"""Masks, previews and thumbnails beside micrographs are no micrographs; masks alone are labels."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from msip_core.data.companions import sort_images
from msip_core.data.mask_objects import objects_in, read_mask, shows_numbers
from msip_core.errors import DatasetError
from tests.data.conftest import Importer
from tests.data.labelling import HEIGHT, WIDTH, boxes, field, left_out, mended

# Two objects, and what they are as boxes.
A, B = (20, 10, 60, 40), (100, 50, 150, 90)
ROWS = [tuple(map(float, A)), tuple(map(float, B))]


def instances(first: int = 1, second: int = 2, dtype: type = np.uint8) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype)
    for value, (x1, y1, x2, y2) in ((first, A), (second, B)):
        mask[y1:y2, x1:x2] = value
    return mask


def save(path: Path, mask: np.ndarray, **how: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, mask, **how)
    else:
        Image.fromarray(mask).save(path, **how)
    return path


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/a.png", "segmentations/a.tif"),
        ("images/a.png", "masks/a.png"),
        ("images/a.png", "Masks/a_mask.png"),
        ("images/a.png", "train_masks/a.png"),
        ("images/a.png", "labels/a.tif"),
        ("images/a.png", "SegmentationObject/a.png"),
        ("a.png", "a_cp_masks.png"),
        ("a.png", "a_mask.tif"),
        ("a.png", "a-instances.png"),
        ("a.png", "a_seg.png"),
        ("a.png", "mask_a.png"),
        ("raw/day1/a.png", "gt/day1/a.png"),
    ],
)
def test_masks_alone_are_labels_wherever_they_lie(
    tmp_path: Path, bring_in: Importer, image: str, mask: str
) -> None:
    field(tmp_path / "s" / image)
    save(tmp_path / "s" / mask, instances())

    dataset = bring_in(tmp_path / "s")

    assert boxes(dataset) == {image: ROWS}
    assert dataset.report.format == "masks"
    assert dataset.classes == ("object",)
    assert "give them another name in the class map (object=crypt)" in dataset.report.notes[0]
    outlines = dataset.contours(dataset.images[0])
    assert outlines is not None
    assert outlines[0].min(axis=0).tolist() == [20.5, 10.5]
    assert outlines[1].max(axis=0).tolist() == [149.5, 89.5]


def palette(mask: np.ndarray) -> Image.Image:
    image = Image.fromarray(mask, mode="P")
    image.putpalette([255, 255, 255, 128, 0, 0, 0, 0, 128] + [0] * 759)  # the ground is white
    return image


@pytest.mark.parametrize("kind", ["16 bit", "palette", "colour", "float", "int32"])
def test_numbers_of_objects_are_read_from_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("a.tif" if kind in ("16 bit", "float", "int32") else "a.png")
    if kind == "palette":
        palette(instances()).save(path)
    elif kind == "colour":
        mask = instances(200, 90)
        save(path, np.stack([mask, 255 - mask, mask], axis=2) * (mask > 0)[..., None])
    else:
        dtype = {"16 bit": np.uint16, "float": np.float32, "int32": np.int32}[kind]
        save(path, instances(300, 7, dtype))

    found = objects_in(read_mask(path.read_bytes(), path.name))

    assert sorted(o.xyxy for o in found.objects) == ROWS
    assert not found.binary


@pytest.mark.parametrize(
    "kind", ["bool tiff", "white is zero", "1 bit png", "8 bit", "soft", "jpeg"]
)
def test_separate_parts_of_a_binary_mask_are_objects(
    tmp_path: Path, bring_in: Importer, kind: str
) -> None:
    field(tmp_path / "s" / "images" / "a.png")
    mask = instances(255, 255)
    path = tmp_path / "s" / "masks" / "a.png"
    if kind == "bool tiff":
        save(path.with_suffix(".tif"), mask > 0)
    elif kind == "white is zero":
        save(path.with_suffix(".tif"), mask, photometric="miniswhite")
    elif kind == "1 bit png":
        path.parent.mkdir()
        Image.fromarray(mask).convert("1").save(path)
    elif kind == "soft":
        save(path, cv2.GaussianBlur(mask, (3, 3), 0))
    elif kind == "jpeg":
        save(path.with_suffix(".jpg"), mask, quality=70)
    else:
        save(path, mask)

    dataset = bring_in(tmp_path / "s")

    assert np.abs(np.array(boxes(dataset)["images/a.png"]) - ROWS).max() <= 1
    assert mended(dataset) == [
        "its mask has two values: separate parts were taken as objects, so objects that touch are "
        "one box"
    ]


def test_a_mask_of_half_the_size_is_scaled_and_an_empty_one_is_background(
    tmp_path: Path, bring_in: Importer
) -> None:
    for i, name in enumerate("ab"):
        field(tmp_path / "s" / "images" / f"{name}.png", i)
    save(tmp_path / "s" / "masks" / "a.png", instances()[::2, ::2])
    save(tmp_path / "s" / "masks" / "b.png", instances() * 0)

    dataset = bring_in(tmp_path / "s")

    assert boxes(dataset) == {"images/a.png": ROWS, "images/b.png": []}
    assert mended(dataset) == ["boxes scaled from 100 × 60 to 200 × 120 pixels"]
    assert dataset.report.background == 1


def test_masks_that_are_no_object_numbers_leave_their_image_out(
    tmp_path: Path, bring_in: Importer
) -> None:
    for i in range(6):
        field(tmp_path / "s" / "images" / f"{i}.png", i)
    classes = np.zeros((HEIGHT, WIDTH), np.uint8)
    for i in range(4):
        classes[10:30, 10 + 45 * i : 40 + 45 * i] = 1
        classes[60:80, 10 + 45 * i : 40 + 45 * i] = 2
    masks = tmp_path / "s" / "masks"
    save(masks / "0.png", instances())
    save(masks / "1.png", 255 - instances(255, 255))
    save(masks / "2.png", classes)
    save(masks / "3.tif", instances().astype(np.float32) / 3)
    save(masks / "4.png", np.zeros((50, 50), np.uint8) + np.eye(50, dtype=np.uint8))
    save(masks / "5.jpg", instances(90, 180), quality=70)

    dataset = bring_in(tmp_path / "s")

    assert set(boxes(dataset)) == {"images/0.png"}
    reasons = left_out(dataset)
    assert "inverted" in reasons["images/1.png"]
    assert "they are classes and not objects" in reasons["images/2.png"]
    assert "holds fractions" in reasons["images/3.png"]
    assert "50 × 50 pixels, and it has 200 × 120" in reasons["images/4.png"]
    assert "a JPEG, which changes the numbers" in reasons["images/5.png"]


def test_an_image_with_two_masks_is_left_out(tmp_path: Path, bring_in: Importer) -> None:
    for i, name in enumerate("ab"):
        field(tmp_path / "s" / "images" / f"{name}.png", i)
        save(tmp_path / "s" / "masks" / "crypt" / f"{name}.png", instances())
    save(tmp_path / "s" / "masks" / "cyst" / "a.png", instances())

    dataset = bring_in(tmp_path / "s")

    assert set(boxes(dataset)) == {"images/b.png"}
    assert "several masks" in left_out(dataset)["images/a.png"]
    assert left_out(dataset)["masks/cyst/a.png"] == "another mask of images/a.png"


def test_boxes_count_more_than_masks_and_take_their_outlines(
    tmp_path: Path, bring_in: Importer
) -> None:
    field(tmp_path / "s" / "images" / "a.png")
    save(tmp_path / "s" / "masks" / "a.tif", instances() > 0)
    (tmp_path / "s" / "labels").mkdir()
    (tmp_path / "s" / "labels" / "a.txt").write_text("0 0.2 0.20833 0.2 0.25\n")
    (tmp_path / "s" / "classes.txt").write_text("crypt\n")

    dataset = bring_in(tmp_path / "s")

    assert dataset.report.boxes == {"crypt": 1}
    assert "Outlines are known for 1 of 1 boxes." in dataset.report.notes


def test_masks_and_previews_never_get_the_labels_of_their_image(
    tmp_path: Path, bring_in: Importer
) -> None:
    field(tmp_path / "s" / "images" / "a.png")
    others = ("masks/a.png", "thumbs/a.png", "Previews/a.jpg", "a_thumb.png", "overlays/x.png")
    for i, name in enumerate(others, 1):
        field(tmp_path / "s" / name, i, (40, 24))
    field(tmp_path / "s" / "masks" / "lost.png", 9)
    (tmp_path / "s" / "labels").mkdir()
    (tmp_path / "s" / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")

    dataset = bring_in(tmp_path / "s")

    assert set(boxes(dataset)) == {"images/a.png"}
    assert dataset.report.found == 1
    reasons = left_out(dataset)
    assert reasons["masks/lost.png"] == "mask without an image of that name"
    assert all("rename it if it is" in reasons[name] for name in others[1:])


def test_micrographs_are_kept_where_no_other_image_is_their_original() -> None:
    for names in (
        ["masks/a.png", "masks/b.png"],
        ["thumbs/a.png"],
        ["a_mask.png", "b_overlay.png"],
        ["labels/a.png", "labels/b.png", "other/c.png"],
        ["flow-chip/a.png", "target_1/a.png", "plain/b.png"],
    ):
        assert sort_images(names).images == names


def test_labels_of_programs_are_read_in_a_folder_of_masks_too(
    tmp_path: Path, bring_in: Importer
) -> None:
    field(tmp_path / "s" / "images" / "a.png")
    shape = {"label": "crypt", "points": [[20, 10], [60, 40]], "shape_type": "rectangle"}
    path = tmp_path / "s" / "segmentations" / "a.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"version": "5.4.1", "flags": {}, "shapes": [shape]}))

    dataset = bring_in(tmp_path / "s")

    assert dataset.report.format == "labelme"
    assert boxes(dataset) == {"images/a.png": ROWS[:1]}


def test_specks_are_no_objects_and_are_counted(tmp_path: Path, bring_in: Importer) -> None:
    for i, name in enumerate("ab"):
        field(tmp_path / "s" / "images" / f"{name}.png", i)
    specks = np.zeros((HEIGHT, WIDTH), np.uint8)
    specks[5:7, 5:7] = 255
    save(tmp_path / "s" / "masks" / "a.png", specks)
    save(tmp_path / "s" / "masks" / "b.png", instances(255, 255) | specks)

    dataset = bring_in(tmp_path / "s")

    assert boxes(dataset) == {"images/b.png": ROWS}
    assert mended(dataset)[0] == "parts of its mask with fewer than 9 pixels left out: 1"
    assert "none of its labels could be read" in left_out(dataset)["images/a.png"]


def test_a_damaged_mask_is_a_sentence() -> None:
    for data in (b"II*\0junk", b"\x89PNG\r\n\x1a\njunk", b"\xff\xd8\xffjunk", b"", b"text"):
        with pytest.raises(DatasetError):
            read_mask(data, "a")


def test_the_border_of_pascal_voc_is_no_object(tmp_path: Path, bring_in: Importer) -> None:
    mask = instances()
    border = cv2.dilate((mask > 0).astype(np.uint8), np.ones((5, 5))) > (mask > 0)
    mask[border] = 255
    field(tmp_path / "JPEGImages" / "a.png")
    (tmp_path / "SegmentationObject").mkdir()
    palette(mask).save(tmp_path / "SegmentationObject" / "a.png")
    save(tmp_path / "SegmentationClass" / "a.png", (mask > 0).astype(np.uint8))

    dataset = bring_in(tmp_path)

    assert boxes(dataset) == {"JPEGImages/a.png": ROWS}
    assert "value 255" in mended(dataset)[0]
    assert "classes, not objects" in left_out(dataset)["SegmentationClass/a.png"]


@pytest.mark.parametrize("values", [(254, 255), (1, 3), (7, 255)])
def test_other_numbers_of_objects_up_to_255_are_objects(values: tuple[int, int]) -> None:
    assert len(objects_in(instances(*values)).objects) == 2


def test_a_folder_of_masks_for_each_micrograph_has_one_object_a_mask(
    tmp_path: Path, bring_in: Importer
) -> None:
    for n in (1, 2):
        field(tmp_path / f"id{n}" / "images" / f"id{n}.png", n)
        for name, (first, second) in {"3f": (255, 0), "a0": (0, 255)}.items():
            save(tmp_path / f"id{n}" / "masks" / f"{name}.png", instances(first, second))
    parted = instances(255, 255)  # one object that something lies across
    save(tmp_path / "id2" / "masks" / "b.png", parted)

    dataset = bring_in(tmp_path)

    found = boxes(dataset)
    assert found["id1/images/id1.png"] == ROWS
    assert found["id2/images/id2.png"] == [*ROWS, (20, 10, 150, 90)]
    assert not left_out(dataset)


@pytest.mark.parametrize(
    "name",
    ["a_Probabilities.tif", "a_Simple Segmentation.png", "a_pred.png", "a_result.png",
     "a_cp_outlines.png", "a_gradcam.png", "a_labelled.png", "predictions/a.png", "results/a.png",
     "QC/a.png", "output/a_result.png"],
)  # fmt: skip
def test_pictures_that_programs_make_of_a_micrograph_are_none(name: str) -> None:
    found = sort_images(["a.tif", name, "b.tif"])

    assert found.images == ["a.tif", "b.tif"]
    assert [(p.file, "left out" in p.what) for p in found.problems] == [(name, True)]


def test_micrographs_in_a_folder_of_results_stay_micrographs() -> None:
    for names in (["results/a.tif", "results/b.tif"], ["x.tif", "results/a.tif"]):
        assert sort_images(names).images == names


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("000_img.png", "000_masks.png"),  # Cellpose's own names
        ("image_1.png", "mask_1.png"),
        ("images/1_raw.png", "masks/1.png"),
        ("a.png", "a_binary_mask.png"),
        ("a_00.png", "a_00_organoid_mask.png"),
        ("a.tif", "a_stardist_labels.tif"),
        ("a.png", "a_lbl.png"),
        ("a.tif", "Count Masks of a.tif"),  # ImageJ
        ("train/a.png", "train_labels/a.png"),
        ("train/a.png", "trainannot/a.png"),
        ("images/a.png", "ground truth/a.png"),
        ("imagesTr/a_0000.png", "labelsTr/a.png"),  # nnU-Net
        ("01/t000.tif", "01_GT/SEG/man_seg000.tif"),  # Cell Tracking Challenge
    ],
)
def test_a_mask_goes_with_the_image_that_both_name(image: str, mask: str) -> None:
    found = sort_images([image, "other.png", mask])

    assert found.masks == {image: mask}
    assert "other.png" in found.images
    assert mask not in found.images


def test_a_mask_of_numbers_that_was_saved_as_jpeg_is_not_taken_for_an_empty_one() -> None:
    numbers = np.zeros((40, 60), np.uint8)
    numbers[10:20, 10:30] = 2

    with pytest.raises(DatasetError, match="its mask is a JPEG, which changes the numbers"):
        read_mask(cv2.imencode(".jpg", numbers)[1].tobytes(), "m.jpg")

    assert not read_mask(cv2.imencode(".jpg", numbers * 0)[1].tobytes(), "m.jpg").any()


@pytest.mark.parametrize(
    "names",
    [
        ["a.png", "a_01_mask.png"],  # a number before the word is another picture's
        ["label_free/a.tif", "fluorescence/a.tif"],
        ["1st/a.tif", "2nd/a.tif"],
    ],
)
def test_micrographs_whose_names_only_look_like_those_of_masks_stay(names: list[str]) -> None:
    assert sort_images(names).images == names


def test_marks_of_tracks_are_no_masks_and_frames_of_two_series_are_not_mixed_up() -> None:
    images = ["01/t000.tif", "02/t000.tif"]
    masks = ["01_GT/SEG/man_seg000.tif", "02_ST/SEG/man_seg000.tif"]

    found = sort_images([*images, *masks, "01_GT/TRA/man_track000.tif"])

    assert found.images == images
    assert found.masks == dict(zip(images, masks, strict=True))
    assert [(p.file, p.what) for p in found.problems] == [
        ("01_GT/TRA/man_track000.tif", "it tells tracks, and not how far an object reaches")
    ]


def test_a_mask_that_only_its_pixels_tell_is_no_micrograph_and_no_light(
    tmp_path: Path, bring_in: Importer
) -> None:
    rng = np.random.default_rng(0)
    save(tmp_path / "s" / "a.tif", rng.integers(800, 3000, (HEIGHT, WIDTH), dtype=np.uint16))
    save(tmp_path / "s" / "Obja.tif", instances(dtype=np.uint16))
    field(tmp_path / "s" / "b.png")

    dataset = bring_in(tmp_path / "s")

    assert [image.source for image in dataset.images] == ["a.tif", "b.png"]
    assert "it is a mask and no micrograph" in left_out(dataset)["Obja.tif"]
    assert "Grey value 819 became black" in next(
        n for n in dataset.report.notes if n.startswith("Grey")
    )


def test_pictures_in_black_and_white_and_noise_of_few_values_are_no_masks() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 4, (HEIGHT, WIDTH), dtype=np.uint16)
    dark = noise * (rng.random((HEIGHT, WIDTH)) < 0.02)  # an empty well in fluorescence

    assert shows_numbers(instances())
    assert not shows_numbers(instances(255, 255))
    assert not shows_numbers(instances(60, 180))
    assert not shows_numbers(noise)
    assert not shows_numbers(dark)
