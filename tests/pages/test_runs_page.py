"""Runs: the queue, buttons from the table of states, charts, repeat, attention."""

from __future__ import annotations

import json

import pytest

from msip_core.events import ProgressRecord
from msip_core.runs.events_log import EventLog
from msip_core.runs.service import RunService
from msip_core.runs.state import ACTIONS, RunState
from msip_core.workspace import Workspace
from pages.shared.words import STATE_WORDS
from tests.pages import lab_samples
from tests.pages.conftest import Open, no_crash, words
from tests.pages.fake_compute import FakeCompute

SHOWN = [state for state in RunState if state not in (RunState.PAUSING, RunState.CANCELLING)]


@pytest.mark.parametrize("state", SHOWN)
def test_each_state_has_its_word_and_exactly_its_buttons(
    workspace: Workspace, full: str, open_page: Open, state: RunState
) -> None:
    run_id = lab_samples.prune_run(workspace, state, steps=2, name="the one")

    test = open_page("runs", run=run_id)

    no_crash(test)
    assert STATE_WORDS[state][0] in words(test)
    found = {button.key for button in test.button if str(button.key).startswith(f"run:{run_id}")}
    assert found == {f"run:{run_id}:{action}" for action in ACTIONS.get(state, {})}


def test_a_click_on_pause_asks_the_worker(workspace: Workspace, full: str, open_page: Open) -> None:
    run_id = lab_samples.prune_run(workspace, RunState.RUNNING, steps=1)

    test = open_page("runs", run=run_id)
    test.button(f"run:{run_id}:pause").click().run()

    assert RunService(workspace).get(run_id).state is RunState.PAUSING
    assert "Pausing" in words(test)


def test_a_running_run_shows_stage_progress_and_time_left(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    run_id = lab_samples.prune_run(workspace, RunState.RUNNING, steps=2)

    test = open_page("runs", run=run_id)

    assert "Step 3 of 5: fine-tuning" in words(test)
    EventLog(workspace.run_dir(run_id)).emit(
        ProgressRecord(done=0.9, seconds_left=42.0, message="epoch 4 of 4")
    )
    again = test.run()
    progress = again.get("progress")
    assert any("90%" in bar.proto.text and "about 42 s left" in bar.proto.text for bar in progress)


def test_curves_grow_with_the_iterations(workspace: Workspace, full: str, open_page: Open) -> None:
    run_id = lab_samples.prune_run(workspace, RunState.RUNNING, steps=2)

    test = open_page("runs", run=run_id)

    figure = json.loads(test.get("plotly_chart")[0].proto.spec)
    after = next(trace for trace in figure["data"] if trace["name"] == "after fine-tuning")
    assert after["x"] in ([1, 2], {"dtype": "i1", "bdata": "AQI="})
    assert figure["layout"]["uirevision"] == run_id


@pytest.mark.parametrize("chart", ["curves", "training", "layers", "weights"])
def test_each_chart_can_be_linked_to(full: str, open_page: Open, chart: str) -> None:
    test = open_page("runs", run=full, chart=chart)

    no_crash(test)
    assert test.get("plotly_chart")


def test_a_failed_run_says_why_in_words(workspace: Workspace, full: str, open_page: Open) -> None:
    run_id = lab_samples.prune_run(workspace, RunState.FAILED, steps=1)

    test = open_page("runs", run=run_id)

    assert "choose a smaller batch" in test.error[0].value


def test_repeat_puts_an_equal_run_into_the_queue(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    test = open_page("runs", run=full)
    next(b for b in test.button if b.label.startswith("Run again")).click()
    test.run()

    newest = RunService(workspace).list(limit=1)[0]
    assert newest.state is RunState.QUEUED
    assert newest.config == RunService(workspace).get(full).config
    assert test.query_params["run"] == newest.id


def test_the_table_is_paged(workspace: Workspace, full: str, open_page: Open) -> None:
    service = RunService(workspace)
    for number in range(21):
        service.submit(lab_samples.prune_config(name=f"run {number}"))

    test = open_page("runs", run=full)

    table = test.dataframe[0].value
    assert len(table) == 10
    assert next(iter(table["Run"])) == "run 20"
    assert test.number_input[0].label == "Page of 3"


def test_attention_beside_the_curves(full: str, open_page: Open, compute: FakeCompute) -> None:
    test = open_page("runs", run=full, step="2")
    next(b for b in test.button if b.label == "Show attention at step 2").click()
    test.run()

    no_crash(test)
    job, params = compute.asked[-1]
    assert (job, params["run"], params["iteration"]) == ("attention", full, 2)
    assert len(test.image) == 4
    assert "A heat map shows where the score is sensitive" in words(test)


def test_attention_that_runs_shows_progress_and_can_be_cancelled(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    compute.hold.add("attention")
    test = open_page("runs", run=full)
    next(b for b in test.button if b.label.startswith("Show attention")).click()
    test.run()
    assert "30%" in test.get("progress")[0].proto.text

    test.button("job:attention:cancel").click().run()

    assert list(compute.states.values())[-1] == "cancelled"
    assert any("was cancelled" in b.label for b in test.run().button)
