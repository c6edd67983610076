"""`predict` reads and counts as `plate` does: wells and planes once, bad files are lines."""

# Fixtures of test_look are arguments here.
# ruff: noqa: F811

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from msip_core.workspace import Workspace
from tests.cli.test_look import Ask, ask, lab  # noqa: F401 - fixtures

Rows = list[dict[str, str]]


@pytest.fixture
def picture(lab: Workspace) -> np.ndarray:
    file = sorted((lab.datasets / "d" / "images").iterdir())[0]
    return np.asarray(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))


def rows(path: str) -> Rows:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def write(folder: Path, name: str, pixels: np.ndarray) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def predict(ask: Ask, source: Path, out: Path, *more: object) -> tuple[dict, Rows, Rows]:
    said = ask("predict", source, "--model", "one", "--conf", 0.0001, "--out", out, *more)
    assert said.code == 0, said.err
    files = said.document["artifacts"]
    return said.document, rows(files["images"]), rows(files["wells"])


def test_a_z_stack_counts_once_in_its_sharpest_plane(
    ask: Ask,
    picture: np.ndarray,
    tmp_path: Path,
) -> None:
    for z, blur in enumerate((3, 0.1, 2)):
        pixels = cv2.GaussianBlur(picture, (0, 0), blur)
        write(tmp_path, f"in/x_Plate_M_p00_z{z:02d}_0_A01f00d0.png", pixels)

    document, counts, wells = predict(ask, tmp_path / "in", tmp_path / "out")

    assert [row["image"] for row in counts] == ["x_Plate_M_p00_z00_0_A01f00d0.png"]
    assert [(w["plate"], w["well"], w["objects"]) for w in wells] == [
        ("plate M", "A01", counts[0]["total"])
    ]
    assert "z plane 1, the sharpest of 3" in counts[0]["chosen"]
    assert document["images"][0]["chosen"] == counts[0]["chosen"]
    whole = predict(ask, tmp_path / "in" / "x_Plate_M_p00_z01_0_A01f00d0.png", tmp_path / "one")
    assert whole[1][0]["total"] == counts[0]["total"]

    _, counts, _ = predict(ask, tmp_path / "in", tmp_path / "out", "--stack", 2)
    assert "z plane 2, as asked" in counts[0]["chosen"]
    said = ask(
        "predict", tmp_path / "in", "--model", "one", "--out", tmp_path / "o", "--stack", "9"
    )
    assert (said.code, "there are 0 to 2" in said.err) == (2, True)


def test_wells_have_one_row_a_plate_however_many_fields_there_are(
    ask: Ask,
    picture: np.ndarray,
    tmp_path: Path,
) -> None:
    for plate in (1, 2):
        for well in ("A01", "B02"):
            for field in (1, 2):
                write(tmp_path, f"in/plate{plate}/{well}_s{field}_w1.png", picture)

    document, counts, wells = predict(ask, tmp_path / "in", tmp_path / "out")

    assert [(w["plate"], w["well"], w["fields"]) for w in wells] == [
        ("plate 1", "A01", "2"),
        ("plate 1", "B02", "2"),
        ("plate 2", "A01", "2"),
        ("plate 2", "B02", "2"),
    ]
    assert len(counts) == 8
    assert sum(int(w["objects"]) for w in wells) == sum(int(c["total"]) for c in counts)
    assert document["wells"] == "Taken for wells: A01, B02 (names as ImageXpress writes them)."
    overlays = Path(document["artifacts"]["overlays"])
    assert len(list(overlays.iterdir())) == 8
    assert len({image["id"] for image in document["images"]}) == 8


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_counted(
    ask: Ask,
    picture: np.ndarray,
    tmp_path: Path,
) -> None:
    write(tmp_path, "in/a.png", picture)
    write(tmp_path, "in/a_thumb.png", picture[::4, ::4])
    (tmp_path / "in" / "broken.tif").write_bytes(b"II*\0 and nothing")
    (tmp_path / "in" / "scan.czi").write_bytes(b"ZISRAWFILE")

    document, counts, _ = predict(ask, tmp_path / "in", tmp_path / "out")

    assert {row["image"]: row["state"] for row in counts} == {
        "a.png": "counted", "broken.tif": "failed", "scan.czi": "failed"
    }  # fmt: skip
    assert [image["id"] for image in document["images"]] == ["a"]
    assert {Path(item["file"]).name for item in document["left_out"]} == {
        "a_thumb.png",
        "broken.tif",
        "scan.czi",
    }
    said = ask("predict", tmp_path / "in" / "broken.tif", "--model", "one", "--out", tmp_path / "o")
    assert said.code == 2
    assert "broken.tif" in said.err


def test_what_an_earlier_prediction_drew_is_no_micrograph(
    ask: Ask,
    picture: np.ndarray,
    tmp_path: Path,
) -> None:
    write(tmp_path, "a.png", picture)

    for _ in range(2):
        _, counts, _ = predict(ask, tmp_path, tmp_path / "out")
        assert [row["image"] for row in counts] == ["a.png"]


def test_alike_names_have_files_of_their_own(
    ask: Ask,
    picture: np.ndarray,
    tmp_path: Path,
) -> None:
    for name in ("x/a.png", "y/a.png", "y/a-2.png", "z/A.png", f"z/{'é' * 110}.png"):
        write(tmp_path, f"in/{name}", picture)

    document, counts, _ = predict(ask, tmp_path / "in", tmp_path / "out")

    names = [image["id"] for image in document["images"]]
    assert len({name.casefold() for name in names}) == len(counts) == 5
    overlays = Path(document["artifacts"]["overlays"])
    assert {path.stem for path in overlays.iterdir()} == set(names)


def test_objects_of_another_size_than_in_training_are_warned_of_in_table_and_document(
    ask: Ask,
    picture: np.ndarray,
    tmp_path: Path,
) -> None:
    write(tmp_path, "in/same.png", picture)
    write(tmp_path, "in/wide.png", np.tile(picture, (4, 4)))

    whole = ("--conf", 0.9, "--tiles", "never")
    document, counts, _ = predict(ask, tmp_path / "in", tmp_path / "out", *whole)

    warnings = {image["image"]: image["note"] for image in document["images"]}
    assert document["sizes_known"]
    assert warnings["same.png"] == ""
    assert "px for the network on this image" in warnings["wide.png"]
    assert {row["image"]: row["note"] for row in counts} == warnings


def test_a_field_larger_than_those_of_the_training_is_cut_into_tiles_and_that_is_said(
    ask: Ask,
    picture: np.ndarray,
    tmp_path: Path,
) -> None:
    write(tmp_path, "in/same.png", picture)
    write(tmp_path, "in/wide.png", np.tile(picture, (4, 4)))

    document, counts, _ = predict(ask, tmp_path / "in", tmp_path / "out")

    same, wide = document["images"]
    assert same["tiles"] == ""
    assert "network on this image" not in wide["note"]
    assert "tiles of 96 px that overlap by" in wide["tiles"]
    assert "since objects as large as in training would be" in wide["tiles"]
    assert [row["tiles"] for row in counts] == ["", wide["tiles"]]
    assert int(counts[1]["total"]) > 2 * int(counts[0]["total"]) > 0

    document, _, _ = predict(ask, tmp_path / "in", tmp_path / "out", "--tiles", 200)
    assert "Cut into 9 tiles of 200 px" in document["images"][1]["tiles"]
    for wrong in (("--tiles", "some"), ("--tiles", 5), ("--overlap", 0.95)):
        said = ask("predict", tmp_path / "in", "--model", "one", "--out", tmp_path / "o", *wrong)
        assert said.code == 2


def test_a_channel_is_chosen_and_one_that_nobody_chose_is_said(
    ask: Ask,
    picture: np.ndarray,
    tmp_path: Path,
) -> None:
    (tmp_path / "in").mkdir()
    other = np.zeros_like(picture)
    metadata = {"axes": "CYX", "Labels": ["GFP", "DAPI"]}
    tifffile.imwrite(
        tmp_path / "in" / "s.tif", np.stack([other, picture]), imagej=True, metadata=metadata
    )

    document, counts, _ = predict(ask, tmp_path / "in", tmp_path / "out")
    assert "nobody said which" in counts[0]["note"]

    document, _, _ = predict(ask, tmp_path / "in", tmp_path / "out", "--channel", "DAPI")
    drawn = cv2.imread(f"{document['artifacts']['overlays']}/s.png")
    assert "nobody said" not in document["images"][0]["note"]
    assert drawn is not None
    assert np.median(drawn) == pytest.approx(np.median(picture), abs=20)
    said = ask(
        "predict", tmp_path / "in", "--model", "one", "--out", tmp_path / "o", "--channel", "RFP"
    )
    assert said.code == 2
    assert "GFP, DAPI" in said.err


def test_data_import_takes_a_channel_and_predictions_take_the_same(
    ask: Ask,
    lab: Workspace,
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for n in range(4):
        planes = np.stack(
            [np.full((40, 60), 10, np.uint8), rng.integers(0, 255, (40, 60), np.uint8)]
        )
        tifffile.imwrite(
            tmp_path / "in" / f"x{n}.tif", planes, imagej=True, metadata={"axes": "CYX"}
        )
        (tmp_path / "in" / f"x{n}.txt").write_text("0 0.5 0.5 0.2 0.2\n")

    blind = ask("data", "import", tmp_path / "in", "--name", "blind")
    chosen = ask("data", "import", tmp_path / "in", "--name", "chosen", "--channel", 2)

    assert blind.code != 0  # the first channel of all is black, where labels see objects
    assert "all its pixels have one value" in blind.out + blind.err
    assert chosen.document["images"] == 4
    assert any("channel 2 of 2, as asked" in note for note in chosen.document["report"]["notes"])
    assert not chosen.document["report"]["repaired"]
    assert '"channel": "2"' in (lab.datasets / "chosen" / "dataset.json").read_text().replace(
        '":"', '": "'
    )
