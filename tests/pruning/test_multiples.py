"""The multiple that channels are left in, found on clocks with and without blocks of 16."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from msip_core.pruning import loop
from msip_core.pruning.latency_goal import LatencyGoal
from msip_core.pruning.loop import run
from msip_core.pruning.multiples import choose
from msip_core.pruning.progress import plan
from msip_core.steps import MULTIPLE, Step
from msip_core.workspace import Workspace
from tests.pruning.kit import IMGSZ, Listener, config
from tests.pruning.test_milliseconds import QUICK, FakeClock, layer_ms

AUTO = {**QUICK, "limits": {"round_to": "auto"}}


class BlockClock(FakeClock):
    """A computer that works on `block` channels at a time: a map that fills one in part takes it
    whole."""

    def __init__(self, block: int) -> None:
        super().__init__(fixed=0.0)
        self.block = block

    def of(self, model: nn.Module) -> float:
        times: list[float] = []

        def timed(conv: nn.Conv2d, _: object, out: torch.Tensor) -> None:
            channels = self._whole(conv.in_channels) * self._whole(conv.out_channels)
            times.append(1e-6 * conv.kernel_size[0] ** 2 * channels * out[0, 0].numel())

        hooks = [
            m.register_forward_hook(timed) for m in model.modules() if isinstance(m, nn.Conv2d)
        ]
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, IMGSZ, IMGSZ))
        for hook in hooks:
            hook.remove()
        return sum(times)

    def _whole(self, channels: int) -> int:
        return -(-channels // self.block) * self.block


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ({8: 1.00, 16: 0.90}, 16),
        ({8: 1.00, 16: 0.97}, 16),
        ({8: 1.00, 16: 0.99}, 8),  # within what a clock can tell
        ({8: 1.00, 16: 1.20}, 8),
    ],
)
def test_the_finest_multiple_that_is_not_clearly_slower_is_taken(
    times: dict[int, float], chosen: int
) -> None:
    assert choose(times) == chosen


@pytest.mark.parametrize(("block", "multiple"), [(16, 16), (1, 8)])
def test_a_run_takes_the_multiple_that_its_computer_is_fast_with(
    lab: Workspace, monkeypatch: pytest.MonkeyPatch, block: int, multiple: int
) -> None:
    clock = BlockClock(block)
    monkeypatch.setattr(loop, "LatencyGoal", partial(LatencyGoal, measure=clock, timer=layer_ms))
    ctx = Listener(lab, f"multiples-{block}")

    run(config(**AUTO), ctx)

    final = ctx.records[-1]
    assert final.channel_multiple == multiple
    assert any(f"Channels are left in multiples of {multiple}" in text for text in ctx.sentences)
    found = json.loads((ctx.run_dir / "multiple.json").read_text())
    assert found["multiple"] == multiple
    lost = [
        change.after
        for record in ctx.iterations
        for change in record.layers
        if change.after < change.before
    ]
    assert lost
    assert all(width % multiple == 0 for width in lost)
    done = [record.done for record in ctx.progress]
    assert done == sorted(done)
    assert done[-1] == 1


def test_timing_two_multiples_is_part_of_what_a_run_expects_to_do() -> None:
    counts = {"train": 40, "val": 20, "test": 20, "calibration": 16}

    def steps(**settings: Any) -> list[Step]:
        return [part.step for part in plan(config(**settings), **counts)]

    assert MULTIPLE in steps(**AUTO)
    assert MULTIPLE not in steps(**QUICK)  # a number was asked for
    assert MULTIPLE not in steps(**{**AUTO, "keep_latency": None, "keep_macs": 0.5})


def test_a_resumed_run_keeps_what_was_measured_and_a_number_is_not_measured(
    lab: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = BlockClock(16)
    monkeypatch.setattr(loop, "LatencyGoal", partial(LatencyGoal, measure=slow, timer=layer_ms))
    ctx = Listener(lab, "multiples-resumed")
    (ctx.run_dir / "multiple.json").write_text('{"multiple": 8, "ms_per_gmac": {}}')

    run(config(**AUTO), ctx)

    assert ctx.records[-1].channel_multiple == 8
    assert not any("multiples" in text for text in ctx.sentences)

    asked = Listener(lab, "multiples-asked")
    run(config(**{**AUTO, "limits": {"round_to": 4}}), asked)
    assert asked.records[-1].channel_multiple == 4
    assert not (asked.run_dir / "multiple.json").exists()


def test_a_goal_in_multiply_adds_means_8(lab: Workspace) -> None:
    ctx = Listener(lab, "multiples-macs")
    settings = {key: value for key, value in AUTO.items() if key != "keep_latency"}
    run(config(**settings, keep_macs=0.6), ctx)
    assert ctx.records[-1].channel_multiple == 8
    assert not (ctx.run_dir / "multiple.json").exists()
