"""The index: derived from folders, built anew for another version, quick with many runs."""

from __future__ import annotations

import shutil
import sqlite3
import time

import pytest
import sqlalchemy as sa

from msip_core.errors import DatasetError, IllegalTransitionError, NotFoundError, WorkError
from msip_core.events import EpochRecord, MilestoneRecord, ProgressRecord, Stage, StageRecord
from msip_core.runs import service as runs_service
from msip_core.runs import store
from msip_core.runs.events_log import EventLog
from msip_core.runs.service import RunService
from msip_core.runs.slots import slot_of
from msip_core.runs.state import Action, RunState
from msip_core.runs.store import RunStore
from msip_core.workspace import Workspace
from tests.pages.lab_samples import add_model
from tests.runs.conftest import make_config, make_inputs


def test_a_submitted_run_waits_in_the_queue_of_its_device(service: RunService) -> None:
    ids = [service.submit(make_config(service.workspace), name=f"run {i}") for i in range(3)]
    other = service.submit(make_config(service.workspace, device="cuda:1"))
    assert [service.get(i).queue_position for i in ids] == [1, 2, 3]
    assert service.get(other).queue_position == 1
    assert service.get(ids[0]).name == "run 0"
    assert [row.id for row in service.list()] == [other, *reversed(ids)]
    service.act(ids[0], Action.CANCEL)
    assert [service.get(i).queue_position for i in ids] == [None, 1, 2]


@pytest.mark.parametrize("name", ["what?", "a#b", "100%25", "Anna's lab", 'say "x"', "a&mode=ro"])
def test_the_index_lies_in_its_workspace_whatever_the_path_is_called(tmp_path, name) -> None:
    workspace = Workspace.open(tmp_path / name)
    make_inputs(workspace)
    service = RunService(workspace)
    row = service.submit(make_config(workspace), name="one")

    assert (workspace.root / "lab.sqlite").stat().st_size > 0
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert [r.id for r in RunService(workspace).list()] == [row]


def test_lists_are_paged_and_filtered(service: RunService) -> None:
    ids = [service.submit(make_config(service.workspace)) for _ in range(5)]
    service.act(ids[0], Action.CANCEL)
    assert [r.id for r in service.list(limit=2, offset=2)] == [ids[2], ids[1]]
    assert [r.id for r in service.list(states=[RunState.CANCELLED])] == [ids[0]]
    assert service.count(states=[RunState.QUEUED]) == 4
    assert service.list(kind="train") == []
    assert service.count(kind="prune") == 5


def test_runs_of_studies_can_be_listed_alone_or_left_out(service: RunService) -> None:
    config = make_config(service.workspace)
    own = service.submit(config)
    theirs = [service.submit(config, run_id=f"study-261122085501-865a-l2-s{n}") for n in range(2)]
    assert [row.id for row in service.list(of_studies=False)] == [own]
    assert {row.id for row in service.list(of_studies=True)} == set(theirs)
    assert [service.count(of_studies=which) for which in (None, False, True)] == [3, 1, 2]
    assert service.count([RunState.CANCELLED], of_studies=True) == 0


def test_a_new_run_never_takes_the_place_of_one_that_drew_the_same_id(
    service: RunService, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = iter(["prune-261129120000-0000aaaa"] * 2 + ["prune-261129120000-0000bbbb"])
    monkeypatch.setattr(runs_service, "new_id", lambda kind: next(drawn))

    ids = [service.submit(make_config(service.workspace), name=name) for name in ("one", "two")]

    assert [service.get(run_id).name for run_id in ids] == ["one", "two"]


def test_the_row_follows_the_story(service: RunService) -> None:
    run_id = service.submit(make_config(service.workspace))
    log = EventLog(service.run_dir(run_id))
    log.transition(RunState.RUNNING)
    log.emit(StageRecord(stage=Stage.FINETUNING, iteration=2))
    log.emit(ProgressRecord(done=0.4, seconds_left=60, message="epoch 3 of 10"))
    row = service.get(run_id)
    assert (row.state, row.stage, row.iteration) == (RunState.RUNNING, "fine-tuning", 2)
    assert (row.done, row.seconds_left, row.message) == (0.4, 60, "epoch 3 of 10")
    log.emit(StageRecord(stage=Stage.SAVING))
    assert service.get(run_id).iteration == 2, "checking at the end takes no iteration back"
    log.transition(RunState.FAILED, reason="The disk is full.", exit_code=1)
    row = service.get(run_id)
    assert (row.state, row.stage, row.error) == (RunState.FAILED, None, "The disk is full.")
    service.act(run_id, Action.RESUME)
    assert service.get(run_id).error is None


def test_a_run_does_not_end_before_it_began(
    service: RunService, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = service.submit(make_config(service.workspace))
    log = EventLog(service.run_dir(run_id))
    log.transition(RunState.RUNNING)
    earlier = time.time() - 3600
    monkeypatch.setattr(time, "time", lambda: earlier)  # the clock was set back
    log.transition(RunState.COMPLETED)
    row = service.get(run_id)
    assert row.started
    assert row.finished == row.started


def test_an_epoch_that_is_repeated_after_a_resume_is_there_once(service: RunService) -> None:
    run_id = service.submit(make_config(service.workspace))
    log = EventLog(service.run_dir(run_id))
    for seconds in (1.0, 2.0):
        log.emit(
            EpochRecord(
                iteration=1, phase="finetune", epoch=1, epochs=2, losses={}, seconds=seconds
            )
        )
    assert [e.seconds for e in service.epochs(run_id)] == [2.0]


def test_the_diary_tells_changes_of_state_with_their_reason(service: RunService) -> None:
    run_id = service.submit(make_config(service.workspace))
    log = EventLog(service.run_dir(run_id))
    log.transition(RunState.RUNNING)
    log.emit(MilestoneRecord(message="Guard rail near.", level="warning"))
    log.transition(RunState.INTERRUPTED, reason="The worker is gone.")
    assert [(m.message, m.level) for m in service.milestones(run_id)] == [
        ("Waiting in the queue.", "info"),
        ("A worker started.", "info"),
        ("Guard rail near.", "warning"),
        ("Interrupted. The worker is gone.", "warning"),
    ]


def test_the_index_can_be_thrown_away(service: RunService, workspace: Workspace) -> None:
    ids = [service.submit(make_config(workspace, seed=i)) for i in range(3)]
    EventLog(service.run_dir(ids[1])).transition(RunState.RUNNING)
    before = service.list()
    for file in workspace.root.glob("lab.sqlite*"):
        file.unlink()
    assert RunService(workspace).list() == before


def test_reindex_names_what_it_leaves_out(service: RunService, workspace: Workspace) -> None:
    good, bad = (service.submit(make_config(workspace)) for _ in range(2))
    (service.run_dir(bad) / "config.json").write_text('{"kind": "prune", "batch": 0}')
    (workspace.runs / "notes").mkdir()
    found = service.reindex()
    assert found.runs == 1
    assert [row.id for row in service.list()] == [good]
    assert [s.partition(":")[0] for s in found.skipped] == sorted([bad, "notes"])
    assert any("batch" in s for s in found.skipped)


def test_a_folder_whose_name_no_verb_takes_is_left_out_by_name(service: RunService) -> None:
    run_id = service.submit(make_config(service.workspace))
    shutil.copytree(service.run_dir(run_id), service.workspace.runs / f"{run_id} - Copy")
    found = service.reindex()
    assert found.runs == 1
    assert "cannot be a run name" in found.skipped[0]


def test_a_run_folder_that_was_copied_in_is_found_by_its_id(service: RunService) -> None:
    run_id = service.submit(make_config(service.workspace))
    shutil.copytree(service.run_dir(run_id), service.workspace.runs / "prune-copied")
    assert service.get("prune-copied").state is RunState.QUEUED


def test_what_is_not_there_is_said(service: RunService, workspace: Workspace) -> None:
    with pytest.raises(NotFoundError, match="no run 'nothing'"):
        service.get("nothing")
    with pytest.raises(DatasetError, match="no dataset 'x'"):
        service.submit(make_config(workspace, dataset="x"))
    with pytest.raises(NotFoundError, match="no model 'm'"):
        service.submit(make_config(workspace, model="m"))
    add_model(workspace, "bare")
    (workspace.model_dir("bare") / "model.pt").unlink()
    with pytest.raises(NotFoundError, match=r"no weights file .*bare/model\.pt"):
        service.submit(make_config(workspace, model="bare"))


def test_a_run_that_works_cannot_be_deleted(service: RunService) -> None:
    run_id = service.submit(make_config(service.workspace))
    with pytest.raises(IllegalTransitionError, match="cancel it before"):
        service.delete(run_id)
    service.act(run_id, Action.CANCEL)
    service.delete(run_id)
    assert service.list() == []


def test_an_index_of_an_older_program_is_built_anew_with_the_columns_we_use(
    service: RunService,
) -> None:
    run_id = service.submit(make_config(service.workspace))
    path = service.workspace.index_path
    service.store._file.engine().dispose()
    path.unlink()
    with sqlite3.connect(path) as index:  # as the first version left it
        index.execute("CREATE TABLE migrations (name TEXT PRIMARY KEY, applied REAL NOT NULL)")
        index.execute("CREATE TABLE runs (id TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID")
        index.execute("INSERT INTO runs VALUES ('prune-gone', 'gone')")
        index.execute("INSERT INTO migrations VALUES ('m001_runs', 0)")
    assert [row.id for row in RunStore(service.workspace).rows()] == [run_id]
    assert list(path.parent.glob("lab.sqlite.broken-*")) == []
    inspector = sa.inspect(sa.create_engine(f"sqlite:///{path}"))
    for table in (store._RUNS, store._RECORDS):
        found = {column["name"] for column in inspector.get_columns(table.name)}
        assert found == {column.name for column in table.columns}


def test_histories_from_before_damage_was_counted_are_read_again(service: RunService) -> None:
    run_id = service.submit(make_config(service.workspace))
    with EventLog(service.run_dir(run_id)).path.open("ab") as file:
        file.write(b"torn\n")
    before = service.get(run_id)
    with sqlite3.connect(service.workspace.index_path) as index:
        index.execute("ALTER TABLE runs DROP COLUMN damaged")
        index.execute("PRAGMA user_version = 0")
    later = RunService(service.workspace)
    assert [row.id for row in later.store.rows()] == [run_id]  # at once, as it was
    assert later.get(run_id) == before
    assert before.damaged == 1


def test_an_index_of_a_newer_program_is_refused(workspace: Workspace) -> None:
    RunStore(workspace)
    with sqlite3.connect(workspace.index_path) as connection:
        connection.execute("PRAGMA user_version = 999")
    with pytest.raises(WorkError, match=r"newer MSIP Lab \(user_version 999\)"):
        RunStore(workspace)


def test_a_damaged_index_is_moved_aside_and_built_anew(service: RunService) -> None:
    run_id = service.submit(make_config(service.workspace))
    path = service.workspace.index_path
    service.store._file.engine().dispose()  # as when its process ended
    path.write_bytes(b"not a database" * 100)
    assert [row.id for row in RunService(service.workspace).list()] == [run_id]
    (aside,) = path.parent.glob("lab.sqlite.broken-*[0-9]")
    assert aside.read_bytes() == b"not a database" * 100


def test_five_hundred_runs_are_listed_in_milliseconds(
    service: RunService, workspace: Workspace
) -> None:
    first = service.submit(make_config(workspace))
    EventLog(service.run_dir(first)).transition(RunState.CANCELLED)
    for i in range(499):
        shutil.copytree(service.run_dir(first), workspace.runs / f"prune-{i:04d}")
    service.reindex()
    service.list(limit=500)
    began = time.thread_time()  # processor time: others may be busy on the machine of the tests
    assert len(service.list(limit=50)) == 50
    one_page = time.thread_time() - began
    began = time.thread_time()
    assert len(service.list(limit=500)) == 500
    all_rows = time.thread_time() - began
    assert one_page < 0.05
    assert all_rows < 0.15


@pytest.mark.parametrize(
    ("device", "slot"), [("cpu", "cpu"), ("0", "cuda:0"), ("CUDA", "cuda:0"), ("cuda:1", "cuda:1")]
)
def test_devices_have_one_name(device: str, slot: str) -> None:
    assert slot_of(device) == slot
