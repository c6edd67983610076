"""New run: what speaks against a start, and what is offered instead."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from msip_core.config import PruneConfig
from msip_core.gpus import Gpu
from msip_core.processors import Processors
from msip_core.questions.planning import Estimate, Preview
from msip_core.runs.state import RunState
from msip_core.workspace import Workspace
from pages.kit.machine import Machine
from pages.new_run import starting as new_run_start
from pages.new_run.checks import starts_beside
from tests.pages.conftest import Open, no_crash
from tests.pages.fake_compute import FakeCompute
from tests.pages.lab_samples import add_model, changed, planned_cut, prune_run


def _answer(compute: FakeCompute, **changes: Any) -> None:
    """Let the preview find something else."""
    compute.answers = changed(Preview, **changes)


def _machine(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    usual = {"gpu": None, "cores": 2, "memory_free_gb": 8.0, "memory_gb": 16.0,
             "disk_free_gb": 50.0}  # fmt: skip
    machine = Machine(**{**usual, **changes})
    monkeypatch.setattr(new_run_start, "find_machine", lambda _: machine)


def test_a_goal_out_of_reach_is_refused_and_one_in_reach_offered(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    _answer(compute, refused="5.0% of the multiply-adds cannot be reached.", least=0.412)
    test = open_page("new")

    assert "cannot be reached" in test.error[0].value
    assert test.button("new:start").disabled
    assert compute.asked_of(Estimate) == []

    test.button("new:offer:0").click().run()
    assert test.slider("new:keep").value == 42


def test_too_little_memory_offers_the_batch_that_fits(
    full: str, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    _machine(monkeypatch, memory_free_gb=1.2)
    test = open_page("new")

    assert "8 images at a time do not fit: they need 1.3 GB of memory" in test.error[0].value
    assert test.button("new:start").disabled
    assert test.button("new:offer:0").label == "Take 4 at a time"

    test.button("new:offer:0").click().run()
    assert test.select_slider("new:batch").value == 4
    assert not test.error
    assert not test.button("new:start").disabled


def test_a_busy_computer_is_said_beside_the_expected_time(
    full: str, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    _machine(monkeypatch)
    assert not [one for one in open_page("new").info if "is busy" in one.value]

    _machine(monkeypatch, busy=Processors(2, busy=1.9).sentence())
    said = [one.value for one in open_page("new").info if "is busy" in one.value]

    assert said == [
        "The computer is busy: other work takes 1.9 of its 2 processor cores, so a run would get "
        "1 thread instead of 2 and take longer."
    ]


def test_a_run_that_fits_beside_others_on_a_gpu_is_not_told_to_wait(
    full: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PruneConfig(dataset="d", model="m", device="cuda:0", batch=8)
    found = planned_cut(0.5).model_copy(update={"memory_gb": {8: 10.0}})
    large = found.model_copy(update={"memory_gb": {8: 40.0}})
    working = [SimpleNamespace(state=RunState.RUNNING)]
    gpu = Gpu(0, "0", total_gb=80.0, free_gb=30.0)
    machine = Machine(gpu, 2, 8.0, 16.0, 50.0, (gpu,))

    assert starts_beside(config, found, machine, working)
    assert not starts_beside(config, large, machine, working)
    waiting = [*working, SimpleNamespace(state=RunState.QUEUED)]
    assert not starts_beside(config, found, machine, waiting)


def test_memory_for_no_batch_at_all_asks_for_smaller_images(
    full: str, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    _machine(monkeypatch, memory_free_gb=0.5)

    test = open_page("new")

    assert "Choose a smaller image size." in test.error[0].value


def test_a_full_disk_says_what_is_needed_and_what_is_free(
    full: str, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    _machine(monkeypatch, disk_free_gb=0.9)

    test = open_page("new")

    assert "the run needs 1.1 GB (of which 1.0 GB stay free), 0.9 GB are free" in (
        test.error[0].value
    )
    assert test.button("new:start").disabled


def test_a_busy_device_tells_the_place_and_refuses_nothing(
    workspace: Workspace, full: str, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    prune_run(workspace, RunState.RUNNING, steps=2)
    prune_run(workspace, RunState.QUEUED)
    # What is free now does not matter to a run that waits: it gets what the others give back.
    _machine(monkeypatch, memory_free_gb=0.1)

    test = open_page("new")

    assert "2 runs are before yours" in test.info[0].value
    assert "The one at work takes 3 min 20 s more." in test.info[0].value
    assert not test.button("new:start").disabled


def test_images_without_a_class_of_the_detector_are_refused(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    add_model(workspace, "wide", name="Wide", classes=("crypt", "no_crypt", "cyst"))

    test = open_page("new", model="wide")

    assert "The images have no box of cyst" in test.error[0].value
    assert test.button("new:start").disabled


def test_a_detector_of_other_classes_is_refused(
    workspace: Workspace, full: str, open_page: Open, compute: FakeCompute
) -> None:
    add_model(workspace, "other", name="Other", classes=("spheroid",))

    test = open_page("new", model="other")

    assert "The detector knows spheroid; the images have crypt, no" in test.error[0].value
    assert test.button("new:start").disabled
    assert compute.asked == []


def test_an_image_size_that_no_network_takes_is_refused(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    add_model(workspace, "odd", imgsz=250)

    test = open_page("new", model="odd")

    no_crash(test)
    assert "must be a multiple of 32 px. 256 px is the nearest" in test.error[0].value
    assert test.button("new:start").disabled
