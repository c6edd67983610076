"""After a power cut: whoever looks says what is dead, and never of what is alive."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from msip_core.errors import IllegalTransitionError
from msip_core.runs import context, settling
from msip_core.runs.events_log import EventLog
from msip_core.runs.executors import HEARTBEAT_FILE, WORKER_FILE, LocalExecutor
from msip_core.runs.processes import ProcessIdentity
from msip_core.runs.service import RunService
from msip_core.runs.state import Action, RunState
from msip_core.runs.supervisor import Supervisor, Timing
from tests.rights import rights
from tests.runs.conftest import make_config

WORKER = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def run_id(service: RunService) -> str:
    return service.submit(make_config(service.workspace))


@pytest.fixture
def worker(service: RunService, run_id: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds what a worker holds; the run is running."""
    run_dir = service.run_dir(run_id)
    EventLog(run_dir).transition(RunState.RUNNING)
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(run_dir / settling.WORKER_LOCK)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    identity = ProcessIdentity.of(process.pid)
    assert identity is not None
    identity.write(run_dir / WORKER_FILE)
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    "look",
    [
        lambda s, r: s.get(r).state,
        lambda s, r: s.list()[0].state,
        lambda s, r: RunState.INTERRUPTED if Action.RESUME in s.actions(r) else None,
        lambda s, r: RunState.INTERRUPTED if s.milestones(r)[-1].level == "warning" else None,
    ],
    ids=["get", "list", "actions", "milestones"],
)
def test_whoever_looks_finds_the_dead_worker(
    service: RunService,
    run_id: str,
    worker: subprocess.Popen[bytes],
    look: Callable[[RunService, str], RunState | None],
) -> None:
    assert service.get(run_id).state is RunState.RUNNING, "alive: nobody may end it"
    _kill(worker)
    assert look(service, run_id) is RunState.INTERRUPTED
    assert "The worker is gone" in str(service.get(run_id).error)


def test_a_worker_that_is_just_being_killed_counts_as_dead(
    service: RunService, run_id: str, worker: subprocess.Popen[bytes]
) -> None:
    worker.kill()
    assert service.get(run_id).state is RunState.INTERRUPTED


def test_a_dead_run_can_be_resumed_at_once(
    service: RunService, run_id: str, worker: subprocess.Popen[bytes]
) -> None:
    _kill(worker)
    assert service.act(run_id, Action.RESUME) is RunState.QUEUED


@pytest.mark.parametrize(
    ("asked", "becomes"),
    [(Action.PAUSE, RunState.INTERRUPTED), (Action.CANCEL, RunState.CANCELLED)],
)
def test_what_was_asked_of_a_run_that_died_does_not_hang(
    service: RunService,
    run_id: str,
    worker: subprocess.Popen[bytes],
    asked: Action,
    becomes: RunState,
) -> None:
    service.act(run_id, asked)
    assert service.get(run_id).state.has_worker
    _kill(worker)
    assert service.get(run_id).state is becomes


def test_pause_of_a_dead_run_says_what_is_possible(
    service: RunService, run_id: str, worker: subprocess.Popen[bytes]
) -> None:
    _kill(worker)
    with pytest.raises(IllegalTransitionError, match="interrupted: it cannot pause now"):
        service.act(run_id, Action.PAUSE)


def test_a_worker_that_stands_still_is_not_dead(
    service: RunService, run_id: str, worker: subprocess.Popen[bytes]
) -> None:
    os.kill(worker.pid, signal.SIGSTOP)
    os.utime(service.run_dir(run_id) / WORKER_FILE, (1, 1))
    assert service.get(run_id).state is RunState.RUNNING
    os.kill(worker.pid, signal.SIGCONT)


def test_nobody_judges_while_a_server_is_in_charge(
    service: RunService, run_id: str, worker: subprocess.Popen[bytes]
) -> None:
    _kill(worker)
    with FileLock(service.workspace.root / settling.SUPERVISOR_LOCK):
        assert service.is_supervised()
        assert service.get(run_id).state is RunState.RUNNING, "the server's to settle"
    assert not service.is_supervised()
    assert service.get(run_id).state is RunState.INTERRUPTED


def test_a_lock_that_only_somebody_else_may_hold_keeps_nobody_from_looking(
    service: RunService, run_id: str, worker: subprocess.Popen[bytes]
) -> None:
    lock = service.workspace.root / settling.SUPERVISOR_LOCK
    lock.touch()
    with rights(lock, 0o400):
        assert [row.id for row in service.list()] == [run_id]


def test_a_run_of_somebody_else_keeps_no_other_from_starting(
    service: RunService, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours = (service.submit(make_config(service.workspace)) for _ in range(2))
    executor = LocalExecutor()
    begun: list[str] = []
    monkeypatch.setattr(executor, "start", lambda run_dir, _: begun.append(run_dir.name))
    with rights(service.run_dir(theirs), 0):
        Supervisor(service.workspace, executor).tick()
    assert begun == [ours]


def test_two_who_look_at_once_settle_once(
    service: RunService, run_id: str, worker: subprocess.Popen[bytes]
) -> None:
    _kill(worker)
    lookers = [threading.Thread(target=RunService(service.workspace).list) for _ in range(8)]
    for looker in lookers:
        looker.start()
    for looker in lookers:
        looker.join()
    assert service.get(run_id).state is RunState.INTERRUPTED
    states = [e["state"] for e in service.events(run_id) if e["kind"] == "state"]
    assert states == ["queued", "running", "interrupted"]


def test_a_recycled_process_number_is_not_the_worker(service: RunService, run_id: str) -> None:
    run_dir = service.run_dir(run_id)
    EventLog(run_dir).transition(RunState.RUNNING)
    here = ProcessIdentity.of(os.getpid())
    assert here is not None
    dataclasses.replace(here, born="another-boot/1").write(run_dir / WORKER_FILE)
    assert service.get(run_id).state is RunState.INTERRUPTED


def test_a_worker_of_another_computer_is_judged_by_its_heartbeat(
    service: RunService, run_id: str
) -> None:
    run_dir = service.run_dir(run_id)
    EventLog(run_dir).transition(RunState.RUNNING)
    ProcessIdentity(1, "far-boot/1", "another-computer").write(run_dir / WORKER_FILE)
    (run_dir / HEARTBEAT_FILE).touch()
    assert service.get(run_id).state is RunState.RUNNING
    long_ago = time.time() - settling.FAR_HEARTBEAT - 60
    os.utime(run_dir / HEARTBEAT_FILE, (long_ago, long_ago))
    assert service.get(run_id).state is RunState.INTERRUPTED


@pytest.mark.parametrize("set_back", [0.0, 3600.0])
def test_a_run_whose_worker_never_came_is_interrupted_after_its_grace(
    service: RunService, run_id: str, set_back: float
) -> None:
    run_dir = service.run_dir(run_id)
    EventLog(run_dir).transition(RunState.RUNNING)
    assert service.get(run_id).state is RunState.RUNNING, "it may still be coming"
    past = time.time() + set_back if set_back else time.time() - settling.START_GRACE - 5
    os.utime(run_dir / "events.jsonl", (past, past))
    assert service.get(run_id).state is RunState.INTERRUPTED
    assert "before the worker had started" in str(service.get(run_id).error)


def test_a_worker_that_was_given_up_does_not_begin(service: RunService, run_id: str) -> None:
    from msip_core.runs.worker import main

    log = EventLog(service.run_dir(run_id))
    log.transition(RunState.RUNNING)
    log.transition(RunState.INTERRUPTED, reason="given up")
    words = [str(service.run_dir(run_id)), "--workspace", str(service.workspace.root)]
    assert main(words) == 1
    assert log.state() is RunState.INTERRUPTED


def test_a_run_whose_maker_died_before_it_told_is_listed_and_started(
    service: RunService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_run_id: str) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(service.store, "add", die)
        with pytest.raises(SystemExit):
            service.submit(make_config(service.workspace))
    (folder,) = service.workspace.runs.iterdir()
    started: list[Path] = []

    class Starter:
        def start(self, run_dir: Path, _workspace: object) -> None:
            started.append(run_dir)

        def is_alive(self, _run_dir: Path) -> bool:
            return True

        def stop(self, _run_dir: Path, *, force: bool) -> None: ...

        def exit_code(self, _run_dir: Path) -> int | None:
            return None

    supervisor = Supervisor(service.workspace, Starter(), Timing(tick=0.01, periodic=0.0)).start()
    end = time.monotonic() + 20
    while not started and time.monotonic() < end:
        time.sleep(0.02)
    supervisor.close()
    assert started == [folder]
    assert [row.id for row in service.list()] == [folder.name]


def test_a_folder_that_is_gone_is_listed_no_more(service: RunService, run_id: str) -> None:
    import shutil

    shutil.rmtree(service.run_dir(run_id))
    assert service.list() == []


def test_runs_that_nobody_works_on_say_so(
    service: RunService, run_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from msip_core.cli.main import main

    root = str(service.workspace.root)
    assert main(["runs", "list", "--workspace", root]) == 0
    assert "1 queued run waits: no server or command is working on this" in capsys.readouterr().out
    with FileLock(service.workspace.root / settling.SUPERVISOR_LOCK):
        assert main(["runs", "list", "--json", "--workspace", root]) == 0
    assert "notes" not in json.loads(capsys.readouterr().out)


def test_a_disk_that_is_away_for_a_moment_does_not_stop_the_heart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats: list[int] = []
    came_back = threading.Event()

    def touch(_: Path) -> None:
        beats.append(1)
        if len(beats) == 2:
            raise OSError(errno.ESTALE, "Stale file handle")
        if len(beats) > 2:
            came_back.set()

    monkeypatch.setattr(context, "_HEART_PERIOD", 0.01)
    monkeypatch.setattr(Path, "touch", touch)
    with context.Heart(tmp_path):
        assert came_back.wait(5)
