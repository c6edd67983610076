"""Runs whose work is tests/runs/fake_work.py: fast, without torch."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from threadpoolctl import threadpool_limits

from msip_core.config import PruneConfig, TrainingRecipe
from msip_core.runs.executors import LocalExecutor
from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from msip_core.runs.supervisor import Supervisor, Timing
from msip_core.workspace import Workspace, write_json

FAKE = ("--work", "tests.runs.fake_work:run", "--check", "tests.runs.fake_work:check")
QUICK = Timing(
    tick=0.05, start_grace=1.0, heartbeat_timeout=60.0, cancel_grace=1.0, periodic=0.2, stumble=0.2
)


def make_inputs(workspace: Workspace) -> None:
    """A dataset manifest and a baseline's weights, as far as the queue looks at them."""
    write_json(workspace.dataset_dir("drawn") / "dataset.json", {"name": "drawn"})
    (workspace.root / "baseline.pt").write_bytes(b"weights")


def make_config(workspace: Workspace, **changes: Any) -> PruneConfig:
    settings: dict[str, Any] = {
        "dataset": "drawn", "model": str(workspace.root / "baseline.pt"), "device": "cpu",
        "iterations": 2, "finetune": TrainingRecipe(epochs=2), "imgsz": 64, "batch": 4,
    }  # fmt: skip
    return PruneConfig(**{**settings, **changes})


@pytest.fixture
def service(workspace: Workspace) -> RunService:
    make_inputs(workspace)
    return RunService(workspace)


@pytest.fixture
def config(workspace: Workspace) -> PruneConfig:
    return make_config(workspace)


@pytest.fixture
def supervisor(workspace: Workspace, service: RunService) -> Iterator[Supervisor]:
    """A running supervisor with short waits; what it started is ended with the test."""
    executor = LocalExecutor(FAKE)
    found = Supervisor(workspace, executor, QUICK).start()
    yield found
    found.close()
    for folder in workspace.runs.iterdir():
        executor.stop(folder, force=True)
        executor.exit_code(folder)


@pytest.fixture
def submit(service: RunService, config: PruneConfig) -> Callable[..., str]:
    """Submit a run whose fake work follows a plan (see fake_work)."""

    def submit_(changed: PruneConfig | None = None, **plan: Any) -> str:
        return service.submit(changed or config, name=json.dumps(plan))

    return submit_


def wait_for(
    service: RunService, run_id: str, *states: RunState, seconds: float = 120.0
) -> RunState:
    """Wait until the run is in one of the states; fail with its log if it does not come."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        state = service.get(run_id).state
        if state in states:
            return state
        time.sleep(_pause(seconds))
    row = service.get(run_id)
    raise AssertionError(
        f"{run_id} is {row.state} ({row.error}), not {states}:\n{service.log_tail(run_id)}"
    )


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"did not happen: {what}"
        time.sleep(_pause(seconds))


def _pause(seconds: float) -> float:
    """Long waits look seldom: looking costs the time of those who are waited for."""
    return 0.02 if seconds <= 120 else 0.2


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    """A worker that runs inside the test process takes threads for the whole process."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads = torch.get_num_threads()
    with threadpool_limits():
        yield
    torch.set_num_threads(threads)


def history(run_dir: Path) -> list[dict[str, Any]]:
    from msip_core.runs.events_log import EventLog

    return EventLog(run_dir).read()
