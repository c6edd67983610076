"""No run waits for its milliseconds: they are measured beside, once; a crash costs only them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from msip_core import speeds
from msip_core.cli.foreground import describe
from msip_core.runs import aside
from msip_core.runs.aside import SideTimer
from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from msip_core.runs.supervisor import Supervisor
from msip_core.speeds import Wanted, ask_for_speed, read_speed, state_of, wanted
from msip_core.workspace import Workspace, write_json
from tests.runs.conftest import wait_for

MODEL = "made-by-fake"  # what tests/runs/fake_work.py says that it saved


@pytest.fixture
def model(workspace: Workspace) -> str:
    """Weights that nobody opens, waiting to be measured beside a baseline."""
    for name in (MODEL, "baseline"):
        write_json(workspace.model_dir(name) / "model.json", {})
        (workspace.model_dir(name) / "model.pt").write_bytes(name.encode())
    ask_for_speed(workspace, MODEL, 64, str(workspace.model_dir("baseline") / "model.pt"))
    return MODEL


def _measure(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, outcome: dict[str, Any] | BaseException
) -> list[Wanted]:
    """Measure all that is wanted, with a clock that gives `outcome`; what was really timed."""
    from msip_core.runs import timing

    timed: list[Wanted] = []

    def clock(_: Workspace, order: Wanted) -> dict[str, Any]:
        timed.append(order)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(timing, "_timed", clock)
    for order in wanted(workspace):
        timing.measure(workspace, order, threads=2)
    return timed


def test_a_completed_run_is_being_measured_and_then_has_its_milliseconds(
    supervisor: Supervisor, service: RunService, submit: Callable[..., str], model: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(SideTimer, "look", lambda _: None)  # measured below, by the test
    run_id = submit()
    wait_for(service, run_id, RunState.COMPLETED)

    before = service.summary_document(run_id)
    assert (before["speed"]["state"], before["final"]["latency_ms"]) == ("being measured", None)
    assert "time per image on this processor: being measured" in _told(service, run_id)

    _measure(service.workspace, monkeypatch, {"ms": 12.5, "beside_ms": 30.0})
    after = service.summary_document(run_id)
    assert (after["baseline"]["latency_ms"], after["final"]["latency_ms"]) == (30.0, 12.5)
    place = after["speed"]["processor"]
    assert f"time per image on {place}: 30.0 ms -> 12.5 ms" in _told(service, run_id)


def _told(service: RunService, run_id: str) -> str:
    return describe(service.workspace, run_id).text


def test_a_model_that_cannot_be_measured_says_why_and_the_others_are(
    workspace: Workspace, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_for_speed(workspace, "baseline", 64)
    _measure(workspace, monkeypatch, MemoryError())

    assert state_of(workspace, model) == "not measured"
    speed = read_speed(workspace, model)
    assert speed is not None
    assert "memory was too small" in speed.problem
    assert wanted(workspace) == []
    assert read_speed(workspace, "baseline") is not None


def test_a_measurement_whose_process_dies_is_tried_twice_and_not_for_ever(
    workspace: Workspace, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):  # as a kill: nothing is caught, nothing tidied
            _measure(workspace, monkeypatch, KeyboardInterrupt())
        assert state_of(workspace, model) == "being measured"

    assert _measure(workspace, monkeypatch, {"ms": 1.0}) == []
    speed = read_speed(workspace, model)
    assert speed is not None
    assert "both times its process died" in speed.problem


def test_the_same_model_is_measured_once(
    workspace: Workspace, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = str(workspace.model_dir("baseline") / "model.pt")
    assert len(_measure(workspace, monkeypatch, {"ms": 12.5})) == 1
    ask_for_speed(workspace, model, 64, beside)
    assert _measure(workspace, monkeypatch, {"ms": 99.0}) == []
    assert state_of(workspace, model) == "measured"

    (workspace.model_dir(model) / "model.pt").write_bytes(b"trained on")
    ask_for_speed(workspace, model, 64, beside)
    assert len(_measure(workspace, monkeypatch, {"ms": 11.0})) == 1


def test_an_order_is_dropped_whose_model_was_removed_or_that_cannot_be_read(
    workspace: Workspace, model: str
) -> None:
    ask_for_speed(workspace, "removed", 64)
    (workspace.cache / "speeds-wanted" / "baseline.json").write_text("{")

    assert [order.model_id for order in wanted(workspace)] == [model]
    assert state_of(workspace, "removed") == state_of(workspace, "baseline") == "not measured"


def test_nothing_is_measured_while_a_run_works_on_the_processor_or_waits_for_it(
    service: RunService, config: Any, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[SideTimer] = []
    monkeypatch.setattr(SideTimer, "_started", lambda timer: started.append(timer))  # noqa: PLW0108 - bound to it
    run_id = service.submit(config)
    SideTimer(service.workspace).look()
    service.store.transition(run_id, RunState.RUNNING, device="cpu")
    SideTimer(service.workspace).look()
    assert started == []

    service.store.transition(run_id, RunState.INTERRUPTED, reason="A test.")
    SideTimer(service.workspace).look()
    assert len(started) == 1


def test_a_process_that_ends_at_once_is_not_started_again_and_again(
    workspace: Workspace, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "TIMING_MODULE", "no_such_module")
    timer = SideTimer(workspace)
    for _ in range(3):
        timer.look()
        assert timer._process is not None
        timer._process.wait()

    log = (workspace.cache / aside.LOG_NAME).read_text()
    assert log.count("No module named") == 1


def test_the_milliseconds_of_earlier_runs_are_still_told(
    supervisor: Supervisor, service: RunService, submit: Callable[..., str]
) -> None:
    run_id = submit()
    wait_for(service, run_id, RunState.COMPLETED)
    write_json(
        service.run_dir(run_id) / "model" / "check.json",
        {"passed": True, "latency_ms": {"baseline": 80.0, "final": 40.0}},
    )
    document = service.summary_document(run_id)
    assert (document["baseline"]["latency_ms"], document["final"]["latency_ms"]) == (80.0, 40.0)
    assert document["speed"]["state"] == "measured"


def test_a_real_model_is_timed_in_turn_with_the_one_it_was_pruned_from(
    workspace: Workspace, tmp_path: Path
) -> None:
    from msip_core.detector.build import build_model, register_model
    from msip_core.runs.timing import measure

    network = build_model("yolov8p.yaml", ("a",), seed=0)
    card = register_model(workspace, network, name="small", kind="baseline", imgsz=32)
    beside = workspace.model_dir(card.id) / "model.pt"
    ask_for_speed(workspace, card.id, 32, str(beside))
    measure(workspace, wanted(workspace)[0], threads=1)

    speed = speeds.read_speed(workspace, card.id)
    assert speed is not None, list(workspace.cache.iterdir())
    assert speed.problem == ""
    assert speed.ms is not None
    assert speed.beside_ms is not None
    assert 0.3 < speed.ms / speed.beside_ms < 3
