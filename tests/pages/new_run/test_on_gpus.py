"""New run on a computer with a GPU: its milliseconds as the goal, what MACs predict."""

from __future__ import annotations

import pytest

from msip_core.config import PruneConfig
from msip_core.questions.planning import Outlook, Preview
from msip_core.runs.service import RunService
from msip_core.ways import Way
from msip_core.workspace import Workspace
from tests.pages.conftest import Open, no_crash, words
from tests.pages.fake_compute import FakeCompute
from tests.pages.lab_samples import changed


def test_with_a_gpu_its_milliseconds_may_be_the_goal(
    workspace: Workspace, full: str, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured where the run runs, as GPUs are used: half precision, many images."""
    one_gpu(monkeypatch)
    test = open_page("new")
    test.button_group("new:counts").set_value("latency").run()
    assert "on the GPU that the run gets" in words(test)
    test.selectbox("new:latency_batch").set_value(16).run()
    test.button("new:start").click().run()
    no_crash(test)
    config = RunService(workspace).list(limit=1)[0].config
    assert isinstance(config, PruneConfig)
    assert config.goal[0] == "latency"
    assert config.latency_way("cuda:0") == Way("cuda:0", "cudagraph", "fp16", 16)

    test = open_page("new")
    test.button_group("new:counts").set_value("latency").run()
    test.selectbox("new:device").set_value("cpu").run()
    assert "this run uses none" in words(test)
    test.button_group("new:latency_device").set_value("cpu").run()
    assert "this run uses none" not in words(test)


def test_a_goal_in_macs_says_beforehand_what_it_leaves_of_the_time_on_a_gpu(
    workspace: Workspace, full: str, open_page: Open, compute: FakeCompute
) -> None:
    way = Way("cuda:0", "cudagraph", "fp16", 32, "NVIDIA H200")
    compute.answers = changed(Preview, outlook=Outlook(way=way, before_ms=0.5, after_ms=0.4))
    said = words(open_page("new"))

    assert "predict little of the time" in said
    assert "80 %" in said
    assert "0.500 ms → 0.400 ms" in said
    assert "NVIDIA H200, fp16, batch 32" in said


def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("pages.kit.ways", "msip_core.runs.slots", "pages.kit.run_fields"):
        monkeypatch.setattr(f"{place}.gpu_count", lambda: 1)
