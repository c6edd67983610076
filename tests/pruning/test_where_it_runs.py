"""A goal in milliseconds of a GPU: found, cut and reached in the way that it was asked in."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest

from msip_core.config import TrainingRecipe
from msip_core.detector.build import build_model, register_model
from msip_core.detector.checkpoints import load_model
from msip_core.detector.latency import measure_latency
from msip_core.pruning import loop
from msip_core.pruning.loop import run
from msip_core.pruning.stopwatch import FAR, FILE, Stopwatch
from msip_core.ways import Way
from msip_core.workspace import Workspace
from tests.made_up_gpu import MadeUpGpu
from tests.pruning.kit import DATASET, IMGSZ, Listener, config

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

    model = build_model("yolov8n.yaml", open_dataset(lab, DATASET).classes)
    register_model(
        lab, model, name=NARROW, kind="baseline", imgsz=IMGSZ, model_id=NARROW, dataset=DATASET
    )
    return lab


def on(gpu: MadeUpGpu, monkeypatch: pytest.MonkeyPatch, way: Way = WAY) -> None:
    measure = partial(measure_latency, engine=gpu.engine)
    watch = partial(Stopwatch, measure=measure, timer=gpu.timer(way))
    monkeypatch.setattr(loop, "Stopwatch", watch)


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
    stored = json.loads((ctx.run_dir / FILE).read_text())
    assert last.latency_ms == pytest.approx(keep * stored["baseline_ms"], rel=FAR)
    assert Way.of(stored) == last.latency_way == final.latency_way == way
    assert final.latency_way.hardware == stored["hardware"] == "Made-up GPU"
    before, after = (
        gpu.network_ms(load_model(wide_lab.model_dir(name) / "model.pt"), IMGSZ, way)
        for name in (NARROW, final.model_id)
    )
    assert after / before == pytest.approx(keep, rel=FAR)
    assert abs(last.macs_ratio - keep) > 0.05
