"""The estimate before a run says when other work takes the computer."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from msip_core.cli import work
from msip_core.cli.verbs import Answer
from msip_core.config import PruneConfig
from msip_core.processors import Processors
from msip_core.questions.planning import Effort
from msip_core.runs.service import RunService
from msip_core.workspace import Workspace


@pytest.mark.parametrize(("busy", "said"), [(0.0, False), (1.7, True)])
def test_the_estimate_says_when_the_computer_is_busy(
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    busy: float,
    said: bool,
) -> None:
    from msip_core.pruning import estimate

    found = SimpleNamespace(look=lambda: Processors(2, busy=busy))
    monkeypatch.setattr(work, "Sample", lambda: found)
    effort = Effort(seconds=60.0, memory_gb=1.0, disk_gb=0.1, note="Note.")
    monkeypatch.setattr(estimate, "estimate", lambda *_: effort)

    work._say_estimate(workspace, PruneConfig(dataset="d", model="m"))

    told = "".join(capsys.readouterr())
    assert "Expected: about" in told
    assert ("The computer is busy: other work takes 1.7 of its 2" in told) == said


@pytest.mark.parametrize(("device", "first"), [("cpu", "estimate"), ("cuda:0", "run")])
def test_a_run_on_a_gpu_does_not_wait_for_its_estimate(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, device: str, first: str
) -> None:
    told, begun = threading.Event(), threading.Event()
    order: list[str] = []

    def estimate(*_: object) -> None:
        if device != "cpu":
            assert begun.wait(60)
        order.append("estimate")
        told.set()

    def run(*_: object, **__: object) -> Answer:
        order.append("run")
        begun.set()
        assert told.wait(60)
        return Answer({}, "")

    monkeypatch.setattr(work, "_say_estimate", estimate)
    monkeypatch.setattr(work, "in_foreground", run)
    monkeypatch.setattr(RunService, "submit", lambda *_: "run-1")

    work._start(workspace, PruneConfig(dataset="d", model="m", device=device), detach=False)

    assert order[0] == first
    assert sorted(order) == ["estimate", "run"]


def test_an_estimate_that_cannot_be_made_beside_a_run_says_so_in_a_sentence(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(work, "_say_estimate", fail)
    work._say_estimate_beside(workspace, PruneConfig(dataset="d", model="m"))
    assert "There is no estimate: The memory was too small" in "".join(capsys.readouterr())
