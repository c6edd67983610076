"""A goal in milliseconds, on a clock that is not fooled and one that is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from torch import nn

from msip_core.config import PruneConfig, TrainingRecipe
from msip_core.detector.layer_times import LayerTimes
from msip_core.detector.library import DetectionModel
from msip_core.errors import GoalUnreachableError
from msip_core.groups.layers import Layer
from msip_core.pruning import loop
from msip_core.pruning.estimate import estimate
from msip_core.pruning.latency_goal import FAR, NEAR, ON_THE_WAY, LatencyGoal, cut_by_the_clock
from msip_core.pruning.loop import run
from msip_core.pruning.network import Network, open_network
from msip_core.pruning.preview import preview
from msip_core.ways import Latency, Way
from msip_core.workspace import Workspace
from tests.pruning.kit import Listener, after, config, cut_of

QUICK = {
    "method": "l1",
    "keep_latency": 0.6,
    "finetune": TrainingRecipe(epochs=0),
    "repair": "none",
    "limits": {"round_to": 1},
}


def layer_ms(layers: list[Layer], tick) -> list[float]:
    """What the table says: the weights alone."""
    tick(1.0)
    return [1e-3 * x.kernel**2 * x.inputs * x.outputs for x in layers]


class FakeClock:
    """Whole networks take a fixed time more than their layers, and the computer slows down by
    `drift` from one measurement to the next."""

    def __init__(self, drift: float = 1.0, fixed: float = 150.0) -> None:
        self.drift, self.fixed, self.now, self.asked = drift, fixed, 1.0, 0

    def __call__(self, models: Mapping[str, DetectionModel], imgsz: int, **settings):
        self.now *= self.drift
        self.asked += 1
        return [
            Latency(name, "onnx", 1, self.now * self.of(model), 0, 0, settings["runs"], 1)
            for name, model in models.items()
        ]

    def of(self, model: nn.Module) -> float:
        convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
        return self.fixed + sum(1e-3 * m.weight.numel() for m in convs)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock(drift=1.1)
    monkeypatch.setattr(loop, "LatencyGoal", partial(LatencyGoal, measure=clock, timer=layer_ms))
    return clock


def test_a_run_lands_on_the_milliseconds_that_are_measured(lab: Workspace, clock: FakeClock):
    """The table knows nothing of the fixed time: without measuring, the goal would be missed."""
    ctx = Listener(lab, "milliseconds")

    run(config(**QUICK), ctx)

    final, (first, last) = ctx.records[-1], ctx.iterations
    assert final.stopped_by is None
    assert final.goal_ratio == pytest.approx(0.6, rel=FAR)
    baseline = last.latency_ms / final.goal_ratio
    assert last.latency_ms == pytest.approx(0.6 * baseline, rel=NEAR)
    assert baseline > first.latency_ms > last.latency_ms
    assert clock.asked <= 6  # the first cut told what is fixed: the last needs no more than two
    assert last.latency_way == final.latency_way == Way()
    assert "Measuring single layers on this computer." in ctx.sentences


def test_netadapt_goes_down_in_milliseconds(lab: Workspace, clock: FakeClock):
    """Each step it accepts is faster than the one before, down to the goal; then it is measured."""
    ctx = Listener(lab, "netadapt-milliseconds")
    search = {"candidates": 1, "first_step": 0.08, "short_steps": 0, "recalibration": 4}

    run(config(**{**QUICK, "keep_latency": 0.8, "allocation": "netadapt", "search": search}), ctx)

    lines = (ctx.run_dir / "search" / "netadapt.jsonl").read_text().splitlines()
    steps = [json.loads(line)["resource"] for line in lines]
    baseline = json.loads((ctx.run_dir / "latency.json").read_text())["baseline_ms"]
    assert len(steps) > 2
    assert all(after < before for before, after in pairwise([baseline, *steps]))
    assert steps[-1] == pytest.approx(0.8 * baseline, rel=0.006)  # widths as they fall
    assert ctx.records[-1].goal_ratio == pytest.approx(0.8, rel=FAR)


def test_the_watch_tells_a_share_of_the_start_whatever_the_computer_does_since(
    lab: Workspace, network: Network
):
    clock = FakeClock(drift=1.5)
    watch = LatencyGoal(
        config(**QUICK),
        Listener(lab, "watch"),
        network.model,
        network.budget,
        measure=clock,
        timer=layer_ms,
    )
    smaller = after(network.model, cut_of(network, config(method="l1", keep_macs=0.6)))

    assert float(watch.meter(network.budget, network.budget.widths)) == pytest.approx(
        watch.baseline_ms
    )
    share = clock.of(smaller) / clock.of(network.model)
    assert watch(smaller) == pytest.approx(share * watch.baseline_ms)
    assert watch(smaller) == pytest.approx(share * watch.baseline_ms)
    again = LatencyGoal(
        config(**QUICK),
        Listener(lab, "watch"),
        network.model,
        network.budget,
        measure=clock,
        timer=None,
    )
    assert again.baseline_ms == watch.baseline_ms  # a resumed run asks for the same


def test_a_cut_measured_too_slow_is_made_anew_from_what_was_found():
    """A network takes a quarter more than the table says: asked for 80 ms, it takes 100."""

    class Table(NamedTuple):
        factor: float = 1.0

        def rescaled(self, factor: float) -> Table:
            return Table(self.factor * factor)

    def cut(table: Table):
        return 80 / table.factor, SimpleNamespace(count=80.0)  # the network, by the old table

    def measured(attempts: int) -> float:
        watch = lambda network: 1.25 * network  # noqa: E731
        return cut_by_the_clock(cut, Table(), watch, low=75, high=85, attempts=attempts)[2]

    assert measured(attempts=1) == pytest.approx(100)
    assert measured(attempts=ON_THE_WAY) == pytest.approx(80)


def test_milliseconds_out_of_reach_are_refused_before_any_training(
    lab: Workspace, clock: FakeClock
):
    ctx = Listener(lab, "too-fast")
    limits = {"round_to": 1, "max_removed_per_iteration": 0.1}

    with pytest.raises(GoalUnreachableError, match="of the milliseconds cannot be reached"):
        run(config(**{**QUICK, "limits": limits}), ctx)

    assert ctx.stages == []


def test_the_preview_counts_multiply_adds_as_long_as_no_layer_was_timed(lab: Workspace):
    found = preview(config(**QUICK, latency_format="pytorch"), lab, lambda *_: None)

    assert found.macs[1] / found.macs[0] == pytest.approx(0.6, rel=0.006)
    assert found.refused is None
    assert "counts multiply-adds" in found.note


def test_the_preview_adds_up_layers_that_this_computer_has_timed(lab: Workspace):
    network = open_network(lab, config().model, config().imgsz)
    geometries = network.budget.geometries()

    def by_area(layers: list[Layer], tick) -> list[float]:
        tick(1.0)
        return [1e-3 * layer.outputs * layer.side**2 for layer in layers]

    LayerTimes(lab.cache, Way(format="openvino"), by_area).measure(
        geometries.values(), lambda _: None
    )
    asked = {**QUICK, "latency_format": "openvino", "keep_latency": 0.8}

    found = preview(config(**asked), lab, lambda *_: None)

    kept = {layer.name: layer.after for layer in found.layers}
    after = before = 0.0
    for name, layer in geometries.items():
        fewest = int(layer.knots()[1][0])  # of the widths that are timed
        before += layer.side**2 * layer.outputs
        after += layer.side**2 * max(fewest, kept.get(name, layer.outputs))
    assert after / before == pytest.approx(0.8, abs=0.005)
    assert found.macs[1] / found.macs[0] < 0.7
    assert found.refused is None
    assert "milliseconds of single layers" in found.note
    limits = {"round_to": 1, "max_removed_per_iteration": 0.1}
    hard = config(**{**asked, "limits": limits})
    assert "of the milliseconds cannot be reached" in str(
        preview(hard, lab, lambda *_: None).refused
    )
    with pytest.raises(GoalUnreachableError, match="of the milliseconds cannot be reached"):
        estimate(hard, lab)


def test_a_run_has_one_goal_and_says_which():
    assert config(keep_macs=0.5).goal == ("macs", 0.5)
    assert config(keep_params=0.4).goal == ("params", 0.4)
    assert config(keep_latency=0.3).goal == ("latency", 0.3)
    with pytest.raises(ValueError, match="a run has one goal"):
        config(keep_params=0.4, keep_latency=0.3)
    old = {"dataset": "d", "model": "m", "keep_macs": 0.4}
    assert PruneConfig.model_validate(old).goal == ("macs", 0.4)
