"""`data versions` and `data correct`: labels go out, come back corrected, and can be undone."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import pytest

from msip_core.boxes import Box
from msip_core.data.correcting import save_labels
from msip_core.data.dataset import open_dataset
from msip_core.workspace import Workspace
from tests.cli.conftest import Verb
from tests.drawn import copy_example


@pytest.fixture
def plate(workspace: Workspace) -> str:
    copy_example(workspace, "plate", images=8, size=128)
    return "plate"


def edited(source: Path, target: Path, change: dict[str, str]) -> Path:
    """A zip with the texts of some label files changed: file name -> what stands there now."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            text = change.get(Path(name).name)
            new.writestr(name, old.read(name) if text is None else text)
    return target


def test_labels_go_out_are_corrected_elsewhere_and_come_back(
    msip: Verb, plate: str, workspace: Workspace, tmp_path: Path
) -> None:
    assert msip("data", "export", plate, "--out", tmp_path / "out.zip").code == 0
    data = open_dataset(workspace, plate)
    image = data.images[0]
    name = Path(image.source).stem
    back = edited(tmp_path / "out.zip", tmp_path / "back.zip", {f"{name}.txt": "0 .5 .5 .25 .25\n"})

    said = msip("data", "correct", plate, "--from", back, "--by", "Ada", "--json")

    assert said.code == 0, said.err
    version = said.document["version"]
    assert (version["number"], version["who"]) == (2, "Ada")
    assert [change["image"] for change in version["changes"]] == [image.id], "the others are equal"
    now = open_dataset(workspace, plate)
    assert [b.xyxy for b in now.boxes(now.image(image.id))] == [(48, 48, 80, 80)]

    undone = msip("data", "correct", plate, "--restore", 1, "--by", "Bo")
    assert "Saved as version 3 of 'plate' by Bo: 1 images" in undone.out
    shown = msip("data", "versions", plate)
    assert "back to 1" in shown.out
    again = open_dataset(workspace, plate)
    assert again.content_hash == data.content_hash


def test_who_corrected_an_older_export_overwrites_nobody(
    msip: Verb, plate: str, workspace: Workspace, tmp_path: Path
) -> None:
    msip("data", "export", plate, "--out", tmp_path / "out.zip")
    data = open_dataset(workspace, plate)
    mine, theirs = data.images[0], data.images[1]
    ours = [Box(cls=0, x1=8, y1=8, x2=40, y2=40)]
    save_labels(workspace, plate, {theirs.id: ours}, seen=1, who="Bo")
    change = {f"{Path(r.source).stem}.txt": "0 .5 .5 .25 .25\n" for r in (mine, theirs)}
    back = edited(tmp_path / "out.zip", tmp_path / "back.zip", change)

    said = msip("data", "correct", plate, "--from", back, "--by", "Ada", "--json")

    assert [change["image"] for change in said.document["version"]["changes"]] == [mine.id]
    (late,) = said.document["late"]
    assert (late["image"], late["who"], late["seen"]) == (theirs.id, "Ada", 1)
    now = open_dataset(workspace, plate)
    assert [b.xyxy for b in now.boxes(now.image(theirs.id))] == [(8, 8, 40, 40)]
    assert late["id"] in msip("data", "versions", plate).out
    taken = msip("data", "correct", plate, "--take", late["id"], "--by", "Ada")
    assert "Saved as version 4" in taken.out
    now = open_dataset(workspace, plate)
    assert [b.xyxy for b in now.boxes(now.image(theirs.id))] == [(48, 48, 80, 80)]


def test_an_image_that_a_program_wrote_anew_is_found_by_name_and_size(
    msip: Verb, plate: str, workspace: Workspace, tmp_path: Path
) -> None:
    data = open_dataset(workspace, plate)
    first, second = data.images[:2]
    back = tmp_path / "back"
    back.mkdir()
    for record, scale in ((first, 1), (second, 2)):
        name = Path(record.source).stem
        pixels = cv2.resize(data.pixels(record), None, fx=scale, fy=scale)
        cv2.imwrite(str(back / f"{name}.jpg"), pixels)
        (back / f"{name}.txt").write_text("0 .5 .5 .25 .25\n")
    (back / "data.yaml").write_text("names: [crypt, no_crypt]\n")

    said = msip("data", "correct", plate, "--from", back, "--by", "Ada", "--json")

    assert said.code == 0, said.err
    assert [c["image"] for c in said.document["version"]["changes"]] == [first.id]
    (passed,) = said.document["passed_over"]
    assert "it is 256 × 256 pixels, and in the dataset 128 × 128" in passed["what"]


def test_labels_without_their_images_are_refused_with_what_to_give(
    msip: Verb, plate: str, tmp_path: Path
) -> None:
    msip("data", "export", plate, "--labels-only", "--out", tmp_path / "labels.zip")

    said = msip("data", "correct", plate, "--from", tmp_path / "labels.zip", "--by", "Ada")

    assert said.code == 2
    assert "labels.zip holds no images, which tell whose labels these are: give them" in said.err


def test_labels_of_another_picture_of_the_same_name_and_size_are_not_taken(
    msip: Verb, plate: str, workspace: Workspace, tmp_path: Path
) -> None:
    data = open_dataset(workspace, plate)
    first, second, third = data.images[:3]
    back = tmp_path / "back"
    back.mkdir()
    for record, shown in ((first, first), (second, third)):  # the second plate has the same names
        name = Path(record.source).stem
        cv2.imwrite(str(back / f"{name}.jpg"), data.pixels(shown) // 2 + 40)
        (back / f"{name}.txt").write_text("0 .5 .5 .25 .25\n")
    (back / "data.yaml").write_text("names: [crypt, no_crypt]\n")

    said = msip("data", "correct", plate, "--from", back, "--by", "Ada", "--json")

    assert said.code == 0, said.err
    assert [c["image"] for c in said.document["version"]["changes"]] == [first.id]
    (passed,) = said.document["passed_over"]
    assert "shows another picture" in passed["what"]


def test_wrong_words_are_said_before_anything_is_saved(
    msip: Verb, plate: str, workspace: Workspace, tmp_path: Path
) -> None:
    msip("data", "export", plate, "--out", tmp_path / "out.zip")
    strange = edited(
        tmp_path / "out.zip",
        tmp_path / "s.zip",
        {"data.yaml": "names: [crypt, debris]\n", "msip-lab.json": "{}"},
    )
    for words, reason in (
        ((plate,), "Say one of --from"),
        ((plate, "--restore", 1, "--take", "x"), "given: --restore and --take"),
        ((plate, "--restore", 5), "has no version 5"),
        ((plate, "--take", "x"), "There is no draft 'x' (there: none)"),
        ((plate, "--restore", 1, "--by", " "), "Say who corrects"),
        ((plate, "--from", tmp_path / "gone.zip"), "gone.zip"),
        ((plate, "--from", strange), "these labels have debris too"),
        (("nothing", "--restore", 1), "no dataset 'nothing'"),
    ):
        said = msip("data", "correct", *words)
        assert (said.code, reason in said.err) == (2, True), (words, said)
    assert open_dataset(workspace, plate).labels_version == 1
