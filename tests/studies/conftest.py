"""A workspace with a drawn dataset and a queue whose work is tests/studies/fake_work.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from msip_core.runs.executors import LocalExecutor
from msip_core.runs.service import RunService
from msip_core.runs.supervisor import Supervisor, Timing
from msip_core.studies import engine
from msip_core.studies.plan import StudyPlan, parse_plan
from msip_core.workspace import Workspace
from tests.drawn import copy_example

FAKE = (
    "--work",
    "tests.studies.fake_work:run",
    "--check",
    "tests.studies.fake_work:check",
    "--measure",
    "tests.studies.fake_work:measure",
)
QUICK = Timing(tick=0.05, start_grace=1.0, heartbeat_timeout=60.0, cancel_grace=1.0, periodic=0.1)


def make_plan(**changes: Any) -> StudyPlan:
    """Two methods beside the honest rows, two seeds."""
    plan: dict[str, Any] = {
        "name": "trial", "dataset": "example", "imgsz": 64, "batch": 4, "device": "cpu",
        "seeds": [0, 1], "baseline": {"weights": "yolov8s.yaml", "recipe": {"epochs": 3}},
        "budget": {"iterations": 2, "finetune": {"epochs": 2}},
        "rows": [
            {"key": "l2", "label": "L2 norm", "settings": {"method": "l2"}},
            {"key": "msip", "label": "MSIP", "settings": {"method": "msip"}},
        ],
    }  # fmt: skip
    return parse_plan({**plan, **changes})


@pytest.fixture
def drawn(workspace: Workspace) -> Workspace:
    """A workspace with a drawn dataset that is ready and has test images."""
    copy_example(workspace, images=20, size=64)
    return workspace


@pytest.fixture
def service(drawn: Workspace) -> RunService:
    return RunService(drawn)


@pytest.fixture
def queue(drawn: Workspace) -> Iterator[Supervisor]:
    """A supervisor that carries studies on as the server does."""
    executor = LocalExecutor(FAKE)
    found = Supervisor(drawn, executor, QUICK, periodic=[engine.Watch()]).start()
    yield found
    found.close()
    for folder in drawn.runs.iterdir():
        executor.stop(folder, force=True)
        executor.exit_code(folder)


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 240.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"did not happen: {what}"
        time.sleep(0.1)
