"""Nothing is lost: a pruning run whose worker is killed again and again, and whose server is killed
in the middle, ends like one that nobody disturbed. Tolerance on the CPU: none, bit for bit.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from msip_core.config import CalibrationConfig, PruneConfig, TrainingRecipe
from msip_core.runs.events_log import EventLog
from msip_core.runs.processes import ProcessIdentity
from msip_core.runs.service import RunService
from msip_core.runs.state import Action, RunState
from msip_core.workspace import Workspace, write_json
from tests.drawn import copy_example
from tests.fresh import ROOT
from tests.runs.conftest import wait_for, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

DEADLY = ("--work", "tests.runs.dying_work:run")
# (stage, iteration, stop checks that pass first). The other stages are ended in
# tests/pruning/test_loop.py, without processes. Fine-tuning has two epochs of three batches: four
# checks in, the first epoch is finished and the second has begun.
FIRST_KILLS = (
    ("baseline evaluation", 0, 0),
    ("importance", 1, 1),
    ("pruning", 1, 0),
    ("fine-tuning", 1, 4),
)
LATER_KILLS = (("fine-tuning", 2, 4), ("saving and checking", 2, 0))
PATIENCE = 600.0  # seconds; a free core needs a tenth of it


class Lab(NamedTuple):
    service: RunService
    config: PruneConfig


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Two dozen drawn micrographs at 64 px and an untrained YOLOv8n."""
    from msip_core.detector.build import build_model, register_model

    workspace = Workspace.open(tmp_path_factory.mktemp("unbroken"))
    dataset = copy_example(workspace, "drawn", images=30, size=64)
    model = build_model("yolov8n.yaml", dataset.classes, seed=0)
    card = register_model(
        workspace, model, name="small", kind="baseline", imgsz=64, dataset=dataset
    )
    config = PruneConfig(
        dataset="drawn", model=card.id, imgsz=64, batch=8, device="cpu", iterations=2,
        keep_macs=0.6, finetune=TrainingRecipe(epochs=2, lr0=5e-3, close_mosaic=1),
        calibration=CalibrationConfig(batches=1, batch=8, micro_batch=4), max_map50_drop=None,
        repair="recalibrate",
    )  # fmt: skip
    return Lab(RunService(workspace), config)


@pytest.fixture(scope="module")
def unbroken(lab: Lab) -> str:
    """The run that nobody disturbs."""
    run_id = lab.service.submit(lab.config)
    with server(lab.service.workspace):
        wait_for(lab.service, run_id, RunState.COMPLETED, seconds=PATIENCE)
        wait_until(lambda: _speed(lab.service, run_id) == "measured", "its speed", PATIENCE)
    return run_id


def _speed(service: RunService, run_id: str) -> str:
    state: str = service.summary_document(run_id)["speed"]["state"]
    return state


@contextmanager
def server(workspace: Workspace, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server process; what it started is ended with it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.runs.lab_server", str(workspace.root), *arguments],
        cwd=ROOT,
        # One thread: then sums are added in one order, and equal means equal to the last bit.
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_run_killed_in_six_stages_and_left_by_its_server_ends_like_an_unbroken_one(
    lab: Lab, unbroken: str
) -> None:
    service = lab.service
    run_id = service.submit(lab.config)
    run_dir = service.run_dir(run_id)
    _set_kill(run_dir, FIRST_KILLS[0])
    with server(service.workspace, *DEADLY) as first:
        for kill, following in pairwise((*FIRST_KILLS, LATER_KILLS[0])):
            assert "SIGKILL" in _wait_for_death(service, run_id, kill)
            _set_kill(run_dir, following)
            service.act(run_id, Action.RESUME)
        wait_until(lambda: service.get(run_id).iteration == 2, "iteration 2", PATIENCE)
        first.send_signal(signal.SIGKILL)
        first.wait()
    worker = ProcessIdentity.read(run_dir / "worker.json")
    assert worker is not None
    assert worker.is_alive()
    with server(service.workspace, *DEADLY):
        # Not its child: the new server sees that the worker is gone, but not how.
        assert "not known" in _wait_for_death(service, run_id, LATER_KILLS[0])
        assert ProcessIdentity.read(run_dir / "worker.json") == worker  # it was adopted
        _set_kill(run_dir, LATER_KILLS[1])
        service.act(run_id, Action.RESUME)
        assert "SIGKILL" in _wait_for_death(service, run_id, LATER_KILLS[1])
        (run_dir / "kill.json").unlink()
        service.act(run_id, Action.RESUME)
        wait_for(service, run_id, RunState.COMPLETED, seconds=PATIENCE)
    _assert_same(service, run_id, unbroken)


def _wait_for_death(service: RunService, run_id: str, kill: tuple[str, int, int]) -> str:
    """Wait until the worker has died in its stage; returns the reason that the run gives."""
    wait_for(service, run_id, RunState.INTERRUPTED, RunState.COMPLETED, seconds=PATIENCE)
    last = EventLog(service.run_dir(run_id)).last("stage")
    assert last is not None
    assert (last["stage"], last["iteration"]) == kill[:2]
    return str(service.get(run_id).error)


def _set_kill(run_dir: Path, kill: tuple[str, int, int]) -> None:
    point = dict(zip(("stage", "iteration", "after"), kill, strict=True))
    write_json(run_dir / "kill.json", point)


def _assert_same(service: RunService, one: str, other: str) -> None:
    """Records without their seconds, every iteration's weights, and the history's order."""
    assert _records(service, one) == _records(service, other)
    for k in (0, 1, 2):
        ours, theirs = (
            _weights(service.run_dir(i) / "iterations" / str(k) / "model.pt") for i in (one, other)
        )
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert value.equal(theirs[name]), f"iteration {k}: {name}"
    for i in (one, other):
        seqs = [event["seq"] for event in EventLog(service.run_dir(i)).read()]
        assert seqs == list(range(1, len(seqs) + 1))


def _records(service: RunService, run_id: str) -> dict[str, Any]:
    final = service.final(run_id)
    baseline = service.baseline(run_id)
    assert final is not None
    assert baseline is not None
    return {
        "baseline": baseline.model_dump(exclude={"seconds"}),
        "iterations": [r.model_dump(exclude={"seconds"}) for r in service.iterations(run_id)],
        "epochs": [r.model_dump(exclude={"seconds"}) for r in service.epochs(run_id)],
        "final": final.model_dump(exclude={"model_id", "artifacts"}),
    }


def _weights(path: Path) -> dict[str, Any]:
    from msip_core.detector.checkpoints import load_model

    return dict(load_model(path).state_dict())


def test_the_finished_run_was_checked_and_timed_in_a_fresh_process(lab: Lab, unbroken: str) -> None:
    document = lab.service.summary_document(unbroken)
    assert document["baseline"]["latency_ms"] > 0
    assert document["final"]["latency_ms"] > 0
    way = document["latency_way"]
    assert (way["device"], way["format"], way["precision"]) == ("cpu", "pytorch", "fp32")
    assert document["final"]["macs_ratio"] == pytest.approx(0.6, abs=0.02)
    assert Path(document["artifacts"]["model"]).is_file()


def test_a_saved_model_that_was_changed_does_not_pass_the_check(
    lab: Lab, unbroken: str, tmp_path: Path
) -> None:
    from msip_core.detector.checkpoints import load_model, save_stock
    from msip_core.runs.verify import main

    workspace = Workspace.open(tmp_path)
    source = lab.service.workspace
    shutil.copytree(source.run_dir(unbroken), workspace.run_dir(unbroken))
    final = lab.service.final(unbroken)
    assert final is not None
    shutil.copytree(source.model_dir(final.model_id), workspace.model_dir(final.model_id))
    path = workspace.model_dir(final.model_id) / "model.pt"
    arguments = [str(workspace.run_dir(unbroken)), "--workspace", str(workspace.root)]
    assert main(arguments) == 0
    model = load_model(path)
    next(iter(model.parameters())).data.mul_(1.5)
    save_stock(model, path, imgsz=64)
    assert main(arguments) == 1
