"""`data export`: labels, or what a model finds, as a zip that `data import` reads."""

# Fixtures of test_look are arguments here.
# ruff: noqa: F811

from __future__ import annotations

import json
import typing
import zipfile
from pathlib import Path

from msip_core.cli import data
from msip_core.data.export_formats import FORMATS
from msip_core.workspace import Workspace
from tests.cli.test_look import Ask, ask, lab  # noqa: F401 - fixtures


def test_what_goes_out_comes_in_again(ask: Ask, tmp_path: Path) -> None:
    said = ask("data", "export", "d", "--format", "cvat", "--out", tmp_path / "d.zip")
    assert said.code == 0, said.err
    assert said.document["images"] == 8

    first = ask("data", "show", "d").document
    again = ask("data", "import", tmp_path / "d.zip", "--name", "again", "--keep-split").document

    assert said.document["boxes"] == sum(first["boxes"].values()) > 0
    for key in ("boxes", "classes", "split", "pixel_size_um"):
        assert again[key] == first[key]


def test_a_models_boxes_go_out_with_their_scores(ask: Ask, lab: Workspace, tmp_path: Path) -> None:
    said = ask("data", "export", "d", "--format", "coco", "--model", "one", "--conf", 0.0001,
               "--labels-only", "--out", tmp_path / "p.zip")  # fmt: skip
    assert said.code == 0, said.err

    with zipfile.ZipFile(tmp_path / "p.zip") as archive:
        names = [n for n in archive.namelist() if n.startswith("annotations/")]
        found = [a for n in names for a in json.loads(archive.read(n))["annotations"]]
        assert json.loads(archive.read("msip-lab.json"))["predicted_by"] == "one"
    assert said.document["boxes"] == len(found) > 0
    assert all(0.0001 <= a["score"] <= 1 for a in found)
    assert not list(lab.cache.glob("predict-*"))


def test_wrong_words_are_said_before_any_work(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "plate.csv").write_text("a")
    for words, reason in (
        (("d", "--out", tmp_path), "is a folder"),
        (("d", "--out", tmp_path / "plate.csv"), "no .zip file"),
        (("nothing", "--out", tmp_path / "x.zip"), "no dataset 'nothing'"),
        (("d", "--model", "nobody", "--out", tmp_path / "x.zip"), "nobody"),
        (("d", "--format", "tfrecord", "--out", tmp_path / "x.zip"), "tfrecord"),
    ):
        said = ask("data", "export", *words)
        assert (said.code, reason in said.err + said.out) == (2, True), (words, said)
    assert not (tmp_path / "x.zip").exists()


def test_the_verb_offers_the_formats_there_are() -> None:
    kinds = typing.get_type_hints(data.export, vars(data))["format_"]
    assert list(typing.get_args(kinds)) == list(FORMATS)
