"""The process that checks the saved model is started while the run still works."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from msip_core.config import PruneConfig
from msip_core.events import Payload, ProgressRecord, Stage, StageRecord
from msip_core.runs import verify, worker
from msip_core.runs.context import WorkerContext
from msip_core.workspace import Workspace

FAR, NEAR = (ProgressRecord(done=0.5, seconds_left=left) for left in (300.0, 10.0))


@pytest.fixture
def context(workspace: Workspace) -> WorkerContext:
    folder = workspace.run_dir("run-1")
    folder.mkdir()
    return WorkerContext(folder, workspace)


@pytest.mark.parametrize("last", [NEAR, StageRecord(stage=Stage.TESTING)])
def test_the_end_is_told_once_and_not_before_it_is_near(
    context: WorkerContext, last: Payload
) -> None:
    told: list[int] = []
    context.near_end = lambda: told.append(1)
    for record in (StageRecord(stage=Stage.FINETUNING, iteration=1), FAR):
        context.emit(record)
        assert told == []
    for record in (last, NEAR, StageRecord(stage=Stage.SAVING)):
        context.emit(record)
        assert told == [1]


def test_runs_of_our_own_work_get_ready_for_our_check_and_others_for_none(
    config: PruneConfig,
) -> None:
    asked = argparse.Namespace(work=None, check=None, measure=None)
    assert worker._chosen_work(config, asked).ahead == "msip_core.runs.verify:prepare"
    asked.check = "tests.runs.fake_work:check"
    assert worker._chosen_work(config, asked).ahead == ""


def test_where_memory_is_short_or_no_process_can_start_the_run_goes_on_without(
    context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(run_dir: Path, workspace: Workspace) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(verify, "FreshProcess", refuse)
    verify.prepare(context)
    monkeypatch.setattr(verify, "_ROOM_AHEAD", 1e18)
    monkeypatch.delattr(verify, "FreshProcess")  # not even tried
    verify.prepare(context)
    assert context.fresh is None
