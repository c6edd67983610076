"""A study goes through the queue: shared baseline, pause, crash, failure, one more row."""

from __future__ import annotations

import shutil

import pytest

from msip_core.errors import ConfigError, DatasetError
from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from msip_core.runs.supervisor import Supervisor
from msip_core.studies import engine, library
from msip_core.studies.dependants import delete_run
from msip_core.studies.outputs import write_outputs
from msip_core.studies.report import write_report
from msip_core.studies.table import read_table
from msip_core.studies.tasks import tasks
from msip_core.studies.verdicts import verdicts
from msip_core.workspace import Workspace
from tests.studies.conftest import make_plan, wait_until

LAMP = {"key": "lamp", "label": "LAMP", "settings": {"method": "lamp"}}
L1 = {"key": "l1", "label": "L1 norm", "settings": {"method": "l1"}}


def over(service: RunService, study: str) -> bool:
    return engine.standing(service, study).is_over


def test_a_study_runs_to_its_table_and_a_row_can_be_added(
    service: RunService, queue: Supervisor, drawn: Workspace
) -> None:
    plan = make_plan()
    study = library.create(drawn, plan)
    wait_until(lambda: over(service, study.id), "the study is over")

    table = read_table(drawn, study.id)
    assert all(line.seeds == line.asked for line in table.lines)
    assert table.line("msip").map50.value == pytest.approx(0.8005)  # mean of .800 and .801
    assert table.line("msip").macs_ratio == pytest.approx(0.335)
    assert table.line("msip").speedup == pytest.approx(1 / 0.335)
    assert table.line("l2").against_main.value == pytest.approx(0.1)
    assert table.line("l2").against_main.low > 0
    assert not table.line("l2").against_main.is_clear  # two seeds: no verdict
    assert table.line("baseline").change is None
    assert table.coco_gap == pytest.approx(0.004)
    said = "\n".join(verdicts(table))
    assert "3 seeds are needed for a verdict, this study has 2" in said
    assert "beats" not in said
    assert "ahead" not in said

    before = {state.run_id: state.row.finished for state in table.standing.states}
    library.add_row(drawn, study.id, LAMP)  # its worker dies once, by SIGKILL
    assert not over(service, study.id)
    wait_until(lambda: over(service, study.id), "the added row is over")
    again = read_table(drawn, study.id)
    assert again.line("lamp").seeds == 2
    after = {state.run_id: state.row.finished for state in again.standing.states}
    assert {run: after[run] for run in before} == before  # nothing was done twice

    files = write_outputs(drawn, study.id, again)
    assert "LAMP" in files["markdown"].read_text(encoding="utf-8")
    assert r"\toprule" in files["latex"].read_text(encoding="utf-8")
    assert len(files["csv"].read_text(encoding="utf-8").splitlines()) == 1 + len(again.lines)
    report = write_report(drawn, study.id, again).read_text(encoding="utf-8")
    assert "3 seeds are needed for a verdict" in report
    assert report.count("<svg") >= 3
    assert "http://" not in report.replace("http://www.w3.org", "")  # self-contained

    gone = again.standing.states[-1].run_id
    delete_run(drawn, gone)
    engine.Watch()(drawn)
    now = read_table(drawn, study.id)
    assert now.standing.paused
    assert now.standing.states[-1].row is None  # not asked for again by itself
    kept = write_outputs(drawn, study.id, now)["earlier"]
    assert again.standing.states[-1].task.row in (kept / "table.json").read_text(encoding="utf-8")
    assert "earlier" not in write_outputs(drawn, study.id, now)
    # Whoever looks first asks for it again: this call, or the watch of the queue.
    engine.resume(service, study.id)
    wait_until(lambda: engine.standing(service, study.id).states[-1].row, "it is asked for")


def test_a_row_that_fails_stands_in_the_table_with_its_reason(
    service: RunService, queue: Supervisor, drawn: Workspace
) -> None:
    plan = make_plan(seeds=[0], honest=["random"], rows=[L1, make_plan().rows[1].model_dump()])
    study = library.create(drawn, plan)
    wait_until(lambda: over(service, study.id), "the study is over")
    table = read_table(drawn, study.id)
    assert table.line("l1").map50 is None
    assert table.line("l1").reason == "failed: The disk is full."
    assert table.line("msip").seeds == 1
    assert verdicts(table)[0] == "The row “L1 norm” is not complete: failed: The disk is full."


def test_a_run_that_dies_while_it_measures_does_not_train_again(
    service: RunService, queue: Supervisor, drawn: Workspace
) -> None:
    fpgm = {"key": "fpgm", "label": "FPGM", "settings": {"method": "fpgm"}}
    study = library.create(drawn, make_plan(seeds=[0], honest=["random"], rows=[fpgm]))
    wait_until(lambda: over(service, study.id), "the study is over")
    state = engine.standing(service, study.id).states[-1]
    assert state.row.state is RunState.COMPLETED
    kinds = [event["kind"] for event in service.events(state.run_id)]
    assert kinds.count("final") == 1  # worked once, measured twice


def test_a_paused_study_starts_nothing_and_goes_on_where_it_was(
    service: RunService, drawn: Workspace
) -> None:
    study = library.create(drawn, make_plan(seeds=[0], honest=["random"]))
    now = engine.advance(service, study.id)
    assert [s.row is not None for s in now.states] == [True, False, False, False]

    now = engine.pause(service, study.id)
    assert now.paused
    assert now.states[0].row.state is RunState.PAUSED
    assert engine.advance(service, study.id).states[0].row.state is RunState.PAUSED

    now = engine.resume(service, study.id)
    assert not now.paused
    assert now.states[0].row.state is RunState.QUEUED


def test_where_nothing_can_be_started_the_index_is_asked_once_for_all_runs(
    service: RunService, drawn: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = library.create(drawn, make_plan(seeds=[0], honest=["random"]))
    engine.advance(service, study.id)
    asked: list[object] = []
    several = service.several
    monkeypatch.setattr(service, "get", asked.append)
    monkeypatch.setattr(service, "several", lambda runs: asked.append(runs) or several(runs))
    now = engine.advance(service, study.id)
    assert asked == [{state.run_id for state in now.states}]
    assert now.states[0].row is not None


def test_a_run_whose_folder_was_taken_away_is_asked_for_again(
    service: RunService, drawn: Workspace
) -> None:
    study = library.create(drawn, make_plan(seeds=[0], honest=["random"]))
    run = engine.advance(service, study.id).states[0].run_id
    shutil.rmtree(drawn.run_dir(run))
    assert engine.standing(service, study.id).states[0].row is None
    again = engine.advance(service, study.id).states[0].row
    assert again is not None
    assert again.state is RunState.QUEUED


def test_a_run_that_the_index_does_not_know_is_taken_in_not_asked_for_again(
    service: RunService, drawn: Workspace
) -> None:
    study = library.create(drawn, make_plan(seeds=[0], honest=["random"]))
    run = engine.advance(service, study.id).states[0].run_id
    service.store.forget(run)
    row = engine.advance(service, study.id).states[0].row
    assert row is not None
    assert row.state is RunState.QUEUED
    assert len(drawn.run_dir(run).joinpath("events.jsonl").read_text().splitlines()) == 1


def test_nothing_is_started_without_a_baseline(service: RunService, drawn: Workspace) -> None:
    study = library.create(drawn, make_plan(seeds=[0]))
    engine.advance(service, study.id)
    engine.cancel(service, study.id)
    now = engine.resume(service, study.id)
    assert now.is_over
    assert now.reason.startswith("The baseline cancelled")
    assert sum(state.row is not None for state in now.states) == 1


def test_a_worker_that_is_lost_again_and_again_is_given_up(
    service: RunService, drawn: Workspace
) -> None:
    study = library.create(drawn, make_plan(seeds=[0]))
    for _ in range(engine.RESUMES + 1):
        run = engine.advance(service, study.id).states[0].run_id
        service.store.transition(run, RunState.RUNNING, expected=[RunState.QUEUED])
        service.store.transition(
            run, RunState.INTERRUPTED, expected=[RunState.RUNNING], reason="The worker is gone."
        )
    now = engine.advance(service, study.id)
    assert now.states[0].given_up
    assert now.states[0].row.state is RunState.INTERRUPTED


def test_a_row_is_added_only_once_and_only_if_it_can_run(drawn: Workspace) -> None:
    study = library.create(drawn, make_plan())
    with pytest.raises(ConfigError, match="has a row 'l2' already"):
        library.add_row(drawn, study.id, {"key": "l2", "label": "again"})
    with pytest.raises(ConfigError, match="l3"):
        library.add_row(drawn, study.id, {"key": "l3", "label": "?", "settings": {"method": "l3"}})
    assert len(library.plan_of(drawn, study.id).rows) == 2


def test_a_row_that_a_study_makes_itself_is_added_by_its_name(drawn: Workspace) -> None:
    study = library.create(drawn, make_plan(honest=["random"]))
    assert library.add_row(drawn, study.id, {"key": "int8"}).honest == ("random", "int8")
    with pytest.raises(ConfigError, match="has a row 'random' already"):
        library.add_row(drawn, study.id, {"key": "random"})
    longer = {"key": "more-epochs", "settings": {"method": "l1"}}
    with pytest.raises(ConfigError, match="has no settings"):
        library.add_row(drawn, study.id, longer)


def test_rows_are_repeated_with_further_seeds_and_the_others_are_not(drawn: Workspace) -> None:
    study = library.create(drawn, make_plan(seeds=[0, 1], honest=["random", "int8"]))
    plan = library.repeat_rows(drawn, study.id, ["msip"], [1, 7])
    plan = library.repeat_rows(drawn, study.id, ["msip", "random"], [7, 8])
    keys = [task.key for task in tasks(plan)]
    assert keys[:9] == [
        "baseline-s0", "random-s0", "int8-s0", "l2-s0", "msip-s0",
        "random-s1", "l2-s1", "msip-s1", "random-s7",
    ]  # fmt: skip
    assert sorted(keys[9:]) == ["msip-s7", "msip-s8", "random-s8"]
    for row in ("int8", "baseline", "nobody"):
        with pytest.raises(ConfigError, match=f"no row '{row}' can be repeated"):
            library.repeat_rows(drawn, study.id, [row], [7])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dataset": "nothing"}, "nothing"),
        ({"baseline": {"model": "nobody"}}, "nobody"),
        ({"measure": {"datasets": ["elsewhere"]}}, "elsewhere"),
    ],
)
def test_what_is_not_there_is_said_before_anything_starts(
    drawn: Workspace, change, words: str
) -> None:
    with pytest.raises(Exception, match=words) as told:
        library.create(drawn, make_plan(**change))
    assert told.value.exit_code == 2
    assert not library.list_studies(drawn)


def test_other_classes_need_a_map_on_import(drawn: Workspace) -> None:
    import json

    path = drawn.dataset_dir("example") / "dataset.json"
    other = json.loads(path.read_text(encoding="utf-8")) | {"classes": ["a", "b"], "name": "other"}
    folder = drawn.dataset_dir("other")
    folder.mkdir()
    (folder / "dataset.json").write_text(json.dumps(other), encoding="utf-8")
    with pytest.raises(DatasetError, match="classes mapped"):
        library.create(drawn, make_plan(measure={"datasets": ["other"]}))


def test_the_share_done_counts_epochs(service: RunService, drawn: Workspace) -> None:
    study = library.create(drawn, make_plan())
    now = engine.standing(service, study.id)
    assert now.done == 0
    assert now.seconds_left is None
    assert engine.summary(now) == {"waiting": len(tasks(make_plan()))}
