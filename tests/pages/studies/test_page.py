"""The Studies page: empty, half done, done; a click starts, pauses and resumes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection

import pytest

from msip_core.data.writing import rename_dataset
from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from msip_core.runs.store import RunRow
from msip_core.studies import engine, library
from msip_core.workspace import Workspace
from pages.studies import live
from tests.drawn import copy_example
from tests.pages.conftest import Open, no_crash, words
from tests.pages.test_chinese import english_of
from tests.studies.conftest import make_plan
from tests.studies.fake_work import measure, run


@pytest.fixture
def drawn(workspace: Workspace) -> Workspace:
    copy_example(workspace, images=20, size=64)
    return workspace


@pytest.fixture
def study(drawn: Workspace) -> str:
    """One whose runs are all done but the last, which failed."""
    plan = make_plan(seeds=[0], honest=["random"], published="table-3-1")
    made = library.create(drawn, plan).id
    service = RunService(drawn)
    for _ in range(2):  # the baseline first, then what starts from it
        for state in engine.advance(service, made).states:
            if state.row and state.row.state is RunState.QUEUED:
                _pretend(service, state)
    return made


def _pretend(service: RunService, state: engine.TaskState) -> None:
    """What a worker would do, here and now."""
    from msip_core.runs.context import WorkerContext

    context = WorkerContext(service.run_dir(state.run_id), service.workspace)
    service.store.transition(state.run_id, RunState.RUNNING, expected=[RunState.QUEUED])
    config = service.get(state.run_id).config
    run(config, context)
    measure(config, "made", context)
    target = RunState.FAILED if state.task.row == "msip" else RunState.COMPLETED
    context.log.transition(target, reason="The disk is full." if target != "completed" else None)


def test_without_data_the_page_says_what_is_missing(open_page: Open) -> None:
    test = open_page("studies")
    no_crash(test)
    assert "No dataset is ready." in words(test)


def test_a_question_that_is_chosen_and_started_at_once_is_the_one_that_counts(
    open_page: Open, drawn: Workspace
) -> None:
    test = open_page("studies")
    chosen = next(choice for choice in test.radio if choice.label == "Question")
    assert chosen.value != "table-3-2"
    chosen.set_value("table-3-2")
    next(b for b in test.button if b.label == "Start the study").click().run()
    no_crash(test)
    (study,) = library.list_studies(drawn)
    assert library.plan_of(drawn, study.id).preset == "table-3-2"


def test_a_click_keeps_the_plan_and_queues_the_baseline(open_page: Open, drawn: Workspace) -> None:
    test = open_page("studies")
    no_crash(test)
    assert "19 runs" in words(test)
    assert "Tables and sections are numbered as in the paper of MSIP: Fang" in words(test)
    next(b for b in test.button if b.label == "Start the study").click().run()
    no_crash(test)
    (study,) = library.list_studies(drawn)
    assert study.id in test.query_params["study"]
    states = engine.standing(RunService(drawn), study.id).states
    assert [s.row.state for s in states if s.row] == [RunState.QUEUED]
    assert "18 not started" in words(test)

    next(b for b in test.button if b.label == "Pause").click().run()
    assert engine.standing(RunService(drawn), study.id).paused
    next(b for b in test.button if b.label == "Resume").click().run()
    assert not engine.standing(RunService(drawn), study.id).paused


def test_a_study_is_cancelled_by_a_second_click_that_says_what_ends(
    open_page: Open, drawn: Workspace
) -> None:
    study = library.create(drawn, make_plan(seeds=[0], honest=["random"])).id
    engine.advance(RunService(drawn), study)
    test = open_page("studies", study=study)
    assert "Cancel" not in [b.label for b in test.button]  # only opens what stands below
    assert "1 run works or waits now: it ends, and no row is started any more." in words(test)

    next(b for b in test.button if b.label == "Cancel this study").click().run()

    no_crash(test)
    states = engine.standing(RunService(drawn), study).states
    assert [s.row.state for s in states if s.row] == [RunState.CANCELLED]


def test_a_cancelled_study_is_followed_until_its_last_run_has_ended(drawn: Workspace) -> None:
    study = library.create(drawn, make_plan(seeds=[0], honest=["random"])).id
    service = RunService(drawn)
    (state,) = [s for s in engine.advance(service, study).states if s.row]
    service.store.transition(state.run_id, RunState.RUNNING, expected=[RunState.QUEUED])

    now = engine.cancel(service, study)

    assert now.paused
    assert live._moves(now)
    service.store.transition(state.run_id, RunState.CANCELLED, expected=[RunState.CANCELLING])
    assert not live._moves(engine.standing(service, study))


def test_a_study_is_deleted_by_a_second_click_and_its_runs_stay(
    open_page: Open, drawn: Workspace, study: str
) -> None:
    test = open_page("studies", study=study)
    test.session_state["study:deletion"] = True
    test.run()
    assert "Made with it: 4 runs" in words(test)

    test.button("study:delete").click().run()

    no_crash(test)
    assert library.list_studies(drawn) == []
    assert RunService(drawn).count() == 4


def test_a_study_is_offered_datasets_by_their_titles(open_page: Open, drawn: Workspace) -> None:
    rename_dataset(drawn, "example", "Plates of May")

    assert open_page("studies").selectbox("study:dataset").options == ["Plates of May"]


def test_a_finished_study_shows_table_sentences_and_charts(
    open_page: Open, drawn: Workspace, study: str
) -> None:
    test = open_page("studies", study=study)
    no_crash(test)
    table = test.dataframe[0].value
    assert table["Model"].iloc[0] == "unpruned baseline"
    assert table["mAP50 [95 %]"].iloc[0].startswith("0.850 [")
    assert table["mAP50 [95 %]"].iloc[-1] == "Failed"
    assert "The row “MSIP” is not complete: failed: The disk is full." in words(test)
    assert "3 Done, 1 Failed" in words(test)
    next(b for b in test.button if b.label == "Try the failed rows again").click().run()
    no_crash(test)
    states = engine.standing(RunService(drawn), study).states
    assert states[-1].row.state is RunState.QUEUED


def test_one_view_reads_the_state_of_all_runs_once(
    open_page: Open, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Counter[str] = Counter()
    get, several = RunService.get, RunService.several

    def one(service: RunService, run_id: str) -> RunRow:
        read[run_id] += 1
        return get(service, run_id)

    def all_at_once(service: RunService, run_ids: Collection[str]) -> dict[str, RunRow]:
        read.update(run_ids)
        return several(service, run_ids)

    test = open_page("studies", study=study)
    monkeypatch.setattr(RunService, "get", one)
    monkeypatch.setattr(RunService, "several", all_at_once)
    no_crash(test.run())
    assert len(test.dataframe) == 1
    assert read == {f"{study}-{row}-s0": 1 for row in ("baseline", "random", "l2", "msip")}


def test_without_its_baseline_a_study_says_why_it_stopped(
    open_page: Open, drawn: Workspace
) -> None:
    study = library.create(drawn, make_plan(seeds=[0], honest=["random"])).id
    service = RunService(drawn)
    first = engine.advance(service, study).states[0].run_id
    service.store.transition(first, RunState.RUNNING, expected=[RunState.QUEUED])
    service.store.transition(
        first, RunState.FAILED, expected=[RunState.RUNNING], reason="The disk is full."
    )
    test = open_page("studies", study=study)
    no_crash(test)
    assert test.error[0].value == "The baseline failed: The disk is full."
    assert ":material/error: Stopped" in words(test)
    table = test.dataframe[0].value
    assert list(table["mAP50 [95 %]"]) == ["Failed", *["not started"] * 3]
    assert "3 of 4 rows were not started." in words(test)
    assert "on 0 test images" not in words(test)
    assert not test.get("plotly_chart")
    assert "plan.yaml" in [button.label for button in test.get("download_button")]
    next(b for b in test.button if b.label == "Try the baseline again").click().run()
    assert service.get(first).state is RunState.QUEUED


def test_a_finished_study_is_chinese(open_page: Open, study: str) -> None:
    test = open_page("studies", study=study, lang="zh_CN")
    no_crash(test)
    # The reason of the failure is made up here, and runs are called after the plan.
    made_up = re.compile("^'trial: |The disk is full$")
    assert [text for text in english_of(test) if not made_up.search(text)] == []
    assert "“MSIP”这一行不完整：失败：" in words(test)


def test_a_study_that_is_not_there_is_said(open_page: Open, study: str) -> None:
    test = open_page("studies", study="gone")
    no_crash(test)
    assert "'gone' of this link is not in this lab" in words(test)


@pytest.mark.parametrize("name", ["200fps", "lamp-guide", "graph-guided-depthwise"])
def test_a_published_system_is_chosen_by_its_name_and_started(
    open_page: Open, drawn: Workspace, name: str
) -> None:
    before = {study.id for study in library.list_studies(drawn)}
    test = open_page("studies")
    test.radio("study:preset").set_value("system").run()
    test.selectbox("study:system").set_value(name).run()
    no_crash(test)
    next(b for b in test.button if b.label == "Start the study").click().run()
    no_crash(test)

    (made,) = {study.id for study in library.list_studies(drawn)} - before
    assert library.plan_of(drawn, made).rows[0].key == f"s-{name}"
