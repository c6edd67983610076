"""`study …`: presets, plans, errors; a study by the command line with work that is pretended."""

from __future__ import annotations

from functools import partial

import pytest

from msip_core.cli import studies
from msip_core.compositions import COMPOSITIONS
from msip_core.runs.executors import LocalExecutor
from msip_core.runs.supervisor import Supervisor
from msip_core.studies.plan import read_plan, write_plan
from msip_core.workspace import Workspace
from tests.cli.conftest import Verb
from tests.drawn import copy_example
from tests.studies.conftest import FAKE, QUICK, make_plan


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = partial(Supervisor, executor=LocalExecutor(FAKE), timing=QUICK)
    monkeypatch.setattr(studies, "Supervisor", queue)
    monkeypatch.setattr(studies, "_LOOK", 0.05)


def test_presets_are_listed_with_their_question(msip: Verb) -> None:
    said = msip("study", "presets", "--json")
    names = [row["name"] for row in said.document["presets"]]
    assert names == ["table-3-1", "table-3-2", "table-3-3", "analysis", "field", *COMPOSITIONS]
    assert said.document["sizes"] == ["paper", "standard", "smoke"]
    assert "the paper of MSIP: Fang Yuebing" in msip("study", "presets").out


def test_a_preset_can_be_written_and_changed_before_it_is_run(msip: Verb, tmp_path) -> None:
    path = tmp_path / "plan.yaml"
    said = msip("study", "plan", "table-3-1", "--out", path, "--imgsz", 256, "--seeds", 2)
    assert said.code == 0
    plan = read_plan(path)
    assert (plan.imgsz, plan.seeds) == (256, (0, 1))
    assert [row.key for row in plan.rows][-1] == "msip"


def test_a_study_runs_to_its_table_in_the_foreground(
    msip: Verb, workspace: Workspace, tmp_path, pretended: None
) -> None:
    copy_example(workspace, images=20, size=64)
    path = tmp_path / "plan.yaml"
    path.write_text(write_plan(make_plan(seeds=[0], honest=["random"])), encoding="utf-8")
    said = msip("study", "run", path, "--json")
    assert said.code == 0, said.err
    assert [row["key"] for row in said.document["rows"]] == ["baseline", "random", "l2", "msip"]
    assert all(row["seeds"] == 1 for row in said.document["rows"])
    assert (workspace.study_dir(said.document["id"]) / "report.html").is_file()

    added = msip("study", "add", said.document["id"], "--key", "norm", "--set", "method=l1")
    assert added.code == 1  # l1 fails here: a row with a reason, and an exit code that says so
    assert "failed: The disk is full." in added.out
    repeated = msip(
        "study", "repeat", said.document["id"], "--row", "msip", "--seed", 3, "--seed", 4, "--json"
    )
    seeds = {row["key"]: row["seeds"] for row in repeated.document["rows"]}
    assert (seeds["msip"], seeds["l2"]) == (3, 1)
    listed = msip("study", "list", "--json").document["studies"]
    assert [(study["id"], study["state"]) for study in listed] == [(said.document["id"], "over")]

    asked = msip("study", "delete", said.document["id"])
    assert (asked.code, "Add --yes to delete the study" in asked.err) == (2, True)
    runs = msip("runs", "list", "--json").document["runs"]
    assert msip("study", "delete", said.document["id"], "--yes").code == 0
    assert msip("study", "list", "--json").document["studies"] == []
    assert msip("runs", "list", "--json").document["runs"] == runs  # they stay


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("study", "run", "table-9-9"), "There is no study 'table-9-9'"),
        (("study", "run", "table-3-1", "--data", "nothing"), "nothing"),
        (("study", "run", "plan.yaml"), "plan.yaml"),
        (("study", "show", "nobody"), "There is no study 'nobody'"),
        (("study", "delete", "nobody", "--yes"), "There is no study 'nobody'"),
        (("study", "add", "nobody", "--key", "x", "--set", "method"), "is no setting"),
    ],
)
def test_wrong_words_get_one_sentence_and_exit_code_2(
    msip: Verb, words: tuple[str, ...], told: str
) -> None:
    said = msip(*words)
    assert said.code == 2
    assert told in said.err
    assert len(said.err.strip().splitlines()) == 1
