"""A process that is ready serves one run as a worker that was started for it, and is never left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from msip_core import gpus
from msip_core.config import PruneConfig
from msip_core.runs import executors, slots, spare
from msip_core.runs.executors import LocalExecutor
from msip_core.runs.processes import ProcessIdentity
from msip_core.runs.service import RunService
from msip_core.runs.state import Action, RunState
from msip_core.runs.supervisor import Supervisor
from msip_core.settings import Settings
from msip_core.workspace import Workspace
from tests.fresh import ROOT, run_fresh
from tests.runs.conftest import FAKE, QUICK, wait_for, wait_until

SLOW = {"batches": 400, "batch_seconds": 0.05}
Submit = Callable[..., str]


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch, workspace: Workspace) -> Iterator[LocalExecutor]:
    """It may keep a process ready, one without torch."""
    monkeypatch.setattr(spare, "get_settings", lambda: Settings(warm=True))
    monkeypatch.setattr(spare, "ROOM", 0.0)
    monkeypatch.setattr(spare, "SPARE_MODULE", "tests.runs.light_spare")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    found = LocalExecutor(FAKE)
    yield found
    found.prepare(workspace, wanted=0)
    for folder in workspace.runs.iterdir():
        found.stop(folder, force=True)
        found.exit_code(folder)


@pytest.fixture
def serve(executor: LocalExecutor, workspace: Workspace) -> Iterator[Callable[[], Supervisor]]:
    """Start the supervisor once everything is as a test wants it."""
    started: list[Supervisor] = []

    def start() -> Supervisor:
        started.append(Supervisor(workspace, executor, QUICK).start())
        return started[0]

    yield start
    for supervisor in started:
        supervisor.close()


def _ready(executor: LocalExecutor, workspace: Workspace) -> int:
    """Make a process ready; its number."""
    executor.prepare(workspace, wanted=1)
    (only,) = executor._spares
    return only.pid


def _worker(service: RunService, run_id: str) -> ProcessIdentity:
    found = ProcessIdentity.read(service.run_dir(run_id) / "worker.json")
    assert found is not None
    return found


def test_the_process_that_is_ready_becomes_the_worker_of_the_next_run(
    executor: LocalExecutor, serve: Callable[[], Supervisor], service: RunService, submit: Submit
) -> None:
    pid = _ready(executor, service.workspace)
    run_id, other = submit(), submit()
    serve()
    wait_for(service, run_id, RunState.COMPLETED)
    assert _worker(service, run_id).pid == pid
    assert "processor threads" in service.log_tail(run_id)
    provenance = json.loads((service.run_dir(run_id) / "provenance.json").read_text())
    assert provenance["command"][1] == str(service.run_dir(run_id))

    wait_for(service, other, RunState.COMPLETED)
    assert _worker(service, other).pid != pid
    assert service.iterations(other)[1].layers == service.iterations(run_id)[1].layers


def test_killed_it_leaves_an_interrupted_run_as_any_worker(
    executor: LocalExecutor, serve: Callable[[], Supervisor], service: RunService, submit: Submit
) -> None:
    pid = _ready(executor, service.workspace)
    run_id = submit(**SLOW)
    serve()
    wait_until(lambda: service.get(run_id).stage == "fine-tuning", "fine-tuning")
    os.kill(pid, signal.SIGKILL)
    wait_for(service, run_id, RunState.INTERRUPTED)
    assert "signal SIGKILL" in str(service.get(run_id).error)
    (service.run_dir(run_id) / "plan.json").write_text("{}")
    service.act(run_id, Action.RESUME)
    wait_for(service, run_id, RunState.COMPLETED)


def test_a_worker_that_was_ready_outlives_its_server_and_is_adopted(
    executor: LocalExecutor, serve: Callable[[], Supervisor], service: RunService, submit: Submit
) -> None:
    pid = _ready(executor, service.workspace)
    run_id = submit(batches=10, batch_seconds=0.05)
    first = serve()
    wait_for(service, run_id, RunState.RUNNING)
    first.close()
    second = Supervisor(service.workspace, LocalExecutor(FAKE), QUICK).start()
    try:
        wait_for(service, run_id, RunState.COMPLETED)
    finally:
        second.close()
    assert _worker(service, run_id).pid == pid


@pytest.mark.parametrize("how", ["died", "another environment"])
def test_a_run_starts_without_a_process_that_cannot_serve_it(
    executor: LocalExecutor,
    serve: Callable[[], Supervisor],
    service: RunService,
    submit: Submit,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pid = _ready(executor, service.workspace)
    if how == "died":
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, "its end")
    else:
        monkeypatch.setenv("MSIP_DEVICE", "cpu")
    run_id = submit()
    serve()
    wait_for(service, run_id, RunState.COMPLETED)
    assert _worker(service, run_id).pid != pid
    wait_until(lambda: not psutil.pid_exists(pid), "the other is gone")


def test_what_libraries_set_for_themselves_makes_no_other_environment(
    executor: LocalExecutor, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = _ready(executor, workspace)
    monkeypatch.setenv("KINETO_LOG_LEVEL", "5")
    assert _ready(executor, workspace) == pid


def test_one_that_dies_is_not_started_again_and_again(
    executor: LocalExecutor, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_SPARE", "dies")
    pid = _ready(executor, workspace)
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, "its end")
    for _ in range(3):
        executor.prepare(workspace, wanted=1)
        assert executor._spares == []

    monkeypatch.delenv("TEST_SPARE")
    monkeypatch.setattr(executors, "_AGAIN", 0.0)
    assert _ready(executor, workspace) != pid


def test_libraries_that_cannot_be_loaded_ahead_cost_the_run_nothing(
    executor: LocalExecutor,
    serve: Callable[[], Supervisor],
    service: RunService,
    submit: Submit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEST_SPARE", "broken libraries")
    pid = _ready(executor, service.workspace)
    log = service.workspace.cache / spare.LOG_NAME
    # A run that comes earlier ends the loading.
    wait_until(lambda: "no_such_library" in log.read_text(), "a library that is not there", 60)
    run_id = submit()
    serve()
    wait_for(service, run_id, RunState.COMPLETED)
    assert _worker(service, run_id).pid == pid


@pytest.mark.parametrize("touched", [False, True])
def test_it_sees_only_the_gpu_that_its_run_was_given(
    executor: LocalExecutor,
    service: RunService,
    config: PruneConfig,
    touched: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    if touched:
        monkeypatch.setenv("TEST_SPARE", "has touched the GPUs")
    pid = _ready(executor, service.workspace)
    run_id = service.submit(config.model_copy(update={"device": "cuda:1"}))
    service.store.transition(run_id, RunState.RUNNING, device="cuda:1")
    executor.start(service.run_dir(run_id), service.workspace)
    wait_for(service, run_id, RunState.COMPLETED)

    followed = json.loads((service.run_dir(run_id) / "followed.json").read_text())
    assert (followed["device"], followed["visible"]) == ("cuda:0", "5")
    assert _worker(service, run_id).pid == pid
    assert ("it starts anew" in service.log_tail(run_id)) is touched


@pytest.mark.parametrize(
    ("settings", "room", "kept"),
    [
        (Settings(warm=True), 0.0, True),
        (Settings(warm=False), 0.0, False),
        (Settings(warm=True), 1e18, False),
    ],
)
def test_none_waits_where_it_is_not_wanted_or_memory_is_short(
    executor: LocalExecutor,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    room: float,
    kept: bool,
) -> None:
    monkeypatch.setattr(spare, "get_settings", lambda: settings)
    monkeypatch.setattr(spare, "ROOM", room)
    executor.prepare(workspace, wanted=1)
    assert bool(executor._spares) is kept


def test_one_that_waits_is_let_go_when_memory_gets_short_and_when_nobody_needs_it(
    executor: LocalExecutor, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _ready(executor, workspace)
    executor.prepare(workspace, wanted=0)
    assert not psutil.pid_exists(first)

    second = _ready(executor, workspace)
    monkeypatch.setattr(spare, "ROOM", 1e18)
    executor.prepare(workspace, wanted=1)
    assert not psutil.pid_exists(second)


def test_two_runs_that_start_together_each_take_one(
    executor: LocalExecutor,
    serve: Callable[[], Supervisor],
    service: RunService,
    submit: Submit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slots, "get_settings", lambda: Settings(cpu_runs=2))
    for _ in range(3):  # one more a call, and never more than are wanted
        executor.prepare(service.workspace, wanted=2)
    ready = [one.pid for one in executor._spares]
    assert len(set(ready)) == 2
    first, second = submit(), submit()
    serve()
    for run_id in (first, second):
        wait_for(service, run_id, RunState.COMPLETED)
    assert [_worker(service, run_id).pid for run_id in (first, second)] == ready


class _Memory:
    """What is free on a computer whose spares take SIZE each once they have loaded."""

    def __init__(self, spares: float) -> None:
        self.available = spare.ROOM + spares * spare.SIZE


def test_as_many_wait_as_memory_holds_beside_the_room_that_is_left_free(
    executor: LocalExecutor, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = _Memory(2.5)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    for _ in range(4):  # those that are still loading have taken nothing yet
        executor.prepare(workspace, wanted=8)
    assert len(executor._spares) == 2

    first, second = (one.pid for one in executor._spares)
    free.available = spare.ROOM - 1  # somebody else has taken it: one after the other goes
    executor.prepare(workspace, wanted=8)
    assert [one.pid for one in executor._spares] == [first]
    assert not psutil.pid_exists(second)
    executor.prepare(workspace, wanted=8)
    assert executor._spares == []


class _Watched(LocalExecutor):
    """Starts nothing; knows how many processes should be ready."""

    ready = 0

    def prepare(self, workspace: Workspace, *, wanted: int) -> None:
        self.ready = wanted

    def start(self, run_dir: Path, workspace: Workspace) -> None:
        identity = ProcessIdentity.of(os.getpid())
        assert identity is not None
        identity.write(run_dir / "worker.json")


NOW = QUICK.__class__(tick=0.05, ready=-1.0)


def test_it_is_there_while_a_run_waits_for_a_place_or_a_server_is_open(
    service: RunService, submit: Submit
) -> None:
    executor = _Watched()
    supervisor = Supervisor(service.workspace, executor, NOW)
    seen: list[int] = []
    for _ in range(3):  # nothing, one run that has its place, one more that waits
        supervisor.tick()
        seen.append(executor.ready)
        submit()
    assert seen == [0, 0, 1]

    server = Supervisor(service.workspace, executor, NOW, keeps_ready=True)
    for run_id in service.store.slots([RunState.QUEUED]):
        service.act(run_id, Action.CANCEL)
    server.tick()
    assert executor.ready == 1
    server.close()
    assert executor.ready == 0


@pytest.mark.parametrize(
    ("settings", "count", "places"),
    [
        (Settings(cpu_runs=3), 0, 3),
        (Settings(), 4, 4),
        (Settings(gpu_runs=2), 4, 8),
        (Settings(device="cpu"), 4, 1),
    ],
    ids=["processor", "GPUs", "two on each GPU", "GPUs that nobody wants"],
)
def test_a_server_wants_one_for_each_run_that_can_start_at_the_same_moment(
    service: RunService,
    submit: Submit,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    count: int,
    places: int,
) -> None:
    monkeypatch.setattr(slots, "get_settings", lambda: settings)
    monkeypatch.setattr(slots, "gpu_count", lambda: count)
    monkeypatch.setattr(slots.platform, "system", lambda: "Linux")
    executor = _Watched()
    Supervisor(service.workspace, executor, NOW, keeps_ready=True).tick()
    assert executor.ready == places


def test_a_server_that_was_just_started_draws_its_first_page_first(service: RunService) -> None:
    executor = _Watched()
    Supervisor(service.workspace, executor, keeps_ready=True).tick()
    assert not executor.ready


def test_it_ends_with_a_server_that_is_killed(
    executor: LocalExecutor, workspace: Workspace, tmp_path: Path
) -> None:
    code = (
        "import sys, time\nfrom msip_core.runs import spare\n"
        "from msip_core.runs.executors import worker_environment\n"
        "from msip_core.workspace import Workspace\n"
        "spare.SPARE_MODULE = 'tests.runs.light_spare'\n"
        "one = spare.Spare(Workspace.open(sys.argv[1]), worker_environment())\n"
        "print(one.pid, flush=True)\ntime.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(workspace.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        assert psutil.pid_exists(pid)
        server.kill()
    wait_until(lambda: _is_gone(pid), "it is gone", 60.0)


def _is_gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)  # nobody's child any more
    except psutil.NoSuchProcess:
        return True


def test_what_is_loaded_ahead_touches_no_gpu_and_takes_the_threads_of_its_run() -> None:
    code = (
        "import os, torch, json\nfrom pathlib import Path\n"
        "def touched(*_): raise SystemExit('CUDA was begun')\n"
        "torch.cuda.is_available = torch.cuda.device_count = torch.cuda.init = touched\n"
        "torch.cuda.get_device_properties = torch.cuda.get_device_capability = touched\n"
        "from msip_core.processors import Processors\nfrom msip_core.workspace import Workspace\n"
        "from msip_core.runs import spare_process, threads\n"
        "workspace = Workspace.open(Path(os.environ['WHERE']))\nworkspace.isolate_libraries()\n"
        "spare_process.load_ahead()\n"
        "threads.take_threads('cpu', Processors(1), workspace)\n"
        "from threadpoolctl import threadpool_info\n"
        "print(json.dumps([torch.get_num_threads(), os.environ['OMP_NUM_THREADS'],\n"
        "    *(one['num_threads'] for one in threadpool_info())]))"
    )
    said: list[Any] = json.loads(
        run_fresh(code, WHERE=os.environ["MPLCONFIGDIR"], OMP_NUM_THREADS="2").splitlines()[-1]
    )
    assert said[:2] == [1, "1"]
    assert len(said) > 3
    assert set(said[2:]) == {1}


class _Driver:
    """The CUDA driver, as far as it tells whether this process has begun CUDA."""

    def __init__(self, answer: int) -> None:
        self.cuDeviceGetCount = lambda _: answer


@pytest.mark.parametrize(("answer", "begun"), [(3, False), (0, True), (100, True)])
def test_the_driver_is_asked_whether_cuda_was_begun(
    monkeypatch: pytest.MonkeyPatch, answer: int, begun: bool
) -> None:
    monkeypatch.setattr(gpus.ctypes, "CDLL", lambda _: _Driver(answer))
    assert gpus.cuda_has_begun() is begun


def test_without_a_driver_no_cuda_was_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_DRIVER", "no-such-library.so")
    assert not gpus.cuda_has_begun()


def test_a_run_that_is_there_already_waits_for_nothing_that_is_loaded_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from msip_core.runs import spare_process

    loaded: list[str] = []
    monkeypatch.setattr(spare_process, "LOADED", ("first", "second", "third"))
    monkeypatch.setattr(spare_process, "import_module", loaded.append)
    spare_process.load_ahead(until=lambda: "second" in loaded)
    assert loaded == ["first", "second"]
