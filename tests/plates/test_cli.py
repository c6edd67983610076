"""`plate` from files to tables, as a person types it."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from msip_core.cli.main import main
from msip_core.config import CountConfig
from msip_core.counts import count_command, usual_name
from msip_core.plates.folder import read
from msip_core.runs.service import RunService
from msip_core.workspace import Workspace
from tests.cli.conftest import Said
from tests.plates.conftest import write_plate

Ask = Callable[..., Said]


@pytest.fixture
def ask(lab: Workspace, capfd: pytest.CaptureFixture[str]) -> Ask:
    def run(*words: object) -> Said:
        capfd.readouterr()
        code = main([str(word) for word in words] + ["--json", "--workspace", str(lab.root)])
        out, err = capfd.readouterr()
        return Said(code, out, err)

    return run


def rows(path: str) -> list[dict[str, str]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_plate_goes_in_and_its_tables_come_out(ask: Ask, lab: Workspace, tmp_path: Path) -> None:
    source = write_plate(tmp_path / "in" / "plate 1", ("A01", "A02"), 2)
    write_plate(tmp_path / "in" / "plate 2", ("A01",), 1)
    (source / "A02_f2.png").write_bytes(b"damaged")
    (source / "=1+1_A03_f1.png").write_bytes((source / "A01_f1.png").read_bytes())
    words = (tmp_path / "in", "--model", "one", "--baseline", "two", "--device", "cpu")

    said = ask("plate", *words, "--out", tmp_path / "out", "--pictures", 2)

    assert said.code == 0, said.err
    document = said.document
    wells = rows(document["artifacts"]["wells"])
    places = {(w["plate"], w["well"], w["fields"], w["fields_failed"]) for w in wells}
    assert places == {
        ("plate 1", "A01", "2", "0"),
        ("plate 1", "A02", "1", "1"),
        ("plate 1", "A03", "1", "0"),
        ("plate 2", "A01", "1", "0"),
    }
    objects = rows(document["artifacts"]["objects"])
    counting = read(lab.run_dir(document["id"]))
    assert len(objects) == len(counting.objects) == sum(int(w["objects"]) for w in wells)
    assert document["models"]["model"]["objects"] == len(objects)
    assert document["models"]["baseline"]["model"] == "two"
    images = {row["image"]: row for row in rows(document["artifacts"]["images"])}
    assert images["plate 1/A02_f2.png"]["state"] == "failed"
    assert images["plate 1/A02_f2.png"]["total"] == ""
    assert [one["image"] for one in document["failed"]] == ["plate 1/A02_f2.png"]
    assert len(list((tmp_path / "out" / "pictures").iterdir())) == 2
    assert "Counted by one: 5 images, 1 could not be read" in said.err

    sheet = tmp_path / "wells.csv"
    sheet.write_text(
        "plate,well,condition\nplate 1,A1,control\nplate 1,A2,drug\nplate 1,A3,drug\n"
        "plate 2,A01,control\n"
    )
    again = ask("plate", document["id"], "--out", tmp_path / "again", "--sample-sheet", sheet,
                "--control", "control")  # fmt: skip

    assert again.code == 0, again.err
    assert again.document["models"] == document["models"]
    assert again.document["sheet_problems"] == []
    conditions = {row["condition"] for row in rows(again.document["artifacts"]["conditions"])}
    assert conditions == {"control", "drug"}
    assert rows(again.document["artifacts"]["objects"]) == objects
    for name in ("workbook", "report"):
        assert Path(document["artifacts"][name]).stat().st_size > 5000
    shown = ask("runs", "show", document["id"])
    assert shown.code == 0, shown.err
    assert shown.document["config"]["baseline"] == "two"
    assert [one["images"] for one in shown.document["counted"]] == [5, 5]
    packed = ask("runs", "export", document["id"], "--out", tmp_path / "run.zip")
    assert packed.code == 0, packed.err
    with zipfile.ZipFile(tmp_path / "run.zip") as archive:
        names = archive.namelist()
        assert "msip_core plate" in archive.read("README.txt").decode()
    assert f"runs/{document['id']}/counts/model/objects.jsonl" in names
    assert {"models/one/model.pt", "models/two/model.pt"} <= set(names)


def test_a_count_can_be_left_to_the_app(ask: Ask, lab: Workspace, tmp_path: Path) -> None:
    source = write_plate(tmp_path / "plate 1")

    said = ask("plate", source, "--model", "one", "--every", 2, "--tiles", 128, "--detach")

    assert said.code == 0, said.err
    config = RunService(lab).get(said.document["id"]).config
    assert isinstance(config, CountConfig)
    assert (config.source, config.every, config.tiles) == (source, 2, 128)
    assert ask("plate", said.document["id"]).code == 2  # it has counted nothing yet


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("nowhere", "--model", "one"), "There is no folder, zip or file at"),
        ((".", "--model", "none"), "There is no model 'none'"),
        ((".", "--model", "one", "--baseline", "one"), "the baseline is the model itself"),
        ((".", "--model", "one", "--group", "("), "pattern"),
        ((".", "--model", "one", "--stack", "best"), "choose sharpest, middle, max, min"),
        ((".", "--model", "one", "--sample-sheet", "none.csv"), "sample sheet"),
        ((".",), "Say with --model"),
        (("", "--model", "one"), "There is nothing at ''"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(
    ask: Ask, lab: Workspace, words: tuple[str, ...], what: str
) -> None:
    before = RunService(lab).count()

    said = ask("plate", *words)

    assert said.code == 2
    assert what in json.loads(said.out)["error"]
    assert RunService(lab).count() == before


def test_the_command_of_a_count_counts_the_same() -> None:
    config = CountConfig(
        source=Path("/data/plate 1"), model="a", baseline="b", conf=0.4, one_class=False,
        pixel_size_um=1.5, tiles=640, tile_overlap=0.3,
    )  # fmt: skip

    assert count_command(config) == (
        "python -m msip_core plate '/data/plate 1' --model a --baseline b --conf 0.4 "
        "--all-classes --pixel-size 1.5 --tiles 640 --overlap 0.3"
    )


def test_a_count_is_called_after_what_it_counts_and_its_command_leaves_that_out() -> None:
    source = Path("/data/plate 7.zip")
    named = CountConfig(source=source, model="m", name=usual_name(str(source)))

    assert named.name == "Count of plate 7"
    assert usual_name(dataset="plate7") == "Count of plate7"
    assert "--name" not in count_command(named)
    assert "--name mine" in count_command(named.model_copy(update={"name": "mine"}))
