"""The table of single layers: what is timed, what lies in between, and what is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from msip_core.config import LatencyFormat
from msip_core.detector.layer_times import LayerTimes, time_layers
from msip_core.errors import Stopped
from msip_core.groups.layers import Geometry, Layer
from msip_core.ways import PROCESSOR_FORMATS, Way

WIDE = Geometry(kernel=3, stride=1, side=8, inputs=64, outputs=128, narrow_in=True, narrow_out=True)
STEM = Geometry(kernel=3, stride=2, side=32, inputs=3, outputs=16, narrow_in=False, narrow_out=True)


class FakeTimer:
    """A layer takes a millisecond per input channel and a tenth per output channel."""

    def __init__(self, patience: int = 10**9) -> None:
        self.asked: list[Layer] = []
        self.patience = patience

    def __call__(self, layers: Sequence[Layer], tick) -> list[float]:
        tick(0.5)
        if len(self.asked) >= self.patience:
            raise Stopped("pause")
        self.asked += layers
        return [x.inputs + 0.1 * x.outputs for x in layers]


def table(cache: Path, timer: FakeTimer, format: LatencyFormat = "onnx") -> LayerTimes:
    return LayerTimes(cache, Way(format=format), timer)


def test_layers_are_timed_at_five_widths_in_steps_of_eight():
    inputs, outputs = WIDE.knots()

    assert inputs.tolist() == [8, 16, 32, 48, 64]
    assert outputs.tolist() == [16, 32, 64, 96, 128]
    assert len(WIDE.layers()) == 25
    assert [x.inputs for x in STEM.layers()] == [3, 3]  # the image keeps its colours
    assert [x.outputs for x in STEM.layers()] == [8, 16]


def test_times_between_the_knots_are_linear_and_without_outputs_there_are_none(tmp_path: Path):
    times = table(tmp_path, FakeTimer())
    times.measure([WIDE, STEM], lambda done: None)
    grid = times.grid(WIDE)

    found = grid.at(np.array([20.0, 64, 8, 4, 30]), np.array([40.0, 128, 16, 16, 0]))

    assert found == pytest.approx([20 + 4, 64 + 12.8, 8 + 1.6, 8 + 1.6, 0])
    assert times.grid(STEM).at(np.array([3.0]), np.array([12.0])) == pytest.approx(3 + 1.2)


def test_the_table_is_kept_and_a_stopped_measurement_goes_on(tmp_path: Path):
    first = FakeTimer(patience=20)
    shares: list[float] = []
    with pytest.raises(Stopped):
        table(tmp_path, first).measure([WIDE], shares.append)
    second = FakeTimer()
    again = table(tmp_path, second)

    again.measure([WIDE], shares.append)

    assert len(first.asked) == 20
    assert sorted(first.asked + second.asked) == sorted(WIDE.layers())
    assert again.lacks([WIDE]) == []
    assert table(tmp_path, FakeTimer()).times == again.times
    assert json.loads(again.path.read_text())
    assert all(0 <= share <= 1 for share in shares)


def test_another_format_has_its_own_table(tmp_path: Path):
    assert len({table(tmp_path, FakeTimer(), kind).path for kind in PROCESSOR_FORMATS}) == 3


@pytest.mark.parametrize("format", PROCESSOR_FORMATS)
def test_every_format_times_ordinary_and_depthwise_layers(format: LatencyFormat):
    layers = [
        Layer(3, 2, 8, inputs=3, outputs=8),
        Layer(1, 1, 8, inputs=16, outputs=8),
        Layer(3, 1, 8, inputs=8, outputs=8, depthwise=True),
    ]

    milliseconds = time_layers(layers, Way(format=format), lambda done: None)

    assert len(milliseconds) == 3
    assert all(ms > 0 for ms in milliseconds)
