"""Words in, one answer and one exit code out."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from msip_core.cli import data as data_verbs
from msip_core.cli.data import parse_class_map, sort_words
from msip_core.cli.demo import shipped_baseline
from msip_core.cli.main import main
from msip_core.errors import ConfigError, DiskFullError, WorkError
from msip_core.example import EXAMPLE, unpack
from msip_core.runs.failures import explain_failure
from msip_core.workspace import Workspace
from tests.cli.conftest import Verb
from tests.data.conftest import write_image
from tests.fresh import ROOT
from tests.pages.lab_samples import fill

VERBS = (
    "doctor", "demo", "methods", "train", "prune", "predict", "compare", "explain", "export",
    "data import", "data example", "data list", "data show", "data export", "models list",
    "models show", "runs list", "runs show", "runs follow", "runs pause", "runs resume",
    "runs cancel", "runs export", "runs reindex", "data delete",
    "data rename", "runs rename", "runs delete", "models rename", "models delete",
)  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_and_takes_json_and_workspace(
    verb: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*verb.split(), "--help"]) == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", capfd.readouterr().out)
    assert "--json" in text
    assert "--workspace" in text


def test_an_empty_workspace_lists_nothing_and_says_so_in_json(msip: Verb) -> None:
    assert msip("data", "list", "--json").document == {"datasets": []}
    assert msip("models", "list", "--json").document == {"models": []}
    assert msip("runs", "list", "--json").document == {"runs": []}


def test_global_options_may_stand_before_the_verb(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["--json", "--workspace", str(tmp_path / "w"), "data", "list"]) == 0
    assert json.loads(capfd.readouterr().out) == {"datasets": []}
    assert (tmp_path / "w" / "datasets").is_dir()


def test_the_workspace_behind_the_verb_wins(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["--workspace", str(first), "data", "list", "--workspace", str(second)]) == 0
    assert second.is_dir()
    assert not first.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("data", "show", "nothing"),
        ("models", "show", "nothing"),
        ("runs", "show", "nothing"),
        ("runs", "pause", "nothing"),
        ("prune", "--data", "nothing", "--model", "m"),
        ("train", "--data", "nothing", "--weights", "yolov8n.yaml"),
    ],
    ids=" ".join,
)
def test_a_name_that_is_not_there_is_one_sentence_and_code_2(msip: Verb, words: tuple[str]) -> None:
    said = msip(*words, "--json")
    assert said.code == 2
    assert said.document["kind"] == "NotFoundError"
    assert "nothing" in said.document["error"]
    assert said.err.strip() == said.document["error"]
    assert "Traceback" not in said.err


def test_without_json_an_error_leaves_stdout_empty(msip: Verb) -> None:
    said = msip("data", "show", "nothing")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("There is no dataset 'nothing'")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("data", "show"), "NAME"),
        (("train", "--weights", "yolov8n.yaml"), "--data"),
        (("runs", "list", "--limit", "many"), "--limit"),
        (("fly",), "fly"),
        (("prune", "--data", "d"), "--model"),
    ],
)
def test_words_that_no_verb_understands_are_code_2(
    msip: Verb, words: tuple[str, ...], named: str
) -> None:
    said = msip(*words, "--json")
    assert said.code == 2
    assert named.lower() in said.document["error"].lower()


def test_a_name_with_a_slash_cannot_leave_the_workspace(msip: Verb) -> None:
    said = msip("data", "show", "../outside", "--json")
    assert said.code == 2
    assert "cannot be a dataset name" in said.document["error"]


def test_work_that_fails_is_code_1(msip: Verb, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Workspace) -> None:
        raise WorkError("The disk is gone.")

    monkeypatch.setattr(data_verbs, "list_datasets", fail)
    said = msip("data", "list", "--json")
    assert said.code == 1
    assert said.document["error"] == "The disk is gone."


@pytest.mark.parametrize("number", [errno.EFBIG, errno.EIO, errno.ESTALE])
def test_a_disk_that_fails_is_a_sentence_and_no_fault_of_the_program(
    msip: Verb, monkeypatch: pytest.MonkeyPatch, workspace: Workspace, number: int
) -> None:
    """A stick with FAT takes no file above 4 GB; one that is pulled out, or broken, says EIO."""

    def fail(_: Workspace) -> None:
        raise OSError(number, os.strerror(number), "/media/stick/plate.zip")

    monkeypatch.setattr(data_verbs, "list_datasets", fail)
    said = msip("data", "list", "--json")
    assert said.code == 2
    assert "/media/stick/plate.zip" in said.document["error"]
    assert os.strerror(number) in said.document["error"]
    assert not (workspace.root / "errors").exists()
    assert isinstance(explain_failure(OSError(number, os.strerror(number))), DiskFullError)


def test_the_unexpected_gets_a_code_and_a_file_instead_of_a_traceback(
    msip: Verb, monkeypatch: pytest.MonkeyPatch, workspace: Workspace
) -> None:
    def fail(_: Workspace) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(data_verbs, "list_datasets", fail)
    said = msip("data", "list", "--json")
    assert said.code == 1
    assert "Traceback" not in said.err
    (report,) = (workspace.root / "errors").iterdir()
    assert str(report) in said.document["error"]
    assert re.search(r"E-[0-9a-f]{6}", said.document["error"])
    assert "secret detail" in report.read_text(encoding="utf-8")


def test_class_map_renames_merges_and_drops() -> None:
    assert parse_class_map(["cyst=no_crypt,late=crypt", "early=no_crypt", "debris="]) == {
        "cyst": "no_crypt",
        "late": "crypt",
        "early": "no_crypt",
        "debris": None,
    }


def test_several_pairs_may_follow_one_map(tmp_path: Path) -> None:
    folder = tmp_path / "a=b"
    folder.mkdir()
    given = ["x.zip", "late=crypt"]

    assert sort_words(given, ["cyst=no_crypt"]) == (Path("x.zip"), ["cyst=no_crypt", "late=crypt"])
    assert sort_words(given[::-1], ["a=b"]) == (Path("x.zip"), ["a=b", "late=crypt"])
    assert sort_words([str(folder)], ["a=b"]) == (folder, ["a=b"])
    for words, maps in ((given, []), (["late=crypt"], ["a=b"]), (["x", "y"], ["a=b"]), ([""], [])):
        with pytest.raises(ConfigError, match="One folder or zip is imported at a time"):
            sort_words(words, maps)


def test_the_map_of_the_readme_works_as_it_is_printed(msip: Verb, tmp_path: Path) -> None:
    for i, name in enumerate(("a", "b")):
        write_image(tmp_path / "plate7" / f"{name}.png", i)
        (tmp_path / "plate7" / f"{name}.txt").write_text(f"{i} 0.5 0.5 0.2 0.2\n")
    (tmp_path / "plate7" / "classes.txt").write_text("cyst\nlate\n")
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    printed = "data import plate7.zip --name plate7 --map cyst=no_crypt late=crypt"

    said = msip(*printed.replace("plate7.zip", str(tmp_path / "plate7")).split(), "--json")

    assert printed in readme
    assert said.document["boxes"] == {"no_crypt": 1, "crypt": 1}


@pytest.mark.parametrize("words", [["cyst"], ["=crypt"], ["a=b", "a=c"]])
def test_a_class_map_that_says_nothing_or_twice_is_refused(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"map"):
        parse_class_map(words)


def test_every_method_is_listed(msip: Verb) -> None:
    from msip_core.catalog import CRITERIA

    names = [entry["name"] for entry in msip("methods", "--json").document["criterion"]]
    assert names == list(CRITERIA)


def test_python_dash_m_is_the_same_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "msip_core", "data", "list", "--json", "--workspace", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, json.loads(done.stdout)) == (0, {"datasets": []})


def test_doctor_names_device_memory_disk_and_optional_parts(msip: Verb) -> None:
    said = msip("doctor", "--json")
    levels = {finding["what"]: finding["level"] for finding in said.document["findings"]}
    assert {"device", "memory", "disk", "workspace", "one OpenCV", "openvino"} <= set(levels)
    assert said.document["ready"] == ("problem" not in levels.values())
    assert said.code == (0 if said.document["ready"] else 1)


def test_doctor_finds_a_disk_that_is_full(msip: Verb, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1000))
    said = msip("doctor")
    assert said.code == 1
    assert re.search(r"MEND\s+disk .*clear some space", said.out)


def test_a_dataset_is_deleted_only_after_a_yes(
    msip: Verb, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(workspace)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    refused = msip("data", "delete", "example")
    assert refused.code == 2
    assert "runs: " in refused.err
    assert "Add --yes" in refused.err

    for answer, code, left in (("n\n", 1, 1), ("y\n", 0, 0)):
        terminal = io.StringIO(answer)
        monkeypatch.setattr(terminal, "isatty", lambda: True)
        monkeypatch.setattr("sys.stdin", terminal)
        assert msip("data", "delete", "example").code == code
        assert len(list(workspace.datasets.iterdir())) == left
    assert msip("data", "delete", "example", "--yes").code == 2


def test_deleting_without_a_question_tells_what_was_made_with_the_dataset(
    msip: Verb, workspace: Workspace
) -> None:
    run = fill(workspace)

    said = msip("data", "delete", "example", "--yes", "--json")

    assert said.code == 0
    assert said.document["deleted"] == "example"
    assert run in said.document["runs"]
    assert len(said.document["models"]) == 2
    assert list(workspace.datasets.iterdir()) == []


def test_runs_models_and_datasets_are_called_otherwise_and_keep_their_ids(
    msip: Verb, workspace: Workspace
) -> None:
    run = fill(workspace)

    assert msip("runs", "rename", run, "  Plate 7,\n a third ").code == 0
    assert msip("models", "rename", "baseline-1", "Baseline of May").code == 0
    assert msip("data", "rename", "example", "Plate 7 (drawn)").code == 0

    runs = msip("runs", "list", "--json").document["runs"]
    assert {one["id"]: one["name"] for one in runs}[run] == "Plate 7, a third"
    models = msip("models", "list", "--json").document["models"]
    assert {one["id"]: one["name"] for one in models}["baseline-1"] == "Baseline of May"
    (dataset,) = msip("data", "list", "--json").document["datasets"]
    assert (dataset["name"], dataset["title"]) == ("example", "Plate 7 (drawn)")


@pytest.mark.parametrize(
    ("title", "why"),
    [(" ", "at least one letter"), ("x" * 81, "at most 80"), ("a\x07b", "invisible")],
)
def test_what_can_be_no_title_is_refused(
    msip: Verb, workspace: Workspace, title: str, why: str
) -> None:
    run = fill(workspace)
    for words in (("runs", run), ("models", "baseline-1"), ("data", "example")):
        said = msip(words[0], "rename", words[1], title)
        assert said.code == 2
        assert why in said.err


def test_a_model_and_a_run_are_deleted_after_what_hangs_on_them_was_told(
    msip: Verb, workspace: Workspace
) -> None:
    run = fill(workspace)

    refused = msip("models", "delete", "baseline-1")
    assert refused.code == 2
    assert run in refused.err
    assert "models: pruned-1" in refused.err
    assert msip("models", "delete", "baseline-1", "--yes").code == 0
    said = msip("runs", "delete", run, "--yes", "--json")
    assert said.document == {"deleted": run, "runs": [], "models": ["pruned-1"], "studies": []}

    assert [path.name for path in workspace.models.iterdir()] == ["pruned-1"]
    assert not workspace.run_dir(run).exists()
    assert msip("models", "delete", "baseline-1", "--yes").code == 2
    assert msip("runs", "delete", run, "--yes").code == 2


def test_the_demo_begins_with_the_shipped_baseline(tmp_path: Path) -> None:
    card = shipped_baseline()

    unpack(EXAMPLE, tmp_path, ["models"])

    assert card.kind == "baseline"
    assert (tmp_path / "models" / card.id / "model.pt").stat().st_size > 1_000_000


def test_ctrl_c_in_a_verb_says_that_it_stopped(msip: Verb, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(data_verbs, "list_datasets", interrupted)
    said = msip("data", "list", "--json")
    assert (said.code, said.err) == (130, "Stopped.\n")
    assert said.document["error"] == "Stopped."
