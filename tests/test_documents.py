"""Documents of a workspace that others damaged: named in a sentence, or left out where they only
accompany others; what stands beside them is shown."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from msip_core import models
from msip_core.arrays import write_arrays
from msip_core.cli.main import main
from msip_core.config import TrainConfig
from msip_core.data import writing
from msip_core.data.dataset import list_datasets, open_dataset
from msip_core.data.drafts import drafts_of
from msip_core.data.label_files import mask_path
from msip_core.data.writing import rename_dataset
from msip_core.documents import facts_in, read_json
from msip_core.errors import DatasetError, InputError, NotFoundError, WorkError
from msip_core.models import damaged_models, delete_model, list_models, rename_model, step_path
from msip_core.plates import folder
from msip_core.runs import service
from msip_core.runs.provenance import record_provenance
from msip_core.runs.service import RunService
from msip_core.studies import engine, library
from msip_core.studies.table import read_measured
from msip_core.views import report
from msip_core.views.history import read_history
from msip_core.views.methods import methods_text
from msip_core.workspace import Workspace, taken_away, write_json
from tests.pages import lab_samples, plate_samples
from tests.rights import rights
from tests.studies.conftest import make_plan
from tests.studies.fake_work import numbers

OUTLINE = b'{"outlines": [[[1, 2], [3]]], "crypts": [["x"]]}'
DAMAGE = {"cut": b'{"a": ', "zeros": bytes(40), "other": b"[1, 2]", "deep": b"[" * 100_000}


@pytest.fixture
def full(workspace: Workspace) -> str:
    return lab_samples.fill(workspace)


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_only_accompanies_a_run_hides_nothing_of_it(
    workspace: Workspace, full: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = workspace.run_dir(full)
    (run_dir / "model").mkdir()
    (run_dir / "model" / "check.json").write_bytes(DAMAGE[kind])
    (run_dir / "provenance.json").write_bytes(DAMAGE[kind])

    assert main(["runs", "show", full, "--workspace", str(workspace.root)]) == 0
    assert "time per image on this processor: not measured" in capsys.readouterr().out
    assert facts_in(run_dir / "provenance.json") == {}


def test_the_damaged_document_that_names_the_weights_of_a_step_is_named(
    workspace: Workspace, full: str
) -> None:
    (workspace.run_dir(full) / "final.json").write_bytes(DAMAGE["cut"])
    with pytest.raises(InputError, match=r"final\.json is damaged"):
        step_path(workspace, full, 5)


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_of_a_count_is_named(workspace: Workspace, full: str, kind: str) -> None:
    run_dir = workspace.run_dir(plate_samples.count_run(workspace))
    (run_dir / folder.PLAN_FILE).write_bytes(DAMAGE[kind])
    with pytest.raises(InputError, match=r"plan\.json is damaged"):
        folder.read_plan(run_dir)
    (run_dir / "counts" / "model" / "images.jsonl").write_bytes(DAMAGE[kind] + b"\n")
    with pytest.raises(WorkError, match="are damaged"):
        folder.read(run_dir)


@pytest.mark.parametrize("name", [library.STUDY_FILE, library.PLAN_FILE])
def test_a_damaged_study_is_named_and_stops_no_other(
    workspace: Workspace, full: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = (library.create(workspace, make_plan(seeds=[0])).id for _ in range(2))
    (workspace.study_dir(bad) / name).write_bytes(DAMAGE["cut"])
    (workspace.studies / "study-gone").symlink_to("nowhere")

    assert main(["study", "list", "--workspace", str(workspace.root)]) == 0
    said = capsys.readouterr().out
    assert f"Left out: {bad}: " in said
    assert good in said.partition("Left out")[0]
    assert main(["study", "show", bad, "--workspace", str(workspace.root)]) == 2
    assert name in capsys.readouterr().err
    engine.Watch()(workspace)
    states = engine.standing(RunService(workspace), good).states
    assert states[0].row is not None, "its baseline waits in the queue"


@pytest.mark.parametrize(
    ("verb", "folder"),
    [("data", "datasets"), ("models", "models"), ("runs", "runs"), ("study", "studies")],
)
def test_what_only_somebody_else_can_read_is_named_and_hides_nothing(
    workspace: Workspace, full: str, verb: str, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    library.create(workspace, make_plan(seeds=[0]))
    good = sorted((workspace.root / folder).iterdir())[0]
    bad = good.with_name(f"{good.name}-x")
    shutil.copytree(good, bad)
    with rights(bad, 0):
        assert main([verb, "list", "--workspace", str(workspace.root)]) == 0
        said = capsys.readouterr().out
        assert bad.name in said
        assert "cannot be read" in said or "Permission denied" in said
        assert good.name in said.replace(bad.name, "")
        if verb != "data":
            assert (
                main(["data", "delete", "example", "--yes", "--workspace", f"{workspace.root}"])
                == 0
            )
        engine.Watch()(workspace)


def test_what_cannot_be_deleted_whole_stays_whole(
    workspace: Workspace, full: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [("models", lab_samples.BASELINE), ("runs", full), ("data", "example")]
    places = [workspace.model_dir(words[0][1]), workspace.run_dir(full)]
    places.append(workspace.dataset_dir("example") / "images")
    for (verb, name), place in zip(words, places, strict=True):
        with rights(place, 0o500):
            assert main([verb, "delete", name, "--yes", "--workspace", str(workspace.root)]) == 2
        assert f"'{name}' cannot be deleted and was left as it is" in capsys.readouterr().err
        assert main([verb, "show", name, "--workspace", str(workspace.root)]) == 0
    assert not list(workspace.root.glob("*/.deleted-*"))


def test_what_a_disk_keeps_of_a_deleted_thing_is_said(
    workspace: Workspace, full: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    for verb, name in (("runs", full), ("models", lab_samples.BASELINE), ("data", "example")):
        with monkeypatch.context() as disk:
            disk.setattr(os, "rmdir", broken)
            assert main([verb, "delete", name, "--yes", "--workspace", str(workspace.root)]) == 1
        said = capsys.readouterr().err
        assert "It is deleted, but the disk keeps files of it in" in said
        assert f".deleted-{name}-" in said
        assert main([verb, "show", name, "--workspace", str(workspace.root)]) == 2
        assert name in capsys.readouterr().err


def test_a_study_of_somebody_else_can_be_looked_at(
    workspace: Workspace, full: str, capsys: pytest.CaptureFixture[str]
) -> None:
    study = library.create(workspace, make_plan(seeds=[0])).id
    with rights(workspace.study_dir(study), 0o500):
        assert main(["study", "show", study, "--workspace", str(workspace.root)]) == 0
    said = capsys.readouterr().out
    assert "L2 norm" in said
    assert "Its files were not written to " in said


def test_a_summary_that_is_damaged_is_made_of_the_dataset(workspace: Workspace) -> None:
    lab_samples.draw_dataset(workspace)
    (whole,) = list_datasets(workspace)
    (workspace.dataset_dir("example") / "summary.json").write_bytes(DAMAGE["cut"])
    assert list_datasets(workspace) == [whole]


def test_a_folder_in_the_place_of_a_document_hides_no_other(
    workspace: Workspace, full: str
) -> None:
    root = workspace.dataset_dir("example")
    shutil.copytree(root, workspace.dataset_dir("other"))
    odd = [root / "summary.json", root / ".title", workspace.model_dir("pruned-1") / "model.json"]
    for path in odd:
        path.unlink(missing_ok=True)
        path.mkdir()
    (root / "versions" / "drafts" / "x.json").mkdir(parents=True)

    assert {one.name: one.ready for one in list_datasets(workspace)} == {
        "example": True,
        "other": True,
    }
    assert open_dataset(workspace, "other").name == "other"
    assert [card.id for card in list_models(workspace)] == [lab_samples.BASELINE]
    assert damaged_models(workspace) == ["pruned-1"]
    assert drafts_of(root) == ([], [str(root / "versions" / "drafts" / "x.json")])


def test_a_model_without_its_card_is_named(workspace: Workspace) -> None:
    for name in ("lost", "just-deleted"):
        workspace.model_dir(name).mkdir()
    (workspace.model_dir("lost") / "model.pt").write_bytes(b"x")

    assert damaged_models(workspace) == ["lost"]


@pytest.mark.parametrize("text", [bytes(40), b"0 0.5 0.5 0.1", b"\xff", b"7 0.5 0.5 0.1 0.1\n"])
def test_a_damaged_label_is_named(workspace: Workspace, text: bytes) -> None:
    data = lab_samples.draw_dataset(workspace)
    path = data.label_path(data.images[0])
    path.write_bytes(text)
    with pytest.raises(DatasetError, match=f"{path.name} is damaged"):
        data.boxes(data.images[0])


@pytest.mark.parametrize("content", [*DAMAGE.values(), b"\xe7{}", OUTLINE])
def test_a_damaged_outline_is_named(workspace: Workspace, content: bytes) -> None:
    data = lab_samples.draw_dataset(workspace)
    path = mask_path(data.root, data.images[0])
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=f"{path.name} is damaged"):
        data.contours(data.images[0])


def test_a_missing_document_is_none(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert [read_json(tmp_path / name) for name in ("gone", "loop", ".")] == [None] * 3
    (tmp_path / "nan").write_text(json.dumps([float("nan")]))
    assert read_json(tmp_path / "nan") is not None


def test_a_model_whose_folder_was_renamed_is_found_under_the_new_name(
    workspace: Workspace, full: str, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.model_dir(lab_samples.LIGHTER).rename(workspace.model_dir("mine"))
    assert {card.id for card in list_models(workspace)} == {lab_samples.BASELINE, "mine"}
    assert main(["models", "show", "mine", "--json", "--workspace", str(workspace.root)]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == "mine"


def test_an_image_that_is_gone_is_named_before_a_zip_is_made(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = lab_samples.draw_dataset(workspace)
    data.path(data.images[3]).unlink()
    words = ["data", "export", data.name, "--out", str(tmp_path / "d.zip")]
    assert main([*words, "--workspace", str(workspace.root)]) == 2
    assert f"{data.images[3].id}.png is gone from the workspace" in capsys.readouterr().err
    assert list(tmp_path.glob("*.zip")) == []


def test_who_deletes_what_somebody_else_has_just_deleted_is_told(workspace: Workspace) -> None:
    folder = workspace.model_dir("mine")
    folder.mkdir()
    assert taken_away(folder).is_dir()
    with pytest.raises(NotFoundError, match="'mine' was deleted meanwhile"):
        taken_away(folder)


def test_a_file_that_is_written_while_it_is_deleted_goes_too(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, remove = workspace.model_dir("mine"), shutil.rmtree

    def written(at: Path) -> None:
        monkeypatch.setattr(shutil, "rmtree", remove)
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(at))

    folder.mkdir()
    monkeypatch.setattr(shutil, "rmtree", written)
    delete_model(workspace, "mine")
    assert list(workspace.models.iterdir()) == []


@pytest.mark.parametrize("kind", ["model", "dataset", "run"])
def test_what_is_renamed_while_somebody_deletes_it_is_gone(
    workspace: Workspace, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, room, rename = {
        "model": (workspace.model_dir("mine"), models, partial(rename_model, workspace)),
        "dataset": (workspace.dataset_dir("mine"), writing, partial(rename_dataset, workspace)),
        "run": (workspace.run_dir("mine"), service, RunService(workspace).rename),
    }[kind]
    folder.mkdir()
    (folder / "model.json").write_text(lab_samples.add_model(workspace, "other").model_dump_json())
    (folder / "config.json").write_text("{}")

    def deleted(title: str) -> str:  # asked for after it was looked up, before it is written
        taken_away(folder)
        return title

    monkeypatch.setattr(room, "checked_title", deleted)
    with pytest.raises(NotFoundError, match="'mine' was deleted meanwhile"):
        rename("mine", "Plate 7")
    assert not folder.exists()


def test_a_study_that_is_not_there_gets_no_folder_by_being_asked_for(workspace: Workspace) -> None:
    with pytest.raises(NotFoundError, match="There is no study 'mine'"):
        library.set_paused(workspace, "mine", True)
    assert list(workspace.studies.iterdir()) == []


@pytest.mark.parametrize("what", ["run", "study"])
def test_what_a_full_disk_keeps_from_being_asked_for_leaves_nothing(
    workspace: Workspace, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab_samples.draw_dataset(workspace)
    ask = {
        "run": partial(
            RunService(workspace).submit, TrainConfig(dataset="example", weights="yolov8n.yaml")
        ),
        "study": partial(library.create, workspace, make_plan(seeds=[0])),
    }[what]
    monkeypatch.setattr(os, "fsync", _full_disk)
    with pytest.raises(OSError, match="No space left"):
        ask()
    assert [*workspace.runs.iterdir(), *workspace.studies.iterdir()] == []


def _full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_folder_in_the_way_of_a_run_of_a_study_is_named(
    workspace: Workspace, full: str, capsys: pytest.CaptureFixture[str]
) -> None:
    study = library.create(workspace, make_plan(seeds=[0])).id
    engine.Watch()(workspace)
    (run_dir,) = workspace.runs.glob(f"{study}-*")
    (run_dir / "config.json").unlink()
    words = ["study", "resume", study, "--detach", "--workspace", str(workspace.root)]
    assert main(words) == 1
    assert f"{run_dir} is in the way of a run" in capsys.readouterr().err
    assert list(workspace.runs.glob(".*")) == []


@pytest.mark.parametrize("name", ["measure.json", "draws.npz"])
def test_a_damaged_measurement_of_a_study_is_named(workspace: Workspace, name: str) -> None:
    folder = workspace.run_dir("prune-1") / "measure"
    good = numbers("pruned-1", 0.8, 1000)
    write_json(folder / "measure.json", good)
    write_arrays(folder / "draws.npz", {"test": np.zeros((3, 2))})
    assert read_measured(workspace, "prune-1") is not None
    write_json(folder / "measure.json", {} if name == "measure.json" else good)
    os.utime(folder / "measure.json", (1, 1))
    (folder / "draws.npz").unlink()
    with pytest.raises(InputError, match=f"{name} is damaged"):
        read_measured(workspace, "prune-1")


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("test", {"map50": "high", "map50_95": 0.4, "images": 40}),
        ("macs", 0),
        ("coco", {"map50": math.nan, "map50_95": 0.4}),
        ("latency", {"model": 5.0}),
        ("noise", {"0.1": {}}),
        ("attention", {"images": [{"image": "a", "model": {"ber": 0.1}}]}),
        ("shap", {"c_at_10": [0.5]}),
    ],
)
def test_a_measurement_with_something_else_where_a_number_belongs_is_named(
    workspace: Workspace, part: str, value: object
) -> None:
    folder = workspace.run_dir("prune-1") / "measure"
    write_json(folder / "measure.json", {**numbers("pruned-1", 0.8, 1000), part: value})
    write_arrays(folder / "draws.npz", {"test": np.zeros((3, 2))})
    with pytest.raises(InputError, match=r"measure\.json is damaged"):
        read_measured(workspace, "prune-1")


@pytest.mark.parametrize(
    "draws", [{"other": np.zeros((3, 2))}, {"test": np.zeros(3)}, {"test": np.zeros((3, 1))}]
)
def test_resamples_of_another_shape_are_named(
    workspace: Workspace, draws: dict[str, np.ndarray]
) -> None:
    folder = workspace.run_dir("prune-1") / "measure"
    write_json(folder / "measure.json", numbers("pruned-1", 0.8, 1000))
    write_arrays(folder / "draws.npz", draws)
    with pytest.raises(InputError, match=r"draws\.npz is damaged"):
        read_measured(workspace, "prune-1")


def test_a_study_whose_folder_was_copied_hides_no_other(
    workspace: Workspace, full: str, capsys: pytest.CaptureFixture[str]
) -> None:
    study = library.create(workspace, make_plan(seeds=[0])).id
    shutil.copytree(workspace.study_dir(study), workspace.study_dir("study-copied"))
    workspace.study_dir(study).rename(workspace.study_dir("study-renamed"))
    assert main(["study", "list", "--json", "--workspace", str(workspace.root)]) == 0
    found = json.loads(capsys.readouterr().out)["studies"]
    assert {one["id"] for one in found} == {"study-copied", "study-renamed"}


def test_what_is_no_number_is_null_in_the_json_of_a_verb(
    workspace: Workspace, full: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = workspace.dataset_dir("example") / "dataset.json"
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps({**document, "pixel_size_um": math.nan}))
    assert main(["data", "show", "example", "--json", "--workspace", str(workspace.root)]) == 0
    assert "NaN" not in capsys.readouterr().out


def test_a_pipe_in_the_place_of_a_document_is_waited_for_by_nobody(
    workspace: Workspace, full: str, capsys: pytest.CaptureFixture[str]
) -> None:
    story = workspace.run_dir(full) / "events.jsonl"
    for path in (workspace.dataset_dir("example") / "summary.json", story):
        path.unlink()
        os.mkfifo(path)

    def waits(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, waits)
    signal.alarm(60)
    try:
        assert main(["data", "list", "--workspace", str(workspace.root)]) == 0
        workspace.index_path.unlink()
        assert main(["runs", "list", "--workspace", str(workspace.root)]) == 0
    finally:
        signal.alarm(0)
    assert f"Left out: {full}: " in capsys.readouterr().out


ODD: tuple[tuple[str, dict[str, object]], ...] = (
    ("runs/RUN/provenance.json", {"versions": "2.1", "attempts": []}),
    ("runs/RUN/provenance.json", {"hardware": {"memory_gb": "much"}}),
    ("runs/RUN/model/check.json", {"latency_ms": "fast"}),
    ("datasets/example/summary.json", {"splits": 12, "images": 12}),
    ("datasets/example/summary.json", {"images": 12, "pixel_size_um": "one"}),
)


@pytest.mark.parametrize(("name", "content"), ODD)
def test_parts_of_another_kind_are_damage_to_what_only_accompanies(
    workspace: Workspace, full: str, name: str, content: dict[str, object]
) -> None:
    path = workspace.root / name.replace("RUN", full)
    write_json(path, content)
    service = RunService(workspace)
    history = read_history(workspace, service, full)
    assert methods_text(history)
    assert report._facts(history)
    assert report._versions(history) is not None
    assert service.summary_document(full)["latency_way"] is None
    if path.name == "provenance.json":
        said = record_provenance(path.parent, lab_samples.prune_config(), workspace)
        assert said == ["provenance.json was damaged and is begun anew."]
        assert json.loads(path.with_suffix(".damaged").read_bytes()) == content


def test_a_resumed_run_whose_provenance_is_damaged_goes_on_and_says_so(
    workspace: Workspace, full: str
) -> None:
    run_dir, config = workspace.run_dir(full), lab_samples.prune_config()
    (run_dir / "provenance.json").write_bytes(DAMAGE["cut"])
    said = record_provenance(run_dir, config, workspace)
    assert said == ["provenance.json was damaged and is begun anew."]
    assert len(facts_in(run_dir / "provenance.json")["attempts"]) == 1
    assert record_provenance(run_dir, config, workspace) == []
