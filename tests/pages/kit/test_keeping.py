"""Another title, the same id; who deletes or cancels is told what hangs on it, and whose it is."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from msip_core.data.dataset import list_datasets
from msip_core.models import list_models
from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from msip_core.workspace import Workspace
from tests.pages.conftest import Open, no_crash, words
from tests.pages.lab_samples import prune_run

PLACES = {"run": ("runs", "run"), "dataset": ("data", "dataset"), "model": ("models", "model")}


def titles(workspace: Workspace, kind: str) -> dict[str, str]:
    """Id -> what it is called."""
    if kind == "run":
        return {row.id: row.name for row in RunService(workspace).list()}
    if kind == "model":
        return {card.id: card.name for card in list_models(workspace)}
    return {one.name: one.words for one in list_datasets(workspace)}


def ids_of(full: str) -> dict[str, str]:
    return {"run": full, "dataset": "example", "model": "baseline-1"}


def opened(test: AppTest, kind: str) -> AppTest:
    """With the warning before a deletion open."""
    test.session_state[f"{kind}:deletion"] = True
    return test.run()


@pytest.mark.parametrize("kind", PLACES)
def test_a_title_is_changed_and_everything_else_stays(
    workspace: Workspace, full: str, open_page: Open, kind: str
) -> None:
    page, param = PLACES[kind]
    own = ids_of(full)[kind]
    before = titles(workspace, kind)
    test = open_page(page, **{param: own})
    field = next(f for f in test.text_input if str(f.key).startswith(f"{kind}:rename"))
    assert field.value == before[own]

    field.set_value("Plate 7: *new*")
    test.button(f"{kind}:rename").click().run()

    no_crash(test)
    assert titles(workspace, kind) == {**before, own: "Plate 7: *new*"}
    assert test.query_params[param] in (own, [own])


@pytest.mark.parametrize("kind", PLACES)
def test_what_can_be_no_title_is_said_and_changes_nothing(
    workspace: Workspace, full: str, open_page: Open, kind: str
) -> None:
    page, param = PLACES[kind]
    before = titles(workspace, kind)
    test = open_page(page, **{param: ids_of(full)[kind]})
    next(f for f in test.text_input if str(f.key).startswith(f"{kind}:rename")).set_value(" ")
    test.button(f"{kind}:rename").click().run()

    assert "A title needs at least one letter or digit." in [e.value for e in test.error]
    assert titles(workspace, kind) == before


def test_a_model_is_deleted_by_a_second_click_that_names_what_began_with_it(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    test = opened(open_page("models", model="baseline-1"), "model")
    said = words(test).replace("\\", "")
    assert "Made with it: 2 runs" in said
    assert "Made with it: 1 model (pruned-1)" in said

    test.button("model:delete").click().run()

    no_crash(test)
    assert set(titles(workspace, "model")) == {"pruned-1"}


def test_a_run_is_deleted_and_its_model_stays(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    test = opened(open_page("runs", run=full), "run")
    assert "Made with it: 1 model (pruned-1)" in words(test).replace("\\", "")

    test.button("run:delete").click().run()

    no_crash(test)
    assert not test.error
    assert full not in titles(workspace, "run")
    assert "pruned-1" in titles(workspace, "model")


@pytest.mark.parametrize("kind", ["model", "run"])
def test_what_a_run_works_on_cannot_be_deleted(
    workspace: Workspace, full: str, open_page: Open, kind: str
) -> None:
    running = prune_run(workspace, RunState.RUNNING, steps=1)
    where = {"run": running, "model": "baseline-1"}[kind]

    test = opened(open_page(PLACES[kind][0], **{kind: where}), kind)

    assert "wait until they end" in words(test)
    assert [b for b in test.button if b.key == f"{kind}:delete"] == []


def test_a_damaged_model_can_be_deleted_on_its_page(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    (workspace.model_dir("baseline-1") / "model.json").write_text("{")
    test = open_page("models")
    test.session_state["model:deletion:baseline-1"] = True
    test.run().button("model:delete:baseline-1").click().run()

    no_crash(test)
    assert not workspace.model_dir("baseline-1").exists()
    assert not test.error


# --- cancelling ---------------------------------------------------------------------


def test_cancelling_asks_first_and_says_whose_run_it_is(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    service = RunService(workspace)
    config = service.get(full).config
    mine = service.submit(config, "Of Anna", by="Anna Muster")
    test = open_page("runs", run=mine)
    said = words(test).replace("\\", "")
    assert "**Of Anna**" in said
    assert "Anna Muster asked for it: today" in said
    assert service.get(mine).state is RunState.QUEUED  # nothing but the second click cancels

    test.button(f"run:{mine}:cancel").click().run()

    assert service.get(mine).state is RunState.CANCELLED


def test_a_run_of_this_tab_is_told_from_one_of_somebody_else(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    test = open_page("new")
    test.button("new:start").click().run()
    assert "You asked for it in this tab: today" in words(test)

    running = prune_run(workspace, RunState.RUNNING, steps=2)
    other = open_page("runs", run=running)
    assert "may be somebody else's: today" in words(other)
    assert "42 % done, about 3 min 20 s left." in words(other)
