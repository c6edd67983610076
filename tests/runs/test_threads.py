"""A worker takes its threads before torch is there, and its threads wait asleep."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

import pytest

from msip_core.config import PruneConfig
from msip_core.processors import Processors
from msip_core.runs import slots
from msip_core.runs.executors import worker_environment
from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from msip_core.runs.supervisor import Supervisor
from msip_core.runs.threads import take_threads
from msip_core.settings import Settings
from msip_core.workspace import Workspace
from tests.fresh import run_fresh
from tests.runs.conftest import wait_for


@pytest.mark.parametrize(
    ("device", "runs", "busy", "before", "after"),
    [("cpu", 3, 0.0, "8", 2), ("cpu", 20, 0.0, "8", 1), ("cpu", 2, 0.0, "1", 1),
     ("cpu", 1, 0.0, "8", 8), ("cpu", 1, 6.0, "8", 2), ("cpu", 1, 0.0, "", 8),
     ("cuda:0", 3, 0.0, "8", 8), ("cuda:0", 1, 7.0, "8", 1)],
)  # fmt: skip
def test_a_worker_takes_its_part_of_what_is_free(
    monkeypatch: pytest.MonkeyPatch, workspace: Workspace,
    device: str, runs: int, busy: float, before: str, after: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(slots, "get_settings", lambda: Settings(cpu_runs=runs))
    monkeypatch.setenv("OMP_NUM_THREADS", before)

    assert take_threads(device, Processors(8, busy=busy), workspace) == after

    assert os.environ["OMP_NUM_THREADS"] == str(after)


def test_runs_on_gpus_share_the_processor_among_all_that_run(
    monkeypatch: pytest.MonkeyPatch, workspace: Workspace, service: RunService, config: PruneConfig
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    for _ in range(2):
        run_id = service.submit(config)
        service.store.transition(run_id, RunState.RUNNING, device="cuda:0")

    assert take_threads("cuda:0", Processors(8), workspace) == 4


def test_a_real_worker_says_how_many_threads_it_took(
    supervisor: Supervisor, service: RunService, submit: Callable[..., str]
) -> None:
    run_id = submit()
    wait_for(service, run_id, RunState.COMPLETED)
    followed = json.loads((service.run_dir(run_id) / "followed.json").read_text())
    assert f"processor threads: {followed['threads']}" in service.log_tail(run_id)


def test_threads_that_wait_sleep_unless_an_engineer_says_otherwise() -> None:
    code = (
        "import os\nfrom pathlib import Path\nfrom msip_core.workspace import Workspace\n"
        "Workspace.open(Path(os.environ['WHERE'])).isolate_libraries()\n"
        "print(os.environ['OMP_WAIT_POLICY'], os.environ['KMP_BLOCKTIME'])"
    )
    where = os.environ["MPLCONFIGDIR"]
    assert run_fresh(code, WHERE=where).split() == ["PASSIVE", "0"]
    assert run_fresh(code, WHERE=where, OMP_WAIT_POLICY="ACTIVE").split() == ["ACTIVE", "0"]


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's libc alone can be told so")
def test_a_worker_keeps_the_memory_of_one_image_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = (
        "import resource\n"
        "def asked(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "one, two = bytearray(20_000_000), bytearray(20_000_000)\n"
        "del one, two; before = asked()\n"
        "for _ in range(5): one, two = bytearray(20_000_000), bytearray(20_000_000); del one, two\n"
        "print(asked() - before)"
    )
    pages = 10 * 20_000_000 / 4096  # that are asked for again where nothing is kept
    assert int(run_fresh(code, **worker_environment())) < 0.1 * pages
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")  # an engineer's wish goes first
    assert worker_environment()["MALLOC_TRIM_THRESHOLD_"] == "1000000"
