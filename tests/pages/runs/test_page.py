"""Runs: the queue, buttons from the table of states, one step for the whole page, how runs end."""

from __future__ import annotations

import json
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from msip_core.config import PruneConfig
from msip_core.events import FinalRecord, ProgressRecord
from msip_core.runs.events_log import EventLog
from msip_core.runs.failures import explain_failure
from msip_core.runs.service import RunService
from msip_core.runs.state import ACTIONS, RunState
from msip_core.speeds import Speed, ask_for_speed, write_speed
from msip_core.workspace import Workspace, write_json
from pages.kit.words import STATE_WORDS
from pages.runs.outcome import NO_SUCH_GOAL
from tests.fresh import ROOT
from tests.pages import lab_samples
from tests.pages.conftest import Open, no_crash, words
from tests.views import samples

SHOWN = [state for state in RunState if state not in (RunState.PAUSING, RunState.CANCELLING)]


def chart(test: AppTest, key: str) -> dict[str, Any]:
    """The figure of one live chart."""
    found = [item.proto for item in test.get("bidi_component") if f"live:{key}" in item.proto.id]
    assert len(found) == 1, [item.proto.id for item in test.get("bidi_component")]
    figure: dict[str, Any] = json.loads(json.loads(found[0].json)["figure"])
    return figure


def facts(test: AppTest) -> dict[str, str]:
    return {item.label.split(" :small")[0]: item.value for item in test.metric}


def labels(test: AppTest) -> list[str]:
    return [button.label for button in test.button]


def click(test: AppTest, label: str) -> AppTest:
    return next(b for b in test.button if b.label.startswith(label)).click().run()


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


# --- one step for the whole page --------------------------------------------------


def test_the_page_follows_the_newest_step_of_a_running_run(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    run_id = lab_samples.prune_run(workspace, RunState.RUNNING, steps=2)

    test = open_page("runs", run=run_id)
    assert "The network at step 2" in words(test)
    offered = list(test.selectbox("step:list").options)
    EventLog(workspace.run_dir(run_id)).emit(samples.iteration_records()[2])
    test.run()

    no_crash(test)
    assert "The network at step 3" in words(test)
    # A browser knows the chosen option by its words: they must outlive the next step.
    assert list(test.selectbox("step:list").options)[: len(offered)] == offered
    figure = chart(test, "map")
    after = next(trace for trace in figure["data"] if trace["name"] == "after fine-tuning")
    assert after["x"] in ([1, 2, 3], {"dtype": "i1", "bdata": "AQID"})
    assert figure["layout"]["uirevision"] == run_id
    assert "step" not in test.query_params


def test_numbers_curves_network_and_pictures_follow_the_step_of_the_address(
    full: str, open_page: Open
) -> None:
    test = open_page("runs", run=full, step="2")

    no_crash(test)
    record = samples.iteration_records()[1]
    assert facts(test)["Accuracy, step 2"] == f"{record.map50_after:.3f}"
    assert facts(test)["Work kept"] == f"{100 * record.macs_ratio:.1f} %"
    for key in ("map", "macs"):
        band = chart(test, key)["layout"]["shapes"][0]
        assert (band["x0"], band["x1"]) == (1.8, 2.2)
    left = next(t for t in chart(test, "network")["data"] if t["name"] == "channels left")
    assert left["customdata"][0].startswith("0: 16 →")
    assert "The network at step 2" in words(test)
    assert test.button("strip:pick:2").proto.type == "primary"
    assert test.button("strip:pick:5").proto.type == "secondary"


def test_the_step_is_chosen_by_keyboard_too_and_stands_in_the_address(
    full: str, open_page: Open
) -> None:
    test = open_page("runs", run=full)
    assert facts(test)["Accuracy, step 5"]

    test.selectbox("step:list").select(3).run()
    assert test.query_params["step"] == "3"
    test.button("step:back").click().run()
    assert test.query_params["step"] == "2"
    click(test, "Back to the result")

    assert "step" not in test.query_params
    assert facts(test)["Accuracy, step 5"]


def test_the_baseline_is_a_step_and_a_step_that_is_not_there_is_said(
    full: str, open_page: Open
) -> None:
    test = open_page("runs", run=full, step="0")
    assert "The network before pruning" in words(test)
    assert facts(test)["Work kept"] == "100.0 %"

    test.query_params["step"] = "9"
    test.run()

    assert "Step 9 of this link is not there (yet)" in test.info[0].value
    assert "The network at step 5" in words(test)


def test_a_link_to_a_run_that_is_gone_says_so_in_the_words_of_the_page(
    full: str, open_page: Open
) -> None:
    test = open_page("runs", run="prune-gone")

    assert test.error[0].value == "The run 'prune-gone' of this link is not in this lab."


@pytest.mark.parametrize(("part", "figure"), [("training", "epochs"), ("weights", "weights")])
def test_each_chart_can_be_linked_to(full: str, open_page: Open, part: str, figure: str) -> None:
    test = open_page("runs", run=full, chart=part)

    no_crash(test)
    assert chart(test, figure)["data"]


def test_a_run_that_searched_by_sensitivity_shows_which_layers_hurt(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    run_id = lab_samples.prune_run(workspace, RunState.COMPLETED, allocation="sensitivity")
    test = open_page("runs", run=run_id, chart="layers")
    assert "The search has not finished yet." in words(test)

    group = {"channels": 64, "ratios": [0.25, 0.5], "drops": [0.01, 0.2], "ratio": 0.25}
    write_json(
        workspace.run_dir(run_id) / "search" / "sensitivity.json",
        {"map50": 0.9, "delta": 0.03, "groups": [{"name": "model.2.cv1.conv", **group}]},
    )
    test = open_page("runs", run=run_id, chart="layers")
    no_crash(test)
    assert "Most sensitive: 2 · cv1 (−0.200)." in words(test)


def test_the_numbers_stand_under_what_the_goal_counts(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    run_id = lab_samples.prune_run(workspace, RunState.COMPLETED, keep_latency=0.5)

    test = open_page("runs", run=run_id)

    no_crash(test)
    label = next(m.label for m in test.metric if "Time per image" in m.label)
    way = "ONNX Runtime on the processor, fp32, batch 1"
    assert f"{way}, goal 50.0 % of the baseline's" in label


def test_the_network_is_a_table_for_those_who_ask(full: str, open_page: Open) -> None:
    test = open_page("runs", run=full)
    test.session_state["layer-table"] = True
    test.run()

    table = next(f.value for f in test.dataframe if "Channels left" in f.value)
    assert len(table) == len(samples.LAYERS)
    assert table["Channels of the baseline"][0] == 16


# --- how runs end -----------------------------------------------------------------


def test_out_of_memory_offers_half_the_batch(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    config = lab_samples.prune_config(batch=16)
    reason = explain_failure(MemoryError(), config).message
    run_id, log = lab_samples.begin(RunService(workspace), config)
    log.transition(RunState.FAILED, reason=reason)

    test = open_page("runs", run=run_id)
    assert test.error[0].value == reason
    click(test, "Continue with a batch of 8")

    newest = RunService(workspace).list(limit=1)[0]
    asked = RunService(workspace).get(run_id).config
    assert newest.config == asked.model_copy(update={"batch": 8})
    assert test.query_params["run"] == newest.id


def test_a_goal_that_cannot_be_reached_offers_more_steps(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    source = (ROOT / "msip_core" / "pruning" / "granularity.py").read_text(encoding="utf-8")
    assert f"{{noun}} {NO_SUCH_GOAL}:" in source
    run_id, log = lab_samples.begin(RunService(workspace), lab_samples.prune_config())
    log.transition(
        RunState.FAILED, reason=f"5.0% of the multiply-adds {NO_SUCH_GOAL}: 41.0% at best."
    )

    test = open_page("runs", run=run_id)
    click(test, "10 steps instead of 5")

    newest = RunService(workspace).list(limit=1)[0].config
    assert isinstance(newest, PruneConfig)
    assert newest.iterations == 10


def stopped(workspace: Workspace, kept: int, reason: str) -> str:
    """A completed run that ended after four steps and kept step `kept`."""
    run_id = lab_samples.prune_run(workspace, RunState.RUNNING, steps=4)
    log = EventLog(workspace.run_dir(run_id))
    record = samples.iteration_records()[kept - 1]
    final: FinalRecord = samples.final_record()
    log.emit(
        final.model_copy(
            update={"iteration": kept, "stopped_by": reason, "macs_ratio": record.macs_ratio}
        )
    )
    log.transition(RunState.COMPLETED)
    return run_id


def test_the_guard_rail_says_what_was_kept_and_offers_three_ways(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    run_id = stopped(workspace, 3, "Stopped after iteration 4: mAP50 fell by 0.050.")

    test = open_page("runs", run=run_id)

    assert test.warning[0].value == (
        "Stopped at 60 % of the work to protect accuracy. Last good model kept: step 3."
    )
    assert "The network at step 3" in words(test)
    assert "Use it" in [link.proto.label for link in test.get("page_link")]
    click(test, "Gentler run: 10 steps instead of 5")
    gentle = RunService(workspace).list(limit=1)[0].config
    assert isinstance(gentle, PruneConfig)
    assert (gentle.iterations, gentle.keep_macs) == (10, 0.335)

    click(open_page("runs", run=run_id), "Go on without the guard")
    unguarded = RunService(workspace).list(limit=1)[0].config
    assert isinstance(unguarded, PruneConfig)
    assert unguarded.max_map50_drop is None


def test_a_goal_that_the_layers_could_not_reach_is_said(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    run_id = stopped(workspace, 4, "The goal of 33.5% of the multiply-adds was not reached.")

    test = open_page("runs", run=run_id)

    assert "These layers cannot shrink further: 46.6 % of the work" in test.warning[0].value
    assert "10 steps instead of 5" in labels(test)


def test_an_interrupted_run_asks_whether_to_resume(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    run_id = lab_samples.prune_run(workspace, RunState.INTERRUPTED, steps=2)

    test = open_page("runs", run=run_id)

    assert test.warning[0].value == (
        "This run was interrupted at step 3. Resume from its checkpoint?"
    )
    # The reason last: it may end with lines of a log.
    assert "but the epoch it was in. The worker was ended from outside" in words(test)
    test.button(f"run:{run_id}:resume").click().run()
    assert RunService(workspace).get(run_id).state is RunState.QUEUED


def test_repeat_puts_an_equal_run_into_the_queue(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    test = open_page("runs", run=full)
    click(test, "Run exactly this again")

    newest = RunService(workspace).list(limit=1)[0]
    assert newest.state is RunState.QUEUED
    assert newest.config == RunService(workspace).get(full).config
    assert test.query_params["run"] == newest.id


# --- many runs --------------------------------------------------------------------


def test_a_waiting_run_says_its_place_and_how_long(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    lab_samples.prune_run(workspace, RunState.RUNNING, steps=2)  # 200 s left
    run_id = lab_samples.prune_run(workspace, RunState.QUEUED)

    test = open_page("runs", run=run_id)

    assert "Place 1 in the queue of cpu: starts in about 3 min 20 s." in words(test)


def test_the_table_is_paged(workspace: Workspace, full: str, open_page: Open) -> None:
    service = RunService(workspace)
    for number in range(21):
        service.submit(lab_samples.prune_config(name=f"run {number}"))

    test = open_page("runs", run=full)

    table = test.dataframe[0].value
    assert len(table) == 10
    assert next(iter(table["Run"])) == "run 20"
    assert test.number_input[0].label == "Page of 3"


@pytest.mark.parametrize("ids", [{"with": "gone"}, {"run": "a/b"}])
def test_a_link_to_another_run_that_is_gone_says_so_once(
    full: str, open_page: Open, ids: dict[str, str]
) -> None:
    test = open_page("runs", **{"run": full, **ids})

    said = [item.value.replace("\\", "") for item in test.error]
    gone = next(iter(ids.values()))
    assert said == [f"The run '{gone}' of this link is not in this lab."]
    assert not test.run().error


def test_any_runs_are_compared_in_one_chart(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    other = lab_samples.prune_run(workspace, RunState.CANCELLED, steps=3, name="the other")

    test = open_page("runs", **{"run": full, "with": other})

    lines = chart(test, "several")["data"]
    assert [line["name"].split(" · ")[0] for line in lines] == ["Example to 33 %", "the other"]
    assert lines[0]["line"]["dash"] != lines[1]["line"]["dash"]
    table = next(f.value for f in test.dataframe if "Goal" in f.value)
    assert list(table["Steps done"]) == ["5 / 5", "3 / 5"]
    test.multiselect("compare:with").set_value([]).run()
    assert "with" not in test.query_params
    assert len(chart(test, "several")["data"]) == 1


def test_the_diary_opens_when_asked(full: str, open_page: Open) -> None:
    test = open_page("runs", run=full)
    assert "Step 3 done." not in words(test)
    test.session_state["diary"] = True
    test.run()

    assert "Step 3 done." in words(test)
    assert "one line of the log" in words(test)


def test_a_finished_run_says_how_long_an_image_takes_once_that_was_measured(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    final = RunService(workspace).final(full)
    assert final is not None
    ask_for_speed(workspace, final.model_id, 640)
    assert "on this processor: being measured" in words(open_page("runs", run=full))

    write_speed(workspace, final.model_id, Speed(key="k", imgsz=640, ms=41.3, beside_ms=98.0))
    test = open_page("runs", run=full)
    no_crash(test)
    assert "Time per image on CPU: 98.0 ms → 41.3 ms" in words(test)
