"""What a detector costs, against the numbers of the papers and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from msip_core.detector import latency
from msip_core.detector.build import build_model
from msip_core.detector.cost import count_cost
from msip_core.detector.engines import ways_of
from msip_core.detector.latency import measure_latency
from msip_core.errors import ConfigError
from tests.detector.conftest import CLASSES, thin_model
from tests.fresh import run_fresh


def test_yolov8s_with_two_classes_at_640_costs_what_the_paper_says():
    cost = count_cost(build_model("yolov8s.yaml", CLASSES), 640)

    assert cost.macs / 1e9 == pytest.approx(14.273, abs=5e-4)
    assert cost.params / 1e6 == pytest.approx(11.136, abs=5e-4)
    assert cost.size_mb == pytest.approx(21.3, abs=0.3)  # the paper: 21.5 with the pickle around


def test_counting_leaves_the_model_alone():
    model = thin_model().train()
    model.model[-1].shape = "untouched"

    count_cost(model, 64)

    assert model.training
    assert model.model[-1].shape == "untouched"


def test_convolutions_scale_with_the_image_area():
    model = thin_model()

    assert count_cost(model, 128).macs == 4 * count_cost(model, 64).macs


def test_the_interval_of_the_median_holds_the_median_and_narrows_with_more_runs():
    rng = np.random.default_rng(0)
    few, many = rng.normal(10, 1, 10), rng.normal(10, 1, 1000)

    for values in (few, many):
        median, low, high = latency._median_interval(values)
        assert low <= median <= high
        assert median == np.median(values)
    widths = [np.subtract(*latency._median_interval(v)[:0:-1]) for v in (few, many)]
    assert widths[1] < widths[0] / 3


def test_models_and_formats_take_turns_in_changing_order():
    order: list[str] = []
    runners = {(name, "pytorch"): (lambda n=name: order.append(n)) for name in "abc"}

    times = latency.interleaved(runners, 3, lambda _: None)

    rounds = ["".join(order[i : i + 3]) for i in range(0, len(order), 3)]
    assert len(rounds) == latency.WARM_UP + 3
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert rounds[-3:] == ["abc", "bca", "cab"]
    assert all(values.shape == (3,) for values in times.values())


def test_timing_ends_when_its_time_is_up_but_not_before_there_is_a_median():
    calls: list[str] = []
    runners = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}

    short = latency.interleaved(runners, 50, lambda _: None, seconds=0.0)
    whole = latency.interleaved(runners, 50, lambda _: None, seconds=60.0)

    assert all(values.shape == (latency.LEAST_RUNS,) for values in short.values())
    assert all(values.shape == (50,) for values in whole.values())
    assert calls.count("a") == calls.count("b")


def test_every_format_is_timed_per_image_with_the_given_threads():
    progress: list[float] = []

    measured = measure_latency(
        {"baseline": thin_model()}, 64, ways_of("cpu", batches=2), runs=3, tick=progress.append
    )

    assert [m.format for m in measured] == ["pytorch", "onnx", "openvino"]
    assert all(0 < m.low_ms <= m.median_ms <= m.high_ms for m in measured)
    assert all((m.batch, m.runs, m.threads) == (2, 3, torch.get_num_threads()) for m in measured)
    assert progress[-1] == 1.0


def test_a_signal_after_timing_in_openvino_does_not_kill_the_process():
    code = (
        "import faulthandler, os, signal\n"
        "from msip_core.detector.engines import OpenVino\n"
        "from msip_core.groups.layers import Layer\n"
        "from msip_core.ways import Way\n"
        "faulthandler.enable()  # makes Python's handlers run on a stack of their own\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('asked to end'))\n"
        "engine = OpenVino(Way(format='openvino'))\n"
        "runners = [engine.layer(Layer(1, 1, 8, inputs=8, outputs=8)).run for _ in range(2)]\n"
        "runners[0]()\n"
        "while runners:\n"
        "    runners.pop(0)  # the first made is the first to go\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    )

    assert run_fresh(code).strip() == "asked to end"


def test_an_unknown_format_is_named():
    with pytest.raises(ConfigError, match="not in 'coreml'"):
        measure_latency({"a": thin_model()}, 64, ways_of("cpu", ["coreml"]))
