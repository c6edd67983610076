"""Thumbnails among micrographs are left out by name, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from msip_core.data import previews
from msip_core.data.archive import TreeOnDisk, open_tree
from msip_core.data.companions import sort_images
from msip_core.data.previews import without_previews
from tests.data.conftest import Importer


def picture(seed: int, width: int = 320, height: int = 200) -> np.ndarray:
    rough = np.random.default_rng(seed).normal(120, 40, (10, 16)).astype(np.float32)
    fine = np.random.default_rng(seed).normal(0, 20, (height, width)).astype(np.float32)
    smooth = cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + fine, 0, 255).astype(np.uint8)


def left_out(root: Path) -> dict[str, str]:
    with open_tree(root) as tree:
        names = [n for n in tree.names if n.lower().endswith((".png", ".jpg", ".tif"))]
        kept, problems = without_previews(tree, names)
    assert sorted(kept + [p.file for p in problems]) == sorted(names)
    return {problem.file: problem.what for problem in problems}


@pytest.mark.parametrize(
    "name",
    ["A01_thumb.png", "thumbs/A01.png", "Thumbnails/x/A01.png", "preview_A01.png",
     "previews/A01.png", "exp_A01_s1_w1_thumbA1B2C3D4-0000.tif", "a.thumbnail.jpg",
     "MFGTMP_1_A01f00o1.png", "SC_BP445-45_40x_M10_CH01.tif", "DC_sCMOS #1_CAM1.tif"],
)  # fmt: skip
def test_previews_are_known_by_name(tmp_path: Path, name: str) -> None:
    for file, seed in (("A01.png", 1), (name, 2)):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / file), picture(seed))

    assert list(left_out(tmp_path)) == [name]
    assert "preview or thumbnail" in left_out(tmp_path)[name]


@pytest.mark.parametrize("name", ["rejected/A02.png", "A02_REJECT.png", "do not use/x/A02.png"])
def test_pictures_that_people_have_put_aside_are_left_out(tmp_path: Path, name: str) -> None:
    for file, seed in (("A01.png", 1), (name, 2)):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / file), picture(seed))

    assert "put aside" in left_out(tmp_path)[name]
    (tmp_path / "A01.png").unlink()
    assert left_out(tmp_path) == {}  # what all are called says nothing of one


def test_where_all_are_called_so_the_name_says_nothing(tmp_path: Path) -> None:
    for n in range(3):
        cv2.imwrite(str(tmp_path / f"preview_{n}.png"), picture(n))

    assert left_out(tmp_path) == {}


def test_the_sizes_of_pictures_are_told_by_their_first_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    real = TreeOnDisk.read
    monkeypatch.setattr(TreeOnDisk, "read", lambda s, name: read.append(name) or real(s, name))
    monkeypatch.setattr(previews, "_HEAD", 2000)
    for n in range(3):
        cv2.imwrite(str(tmp_path / f"field{n}.jpg"), picture(n))
        cv2.imwrite(str(tmp_path / f"dark{n}.png"), np.zeros((200, 320), np.uint8))
    (tmp_path / "no image.jpg").write_bytes(b"x" * 5000)

    assert left_out(tmp_path) == {}
    assert read == ["no image.jpg"]


def test_a_small_copy_under_any_name_is_left_out_and_says_of_what(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    for n in range(3):
        cv2.imwrite(str(tmp_path / f"field{n}.png"), picture(n))
        small = cv2.resize(picture(n), (80, 50), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(tmp_path / "web" / f"{n}.jpg"), small)

    assert left_out(tmp_path) == {
        f"web/{n}.jpg": f"is a small copy of field{n}.png" for n in range(3)
    }


def test_small_images_of_their_own_stay(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "large.png"), picture(0))
    cv2.imwrite(str(tmp_path / "other.png"), picture(1, 80, 50))
    cv2.imwrite(str(tmp_path / "crop.png"), picture(0)[50:100, 100:180])
    cv2.imwrite(str(tmp_path / "flat.png"), np.full((50, 80), 9, np.uint8))

    assert left_out(tmp_path) == {}


def test_the_import_names_them(tmp_path: Path, bring_in: Importer) -> None:
    for n in range(4):
        cv2.imwrite(str(tmp_path / f"f{n}.png"), picture(n))
        cv2.imwrite(str(tmp_path / f"f{n}_thumb.png"), picture(n)[::4, ::4])
        for stem in (f"f{n}", f"f{n}_thumb"):
            (tmp_path / f"{stem}.txt").write_text("0 0.5 0.5 0.2 0.2\n")

    dataset = bring_in(tmp_path)

    assert {record.width for record in dataset.images} == {320}
    assert sum("thumbnail" in problem.what for problem in dataset.report.skipped) == 4


def test_one_picture_in_two_formats_is_counted_once(tmp_path: Path) -> None:
    for n in range(2):
        cv2.imwrite(str(tmp_path / f"{n}.tif"), picture(n))
        cv2.imwrite(str(tmp_path / f"{n}.jpg"), picture(n))
    cv2.imwrite(str(tmp_path / "other.tif"), picture(8))
    cv2.imwrite(str(tmp_path / "other.jpg"), picture(9))

    assert left_out(tmp_path) == {
        f"{n}.jpg": f"is the picture of {n}.tif in another format" for n in range(2)
    }


def test_one_picture_in_two_formats_may_lie_in_folders_of_these(tmp_path: Path) -> None:
    for file in ("tif/a.tif", "jpg/a.jpg", "day 2/a.jpg"):
        (tmp_path / file).parent.mkdir()
        cv2.imwrite(str(tmp_path / file), picture(0))

    assert left_out(tmp_path) == {"jpg/a.jpg": "is the picture of tif/a.tif in another format"}


@pytest.mark.parametrize(
    "name",
    [
        "a_id-labeled.png",
        "a_detections.png",
        "a_ov.jpg",
        "a-with boxes.png",
        "a_thresh.png",
        "a_mask_color.png",
    ],
)
def test_overlays_are_no_micrographs(name: str) -> None:
    found = sort_images(["a.png", "b.png", name])

    assert found.images == ["a.png", "b.png"]
    assert [problem.file for problem in found.problems] == [name]
    assert sort_images([name]).images == [name]  # nothing that it could be drawn on


def test_figures_of_a_training_run_are_no_micrographs() -> None:
    figures = [f"runs/{n}" for n in ("confusion_matrix.png", "results.png", "val_batch0_pred.jpg")]

    assert sort_images(["a.png", *figures]).images == ["a.png"]
    assert sort_images(["a.png", "results.png"]).images == ["a.png", "results.png"]
