"""What every executor promises, whether its workers are here or on other computers."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from msip_core.runs.events_log import EventLog
from msip_core.runs.executors import Elsewhere, Executor, LocalExecutor
from msip_core.runs.far.executor import FarExecutor
from msip_core.runs.processes import ProcessIdentity
from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from msip_core.runs.supervisor import request_stop
from msip_core.workspace import Workspace
from tests.runs.conftest import FAKE, wait_until
from tests.runs.made_up_cluster import SEAT, MadeUpCluster

SLOW = {"batches": 400, "batch_seconds": 0.05}
Submit = Callable[..., str]


class Lab:
    """An executor of one kind; others of the same kind stand for servers that came later."""

    def __init__(self, kind: str, workspace: Workspace, folder: Path) -> None:
        self.kind, self.workspace = kind, workspace
        self.cluster = MadeUpCluster(folder)
        self.executor = self.another()

    def another(self) -> Executor:
        if self.kind == "local":
            return LocalExecutor(FAKE)
        shared = self.workspace.root if self.kind == "shared folder" else None
        return FarExecutor(self.cluster, self.workspace, shared=shared, arguments=FAKE, pace=0.05)

    def start(self, service: RunService, run_id: str) -> Path:
        """What a supervisor does with a queued run."""
        service.store.transition(run_id, RunState.RUNNING, device="cpu")
        if isinstance(self.executor, FarExecutor):
            self.executor.reserve(run_id, SEAT)
        run_dir = service.run_dir(run_id)
        self.executor.start(run_dir, self.workspace)
        return run_dir

    def ended(self, run_dir: Path) -> None:
        wait_until(lambda: not self.executor.is_alive(run_dir), "the end of the worker", 60)

    def in_epochs(self, run_dir: Path) -> None:
        stage = EventLog(run_dir)
        wait_until(
            lambda: (stage.last("stage") or {}).get("stage") == "fine-tuning", "fine-tuning", 60
        )


@pytest.fixture(params=["local", "carried", "shared folder"])
def lab(
    request: pytest.FixtureRequest, workspace: Workspace, service: RunService, tmp_path: Path
) -> Iterator[Lab]:
    found = Lab(request.param, workspace, tmp_path / "computers")
    yield found
    for folder in workspace.runs.iterdir():
        found.executor.stop(folder, force=True)
        found.executor.exit_code(folder)
    found.cluster.end()


def test_a_worker_does_its_work_and_its_end_is_known(
    lab: Lab, service: RunService, submit: Submit
) -> None:
    run_dir = lab.start(service, submit())
    assert lab.executor.is_alive(run_dir)
    lab.ended(run_dir)
    assert lab.executor.exit_code(run_dir) == 0
    assert EventLog(run_dir).state() is RunState.COMPLETED
    assert (run_dir / "iterations/2/metrics.json").is_file()
    assert "=== worker started" in service.log_tail(run_dir.name)
    assert "Device cpu, processor threads" in service.log_tail(run_dir.name)
    seqs = [event["seq"] for event in EventLog(run_dir).read()]
    assert seqs == list(range(1, len(seqs) + 1))
    assert [e.epoch for e in service.epochs(run_dir.name)] == [1, 2, 1, 2]
    assert not lab.executor.is_alive(run_dir)
    assert lab.cluster.names() == ()
    assert list(lab.cluster._folder.glob("*/runs/*")) == [], "nothing stays behind"


@pytest.mark.parametrize("lab", ["local", "carried"], indirect=True)
def test_a_failure_keeps_its_reason_and_its_code(
    lab: Lab, service: RunService, submit: Submit
) -> None:
    run_dir = lab.start(service, submit(fail="input"))
    lab.ended(run_dir)
    assert lab.executor.exit_code(run_dir) == 2
    row = service.get(run_dir.name)
    assert (row.state, row.exit_code) == (RunState.FAILED, 2)
    assert "No labelled image" in str(row.error)


def test_what_a_person_asks_reaches_the_worker(
    lab: Lab, service: RunService, submit: Submit
) -> None:
    run_dir = lab.start(service, submit(**SLOW))
    lab.in_epochs(run_dir)
    service.store.transition(run_dir.name, RunState.PAUSING)
    request_stop(run_dir, "pause")
    lab.ended(run_dir)
    assert EventLog(run_dir).state() is RunState.PAUSED
    assert lab.executor.exit_code(run_dir) == 0


@pytest.mark.parametrize("lab", ["local", "carried"], indirect=True)
def test_a_worker_that_is_killed_says_nothing_but_its_code(
    lab: Lab, service: RunService, submit: Submit
) -> None:
    run_dir = lab.start(service, submit(**SLOW))
    lab.in_epochs(run_dir)
    lab.executor.stop(run_dir, force=True)
    lab.ended(run_dir)
    if isinstance(lab.executor, Elsewhere):
        assert lab.executor.lost(run_dir) is None, "the worker ended, not its computer"
    assert lab.executor.exit_code(run_dir) == -signal.SIGKILL
    assert EventLog(run_dir).state() is RunState.RUNNING


def test_a_worker_outlives_its_server_and_the_next_one_goes_on_with_it(
    lab: Lab, service: RunService, submit: Submit
) -> None:
    run_dir = lab.start(service, submit(batches=4, batch_seconds=0.05))
    lab.in_epochs(run_dir)
    worker = ProcessIdentity.read(run_dir / "worker.json")
    if isinstance(lab.executor, Elsewhere):
        lab.executor.close()
    lab.executor = lab.another()
    assert lab.executor.is_alive(run_dir)
    lab.ended(run_dir)
    assert EventLog(run_dir).state() is RunState.COMPLETED
    assert ProcessIdentity.read(run_dir / "worker.json") == worker
    epochs = [e for e in EventLog(run_dir).read() if e["kind"] == "epoch"]
    assert len(epochs) == 4, "each is told once"


@pytest.mark.parametrize("lab", ["local", "carried"], indirect=True)
def test_a_run_whose_folder_is_removed_loses_its_worker(
    lab: Lab, service: RunService, submit: Submit
) -> None:
    run_dir = lab.start(service, submit(**SLOW))
    lab.in_epochs(run_dir)
    worker = ProcessIdentity.read(run_dir / "worker.json")
    assert worker is not None
    shutil.rmtree(run_dir, ignore_errors=True)  # a worker here may just be writing into it
    lab.executor.stop(run_dir, force=True)
    lab.executor.exit_code(run_dir)
    wait_until(lambda: not worker.is_alive(), "the end of the worker", 30)
