"""A goal in milliseconds of a GPU: found, cut and reached in the way that it was asked in."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from msip_core.config import TrainingRecipe
from msip_core.detector.build import build_model, register_model
from msip_core.detector.checkpoints import load_model
from msip_core.detector.latency import measure_latency
from msip_core.errors import ConfigError
from msip_core.pruning import loop
from msip_core.pruning.latency_goal import ATTEMPTS, FAR, NEAR, LatencyGoal, cut_by_the_clock
from msip_core.pruning.loop import run
from msip_core.pruning.multiples import settled
from msip_core.pruning.network import Network
from msip_core.pruning.outlook import outlook, outlook_sentence
from msip_core.questions.planning import Outlook
from msip_core.ways import RUN_FILE, Way, busy_way
from msip_core.workspace import Workspace
from tests.made_up_gpu import MadeUpGpu
from tests.pruning.kit import DATASET, IMGSZ, Listener, config, network_of

NARROW = "narrow"
WAY = Way("cuda", "cudagraph", "fp16", 32)
ASKED = {
    "model": NARROW, "device": "auto", "method": "l1", "keep_latency": 0.5,
    "latency_device": "cuda", "latency_precision": "fp16", "latency_batch": 32,
    "finetune": TrainingRecipe(epochs=0), "repair": "none", "iterations": 1,
    "limits": {"round_to": "auto", "cost": "latency", "max_removed_per_iteration": 0.84},
}  # fmt: skip


@pytest.fixture(scope="module")
def wide_lab(lab: Workspace) -> Workspace:
    """With YOLOv8n: a thin network has no layer of two tiles."""
    from msip_core.data.dataset import open_dataset

    dataset = open_dataset(lab, DATASET)
    model = build_model("yolov8n.yaml", dataset.classes)
    register_model(
        lab, model, name=NARROW, kind="baseline", imgsz=IMGSZ, model_id=NARROW, dataset=dataset
    )
    return lab


def on(gpu: MadeUpGpu, monkeypatch: pytest.MonkeyPatch, way: Way = WAY) -> None:
    measure = partial(measure_latency, engine=gpu.engine)
    watch = partial(LatencyGoal, measure=measure, timer=gpu.timer(way))
    monkeypatch.setattr(loop, "LatencyGoal", watch)


@pytest.mark.parametrize(("tile", "keep"), [(8, 0.5), (32, 0.75)])
def test_half_the_milliseconds_of_a_gpu_are_reached_in_the_multiple_of_its_tiles(
    wide_lab: Workspace, monkeypatch: pytest.MonkeyPatch, tile: int, keep: float
) -> None:
    """A fifth of its time is fixed and the early layers wait for their maps: MACs would miss."""
    gpu, way = MadeUpGpu(tile=tile), replace(WAY, batch=tile)  # each with a table of its own
    on(gpu, monkeypatch, way)
    ctx = Listener(wide_lab, f"tiles-{tile}")

    run(config(**ASKED | {"latency_batch": tile, "keep_latency": keep}), ctx)

    final, last = ctx.records[-1], ctx.iterations[-1]
    assert final.goal_ratio == pytest.approx(keep, rel=FAR)
    assert final.stopped_by is None
    assert final.channel_multiple == tile
    assert set(json.loads((ctx.run_dir / "multiple.json").read_text())["ms_per_gmac"]) >= {"8"}
    stored = json.loads((ctx.run_dir / RUN_FILE).read_text())
    assert last.latency_ms == pytest.approx(keep * stored["baseline_ms"], rel=FAR)
    assert Way.of(stored) == last.latency_way == final.latency_way == way
    assert final.latency_way.hardware == stored["hardware"] == "Made-up GPU"
    before, after = (
        gpu.network_ms(load_model(wide_lab.model_dir(name) / "model.pt"), IMGSZ, way)
        for name in (NARROW, final.model_id)
    )
    assert after / before == pytest.approx(keep, rel=FAR)
    assert abs(last.macs_ratio - keep) > 0.05


def test_a_run_goes_on_in_the_way_it_began_in_or_says_where_it_can(
    lab: Workspace, network: Network
) -> None:
    """Begun on a GPU, it does not go on in milliseconds of a processor."""
    gpu = MadeUpGpu()
    measure = partial(measure_latency, engine=gpu.engine)
    asked = config(keep_latency=0.5, device="auto", latency_device="auto")

    def watch(device: str) -> LatencyGoal:
        return LatencyGoal(
            asked, Listener(lab, "moved"), network.model, network.budget, device=device,
            measure=measure, timer=gpu.timer(Way("cuda:0", "cudagraph")),
        )  # fmt: skip

    first, again = watch("cuda:0"), watch("cuda:1")

    assert first.way == Way("cuda:0", "cudagraph")
    assert again.way == Way("cuda:1", "cudagraph")
    assert again.baseline_ms == first.baseline_ms
    with pytest.raises(ConfigError, match=r"on a GPU \(Made-up GPU\) and goes on only where"):
        watch("cpu")


def test_two_measured_networks_tell_what_no_width_changes(lab: Workspace, network: Network) -> None:
    """Three quarters of the time are fixed: the table in proportion would promise a third."""
    gpu, way = MadeUpGpu(tile=1, fixed=4.0), Way("cuda:0", "cudagraph", "fp32", 4)
    asked = config(
        keep_latency=0.5,
        device="auto",
        latency_device="auto",
        latency_batch=4,
        limits={"round_to": 8},
    )
    watch = LatencyGoal(
        asked, Listener(lab, "fixed"), network.model, network.budget, device="cuda:0",
        measure=partial(measure_latency, engine=gpu.engine), timer=gpu.timer(way),
    )  # fmt: skip
    least = network.budget.widths // 4
    before = float(watch.meter(network.budget, least)) / watch.baseline_ms

    assert settled(asked, Listener(lab, "fixed"), network.model, network.budget, watch) == asked

    after = float(watch.meter(network.budget, least)) / watch.baseline_ms
    assert watch.has_learned
    assert watch.meter.fixed == pytest.approx(4.0, rel=0.35)  # the table is linear in between
    assert after > before + 0.2
    again = LatencyGoal(
        asked, Listener(lab, "fixed"), network.model, network.budget, device="cuda:0",
        measure=partial(measure_latency, engine=gpu.engine), timer=gpu.timer(way),
    )  # fmt: skip
    assert again.meter.fixed == watch.meter.fixed
    hopeful = float(watch.meter.hopeful()(network.budget, least)) / watch.baseline_ms
    assert before < hopeful < after


@pytest.mark.parametrize("fixed", [0.0, 20.0, 35.0])
def test_the_clock_finds_its_goal_however_much_is_fixed(fixed: float) -> None:
    """In proportion alone, 35 ms of 50 being fixed, four attempts would end 8 % above."""

    class Table(NamedTuple):
        factor: float = 1.0

        def rescaled(self, factor: float) -> Table:
            return Table(self.factor * factor)

    def cut(table: Table):
        count = 50 / table.factor
        return count, SimpleNamespace(count=count * table.factor)

    tried: list[float] = []

    def watch(count: float) -> float:
        tried.append(fixed + (100 - fixed) * count / 100)
        return tried[-1]

    found = cut_by_the_clock(
        cut, Table(), watch, low=50, high=50, attempts=ATTEMPTS, before=(100.0, 100.0)
    )

    assert found[2] == pytest.approx(50, rel=NEAR)
    assert len(tried) <= 3


@pytest.mark.parametrize(("goal", "device"), [("keep_macs", "cuda:0"), ("keep_params", "cuda:0")])
def test_before_a_run_by_macs_its_milliseconds_on_the_gpu_are_told(
    lab: Workspace, network: Network, goal: str, device: str
) -> None:
    gpu, budget = MadeUpGpu(tile=32), network.budget
    asked, half = config(**{goal: 0.5}), budget.widths // 2

    found = outlook(
        asked, lab, device, budget, lambda: (budget, half), timer=gpu.timer(busy_way(device))
    )

    assert found is not None
    assert found.way == busy_way(device)
    assert 0.5 < found.share <= 1  # of a thin network, all layers are one tile wide
    assert f"{found.share:.0%}" in outlook_sentence(found)
    assert "multiply-adds predict little" in outlook_sentence(found)


def test_nothing_is_told_of_a_gpu_that_is_not_there_or_already_counted(
    lab: Workspace, network: Network
) -> None:
    budget = network.budget

    def told(device: str, **goal: Any) -> Outlook | None:
        other = network_of(network.model, 96).budget  # of which no layer was timed
        return outlook(config(**goal), lab, device, other, lambda: (budget, budget.widths))

    assert told("cpu", keep_macs=0.5) is None
    assert told("cuda:0", keep_latency=0.5) is None
    unknown = told("cuda:0", keep_macs=0.5)
    assert unknown is not None
    assert unknown.share is None
    assert outlook_sentence(unknown).startswith(
        "On a GPU multiply-adds predict little of the time."
    )
    assert outlook_sentence(None) == ""
