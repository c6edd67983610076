"""The ways to run a network: which are there, what each measures, and what a stored number says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from msip_core.config import PruneConfig, parse_run_config
from msip_core.detector import cuda_timing, engines
from msip_core.detector.engines import Eager, OnnxRuntime, engine_for, onnx_file, ways_of
from msip_core.detector.latency import measure_latency
from msip_core.detector.layer_times import LayerTimes, time_layers
from msip_core.detector.library import DetectionModel
from msip_core.detector.speed_job import asked_ways
from msip_core.errors import ConfigError
from msip_core.groups.layers import Layer
from msip_core.ways import Way, busy_way
from tests.detector.conftest import thin_model
from tests.made_up_gpu import MadeUpGpu

GPU = Way("cuda:0", "cudagraph", "fp16", 32)
RUN = {"kind": "prune", "dataset": "d", "model": "m", "keep_latency": 0.5}


@pytest.fixture(scope="module")
def model() -> DetectionModel:
    return thin_model()


# --- which are there ------------------------------------------------------------------


def test_a_gpu_has_sixteen_ways_and_the_processor_three() -> None:
    gpu = ways_of("cuda:0")

    assert len(set(gpu)) == 16
    assert {(w.precision, w.batch) for w in gpu} == {
        ("fp32", 1),
        ("fp16", 1),
        ("fp32", 32),
        ("fp16", 32),
    }
    assert [w.format for w in ways_of("cpu")] == ["pytorch", "onnx", "openvino"]
    assert ways_of("cuda:1", ["onnx"], ["fp16"], [8]) == [Way("cuda:1", "onnx", "fp16", 8)]


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (Way(precision="fp16"), "a processor only imitates it"),
        (Way(format="cudagraph"), "NVIDIA GPUs alone"),
        (Way("cuda:0", "openvino"), "OpenVINO runs on the processor"),
        (Way("cuda:0", "pytorch"), "torch finds none on this computer"),
    ],
)
def test_each_way_says_what_it_lacks(way: Way, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert said in str(engine_for(way).missing())
    with pytest.raises(ConfigError, match=said):
        measure_latency({}, 64, ways=[way])


def test_with_a_gpu_each_package_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    missing = {way.format: engine_for(way).missing() for way in ways_of("cuda:0")}

    assert missing["pytorch"] is missing["cudagraph"] is None
    assert "pip install onnxruntime-gpu" in missing["onnx"]
    assert "pip install tensorrt" in missing["tensorrt"]
    assert "There is no GPU 'cuda:3'" in str(engine_for(Way("cuda:3", "pytorch")).missing())
    ways, left = asked_ways("all")
    assert [w.format for w in ways if not w.on_gpu] == ["pytorch", "onnx", "openvino"]
    assert {w.format for w in ways if w.on_gpu} == {"pytorch", "cudagraph"}
    assert {one.format for one in left} == {"onnx", "tensorrt"}
    with pytest.raises(ConfigError, match="onnxruntime-gpu"):
        asked_ways("cuda:0", ["onnx"])


# --- what is measured ----------------------------------------------------------------


def test_a_made_up_gpu_is_measured_as_its_times_are_known(model: DetectionModel) -> None:
    """By its own clock, per image, beside the processor, every number with its way."""
    gpu, ways = MadeUpGpu(), [Way("cuda:0", "pytorch"), GPU]

    found = measure_latency({"m": model}, 64, runs=3, ways=ways, engine=gpu.engine)

    assert [one.way for one in found] == ways
    for one in found:
        assert one.median_ms == pytest.approx(gpu.network_ms(model, 64, one.way))
        assert one.low_ms == one.high_ms == pytest.approx(one.median_ms)
        assert one.hardware == "Made-up GPU"
    assert found[1].median_ms < found[0].median_ms


def test_devices_are_timed_one_after_the_other_and_files_on_the_processor(
    model: DetectionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu, shares = MadeUpGpu(), []
    monkeypatch.setattr(OnnxRuntime, "file", lambda self, path, side: lambda: None)

    found = measure_latency(
        {"m": model}, 64, runs=2, ways=[GPU], files={"small": Path("int8.onnx")},
        tick=shares.append, engine=lambda way: gpu.engine(way) if way.on_gpu else engine_for(way),
    )  # fmt: skip

    assert [(one.name, one.device, one.precision) for one in found] == [
        ("m", "cuda:0", "fp16"),
        ("small", "cpu", "int8"),
    ]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_layers_are_told_for_one_image_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, layer = MadeUpGpu(), Layer(3, 1, 8, inputs=64, outputs=96)
    monkeypatch.setattr("msip_core.detector.layer_times.ready_engine", gpu.engine)

    (milliseconds,) = time_layers([layer], GPU, lambda _: None)

    assert milliseconds == pytest.approx(gpu.layer_ms(layer, GPU))


def test_every_way_has_a_table_of_its_own_and_exporters_share_that_of_torch(tmp_path: Path) -> None:
    ways = [
        Way(),
        Way(batch=8),
        GPU,
        Way("cuda:0", "cudagraph", "fp32", 32),
        Way("cuda:0", "pytorch"),
    ]
    shared = [Way("cuda:0", form, "fp16", 32) for form in ("onnx", "tensorrt")]

    assert len({LayerTimes(tmp_path, way).path for way in ways}) == len(ways)
    assert {LayerTimes(tmp_path, way).path for way in shared} == {LayerTimes(tmp_path, GPU).path}
    assert LayerTimes(tmp_path, Way(format="onnx")).path == LayerTimes(tmp_path, Way()).path


def test_a_table_that_would_take_too_long_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.detector.test_layer_times import WIDE, FakeTimer

    seconds = iter(range(0, 1000, 10))
    monkeypatch.setattr("msip_core.detector.layer_times.time.monotonic", lambda: next(seconds))
    table = LayerTimes(tmp_path, GPU, FakeTimer())

    assert not table.measure([WIDE], lambda _: None, within=11)  # 20 of 25 layers took 10 s
    assert len(table.times) == 20
    assert table.measure([WIDE], lambda _: None, within=11)
    assert table.lacks([WIDE]) == []


# --- the code of a GPU, on the processor -------------------------------------------------


class HalfOnTheProcessor(Eager):
    """What a GPU would compute, computed here."""

    torch_device = "cpu"


def test_half_precision_gives_the_same_boxes_and_layers_are_repeated(model: DetectionModel) -> None:
    whole = Eager(Way(format="pytorch")).network(model, 64, Path("x"))()[0]
    engine = HalfOnTheProcessor(Way("cuda:0", "pytorch", "fp16", 1))

    half = engine.network(model, 64, Path("x"))()[0]

    assert half.dtype is torch.float16
    assert float((half.float() - whole).abs().max()) < 0.02 * float(whole.abs().max())
    small, large = (Layer(1, 1, side, inputs=8, outputs=8) for side in (4, 4096))
    assert engine._repeats(small) == 32  # most
    assert engine._repeats(large) == 1
    run, times = engine.layer(small)
    assert (times, run().shape, run().dtype) == (32, (1, 8, 4, 4), torch.float16)


def test_a_graph_is_the_same_work_recorded_and_timed_on_the_gpu(
    model: DetectionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def recorded(run, device):
        said.append(f"recorded on {device}")
        return run

    monkeypatch.setattr(cuda_timing, "recorded", recorded)
    monkeypatch.setattr(cuda_timing, "gpu_milliseconds", lambda run, device: (run(), 7.0)[1])
    monkeypatch.setattr(engines.Recorded, "torch_device", "cpu")
    engine = engine_for(Way("cuda:0", "cudagraph"))

    run = engine.network(model, 64, Path("x"))
    layer = engine.layer(Layer(3, 2, 8, inputs=3, outputs=8))

    assert said == ["recorded on cuda:0"] * 2
    assert engine.milliseconds(run) == engine.milliseconds(layer.run) == 7.0


def test_an_onnx_file_in_half_precision_takes_and_gives_half_numbers(
    model: DetectionModel, tmp_path: Path
) -> None:
    way = Way("cuda:0", "onnx", "fp16", 1)
    whole = OnnxRuntime(Way()).network(model, 64, tmp_path / "whole")()[0]

    path = onnx_file(model, 64, tmp_path / "half", way)
    half = OnnxRuntime(Way()).file(path, 64)()[0]

    assert half.dtype == np.float16
    assert np.abs(half.astype(np.float32) - whole).max() < 0.02 * np.abs(whole).max()


# --- what is stored and asked for -------------------------------------------------------


def test_a_number_from_before_ways_were_recorded_is_the_processors() -> None:
    old = {"name": "baseline", "format": "openvino", "batch": 8, "median_ms": 1.0}

    assert Way.of(old) == Way("cpu", "openvino", "fp32", 8)
    assert Way.of(GPU.as_dict()) == GPU


def test_old_settings_mean_the_processor_and_auto_means_where_the_run_runs() -> None:
    def config(**more) -> PruneConfig:
        return parse_run_config({**RUN, **more})

    assert config().latency_way("cuda:0") == config().latency_way("cpu") == Way()
    auto = config(latency_device="auto", latency_precision="fp16", latency_batch=32)
    assert auto.latency_way("cuda:2") == Way("cuda:2", "cudagraph", "fp16", 32)
    assert config(latency_device="auto").latency_way("cpu") == Way()
    eager = config(latency_device="cuda", latency_format="pytorch")
    assert eager.latency_way("cuda:1") == Way("cuda:1", "pytorch")
    assert parse_run_config(auto.model_dump(mode="json")) == auto
    assert busy_way("cuda:0") == GPU


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"latency_device": "tpu"}, "not on 'tpu'"),
        ({"latency_precision": "fp16"}, "a processor only imitates it"),
        ({"latency_format": "tensorrt"}, "NVIDIA GPUs alone"),
        (
            {"latency_device": "cuda", "latency_format": "openvino"},
            "OpenVINO runs on the processor",
        ),
        ({"latency_device": "cuda:1", "device": "cuda:0"}, "where the run runs, on 'cuda:0'"),
        ({"latency_device": "cuda", "device": "cpu"}, "where the run runs, on 'cpu'"),
        ({"latency_batch": 0}, "must be at least 1"),
    ],
)
def test_a_way_that_there_is_not_is_one_sentence(more: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_run_config({**RUN, **more})
