"""What studies made stays out of the menus, and one click away."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from msip_core.runs.state import RunState
from msip_core.studies.tasks import Task, run_id
from msip_core.workspace import Workspace, study_of
from tests.pages import lab_samples
from tests.pages.conftest import Open, no_crash, words

STUDY = "study-261122085501-865a"
MODELS, RUNS = "Show models of studies", "Show runs of studies"


@pytest.fixture
def with_study(workspace: Workspace, full: str) -> str:
    """Beside a person's own models and runs: a study's baseline and two pruned rows."""
    return _add_study(workspace)


def _add_study(workspace: Workspace) -> str:
    """The id of the first pruning run."""
    baseline = run_id(STUDY, Task("baseline", 0))
    lab_samples.add_model(workspace, "model-1", name="Trial: baseline", origin={"run_id": baseline})
    for seed in (0, 1):
        run = run_id(STUDY, Task("l2", seed))
        name = f"Trial: L2 norm, seed {seed}"
        lab_samples.prune_run(workspace, RunState.COMPLETED, run_id=run, name=name, model="model-1")
        lab_samples.add_model(
            workspace, f"pruned-{run}", name=name, kind="pruned", origin={"run_id": run}
        )
    return run_id(STUDY, Task("l2", 0))


def menu(test: AppTest, label: str) -> list[str]:
    no_crash(test)
    return list(next(box for box in test.selectbox if box.label == label).options)


def switch(test: AppTest, label: str) -> AppTest:
    return next(s for s in test.toggle if s.label == label).set_value(True).run()


def test_the_id_of_a_run_names_its_study() -> None:
    assert study_of(run_id(STUDY, Task("smaller-image", 2))) == STUDY
    assert study_of(run_id(STUDY, Task("a-row-with-quite-a-long-name", 12345678))) == STUDY
    assert study_of("prune-261122085501-865a") is None
    assert study_of(STUDY) is None


@pytest.mark.parametrize(
    ("page", "view", "label"),
    [
        ("new", "", "Detector"),
        ("models", "look", "Model"),
        ("models", "train", "Start from"),
        ("studies", "", "Unpruned detector"),
    ],
)
def test_models_of_studies_come_into_the_menu_behind_the_own_ones_by_a_click(
    with_study: str, open_page: Open, page: str, view: str, label: str
) -> None:
    test = open_page(page, **({"view": view} if view else {}))
    before = menu(test, label)
    assert not [name for name in before if "Trial" in name]
    after = menu(switch(test, MODELS), label)
    assert after[: len(before)] == before
    assert any("Trial: baseline" in name for name in after[len(before) :])


def test_the_table_of_models_follows_the_switch(with_study: str, open_page: Open) -> None:
    test = open_page("models")
    assert list(test.dataframe[0].value["Model"]) == ["Example, a third", "Example baseline"]
    test = switch(test, MODELS)
    assert set(test.dataframe[0].value["Model"][2:]) == {
        "Trial: baseline",
        "Trial: L2 norm, seed 0",
        "Trial: L2 norm, seed 1",
    }


def test_a_link_reaches_a_model_of_a_study_without_the_switch(
    with_study: str, open_page: Open
) -> None:
    test = open_page("new", model="model-1")
    assert menu(test, "Detector") == ["Example baseline", "Trial: baseline"]
    assert test.selectbox[0].value == "model-1"


@pytest.mark.parametrize("page", ["compare", "look", "share"])
def test_runs_of_studies_come_into_the_menu_by_a_click_or_a_link(
    with_study: str, full: str, open_page: Open, page: str
) -> None:
    test = open_page(page)
    assert menu(test, "Run") == ["Example to 33 %"]
    assert menu(switch(test, RUNS), "Run")[1:] == [
        "Trial: L2 norm, seed 1",
        "Trial: L2 norm, seed 0",
    ]
    linked = open_page(page, run=with_study)
    assert menu(linked, "Run") == ["Example to 33 %", "Trial: L2 norm, seed 0"]


def test_the_answer_holds_on_the_next_page(with_study: str, open_page: Open) -> None:
    test = switch(open_page("models"), MODELS)
    test.switch_page("pages/compare/page.py").run()
    assert len(menu(test, "Run")) == 3
    assert next(s for s in test.toggle if s.label == RUNS).value


def test_the_list_of_runs_leaves_studies_out_but_shows_the_whole_queue(
    workspace: Workspace, with_study: str, open_page: Open
) -> None:
    waiting = run_id(STUDY, Task("msip", 0))
    lab_samples.prune_run(workspace, RunState.QUEUED, run_id=waiting, name="Trial: MSIP, seed 0")
    test = open_page("runs", run=with_study)
    no_crash(test)
    assert set(test.dataframe[0].value["Run"]) == {"Example to 33 %", "Baseline on example"}
    assert "Trial: L2 norm, seed 0" in [s.value for s in test.subheader]
    assert len(switch(test, RUNS).dataframe[0].value) == 5
    queue = open_page("runs", show="active")
    assert list(queue.dataframe[0].value["Run"]) == ["Trial: MSIP, seed 0"]


def test_runs_of_one_study_are_offered_for_comparison(with_study: str, open_page: Open) -> None:
    test = open_page("runs", run=with_study, **{"with": ""})
    no_crash(test)
    offered = [option.split(" · ")[0] for option in test.multiselect("compare:with").options]
    assert offered == ["Example to 33 %", "Trial: L2 norm, seed 1"]


def test_where_only_studies_made_models_the_menus_hold_them(
    workspace: Workspace, open_page: Open
) -> None:
    lab_samples.draw_dataset(workspace)
    _add_study(workspace)
    test = open_page("new")
    assert menu(test, "Detector") == ["Trial: baseline"]
    assert not [s for s in test.toggle if s.label == MODELS]
    assert len(menu(open_page("compare"), "Run")) == 2


def test_the_way_on_start_is_that_of_own_models(with_study: str, open_page: Open) -> None:
    test = open_page("start")
    no_crash(test)
    assert "Trial" not in words(test)


def test_models_of_the_same_name_can_be_told_apart(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    lab_samples.add_model(workspace, "baseline-2")
    assert menu(open_page("new"), "Detector") == [
        "Example baseline · baseline-2",
        "Example baseline · baseline-1",
    ]


def test_a_page_that_is_no_longer_there_is_left(
    workspace: Workspace, with_study: str, open_page: Open
) -> None:
    for seed in range(2, 30):
        lab_samples.prune_run(
            workspace, RunState.QUEUED, run_id=run_id(STUDY, Task("msip", seed)), name="more"
        )
    for number in range(10):
        lab_samples.prune_run(workspace, RunState.QUEUED, name=f"own {number}")
    test = switch(open_page("runs"), RUNS)
    test.number_input("page").set_value(5).run()
    assert len(test.dataframe[0].value) == 2
    next(s for s in test.toggle if s.label == RUNS).set_value(False).run()
    no_crash(test)
    assert test.number_input("page").label == "Page of 2"
    assert "No run of this kind." not in words(test)
