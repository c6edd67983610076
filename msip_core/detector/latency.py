"""How long a detector takes on this computer. Multiply-adds are not speed; this is measured."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from msip_core.config import LatencyFormat
from msip_core.detector.c2f import to_stock
from msip_core.detector.export import check_format, export_module
from msip_core.detector.library import DetectionModel, threads_kept
from msip_core.errors import ConfigError

RUNTIMES: tuple[LatencyFormat, ...] = get_args(LatencyFormat)
WARM_UP = 5
LEAST_RUNS = 10  # that tell a median and its interval
_RESAMPLES = 2000
Run = Callable[[], Any]
K = TypeVar("K")


class Latency(NamedTuple):
    """Milliseconds per image of one model in one format.

    Attributes:
        median_ms, low_ms, high_ms: the median and the 95 % bootstrap interval of that median.
        runs: timed forwards of `batch` images each.
        threads: processor threads that each format was given.
        rounds: milliseconds per image of every timed round; round n of all models was under the
            same load.
    """

    name: str
    format: str
    batch: int
    median_ms: float
    low_ms: float
    high_ms: float
    runs: int
    threads: int
    rounds: tuple[float, ...] = ()


def measure_latency(
    models: Mapping[str, DetectionModel],
    imgsz: int,
    *,
    batch: int = 1,
    runs: int = 50,
    formats: Sequence[str] = RUNTIMES,
    files: Mapping[str, Path] | None = None,
    sizes: Mapping[str, int] | None = None,
    tick: Callable[[float], None] | None = None,
    seconds: float = math.inf,
) -> list[Latency]:
    """Time the forward pass (decoding included, reading and NMS not) in fp32 on the CPU.

    Every round runs each model in each format once, in turning order, so that whatever else the
    computer does strikes all alike. Before that, WARM_UP rounds are not counted. All formats get
    torch's number of threads; ONNX Runtime's waiting threads sleep instead of spinning, which would
    slow whoever runs next.

    Args:
        files: .onnx files that are there already (quantised ones), timed in the same rounds.
        sizes: image size of some models, where it is not `imgsz`.
        tick: called with the share done; may raise to stop.
        seconds: after which no further round begins, once there are LEAST_RUNS.
    """
    _check(formats)
    report = tick or (lambda _: None)
    asked = dict.fromkeys([*models, *(files or {})], imgsz) | dict(sizes or {})
    images = {name: _image(batch, side) for name, side in asked.items()}
    with tempfile.TemporaryDirectory(prefix="latency-") as folder, threads_kept():
        runners = {
            (name, kind): _RUNNERS[kind](model, images[name], Path(folder) / f"{n}-{kind}")
            for n, (name, model) in enumerate(models.items())
            for kind in formats
        } | {
            (name, "onnx"): _onnx_run(str(path), images[name])
            for name, path in (files or {}).items()
        }
        times = interleaved(runners, runs, report, seconds)
    threads = torch.get_num_threads()
    return [
        Latency(
            name, kind, batch, *_median_interval(each), len(each), threads, tuple(each.tolist())
        )
        for (name, kind), values in times.items()
        for each in (values / batch,)
    ]


def faster(a: Latency, b: Latency) -> bool:
    """Whether `a` is faster than `b` beyond doubt: their intervals do not overlap."""
    return a.high_ms < b.low_ms


def _image(batch: int, side: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).random((batch, 3, side, side), dtype=np.float32)


def _check(formats: Sequence[str]) -> None:
    for name in formats:
        if name not in RUNTIMES:
            raise ConfigError(f"Speed is measured in {', '.join(RUNTIMES)}, not in '{name}'.")
        if name != "pytorch":
            check_format(name)


def interleaved(
    runners: Mapping[K, Run],
    runs: int,
    report: Callable[[float], None],
    seconds: float = math.inf,
) -> dict[K, NDArray[np.float64]]:
    """Milliseconds of every timed run, per runner: (runs,), all in turn; fewer runs, but LEAST_RUNS
    at least, where they would take longer than `seconds`."""
    keys, until = list(runners), math.inf
    times = {key: np.zeros(runs) for key in keys}
    for round_ in range(-WARM_UP, runs):
        if round_ == 0:
            until = time.perf_counter() + seconds
        if round_ >= LEAST_RUNS and time.perf_counter() > until:
            return {key: values[:round_] for key, values in times.items()}
        for step in range(len(keys)):
            key = keys[(round_ + step) % len(keys)]
            start = time.perf_counter()
            runners[key]()
            if round_ >= 0:
                times[key][round_] = (time.perf_counter() - start) * 1e3
        report((round_ + WARM_UP + 1) / (runs + WARM_UP))
    return times


def _median_interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    draws = np.random.default_rng(0).choice(values, size=(_RESAMPLES, len(values)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return float(np.median(values)), float(low), float(high)


# --- one runner per format: (model, image, path to write to) -> a call that runs once ---


def _pytorch(model: DetectionModel, image: NDArray[np.float32], _: Path) -> Run:
    twin = to_stock(model).cpu().float().eval().fuse(verbose=False)
    tensor = torch.from_numpy(image)

    def run() -> Any:
        with torch.inference_mode():
            return twin(tensor)

    return run


def _onnx(model: DetectionModel, image: NDArray[np.float32], path: Path) -> Run:
    file = export_module(model, "onnx", path.with_suffix(".onnx"), image.shape[2],
                         batch=image.shape[0])  # fmt: skip
    return _onnx_run(str(file), image)


def _openvino(model: DetectionModel, image: NDArray[np.float32], path: Path) -> Run:
    folder = export_module(model, "openvino", path.with_name(f"{path.name}_openvino_model"),
                           image.shape[2], batch=image.shape[0])  # fmt: skip
    return _openvino_run(str(next(folder.glob("*.xml"))), image)


def _onnx_run(model: str | bytes, image: NDArray[np.float32]) -> Run:
    session = onnx_session(model)
    feed = {session.get_inputs()[0].name: image}
    return lambda: session.run(None, feed)


def onnx_session(model: str | bytes) -> Any:
    """A session of ONNX Runtime on the CPU with torch's number of threads, which do not spin."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _openvino_run(model: str | bytes, image: NDArray[np.float32]) -> Run:
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",  # else bf16 where the processor has it
    }
    core = _openvino_core()
    compiled = core.compile_model(core.read_model(model), "CPU", settings)
    request = compiled.create_infer_request()
    return lambda: request.infer([image])


@cache
def _openvino_core() -> Any:
    """One for the life of the process.

    Its CPU plugin puts its own stack in the place where signal handlers run, and takes it away
    when the plugin goes. Of two, the first to go leaves the second's way back pointing at freed
    memory, and the next signal (SIGTERM, a child's end) kills the process (OpenVINO 2026.4).
    """
    import openvino

    return openvino.Core()


_RUNNERS: dict[str, Callable[[DetectionModel, NDArray[np.float32], Path], Run]] = {
    "pytorch": _pytorch,
    "onnx": _onnx,
    "openvino": _openvino,
}


# --- a runner of one layer: convolution, bias (the folded batch norm), SiLU ---


def layer_runner(
    format: LatencyFormat, image: NDArray[np.float32], outputs: int, *, kernel: int, stride: int,
    groups: int = 1,
) -> Run:  # fmt: skip
    """A call that runs one convolution with random weights on `image` (1, inputs, h, w)."""
    shape = (outputs, image.shape[1] // groups, kernel, kernel)
    rng = np.random.default_rng(1)
    weight = rng.standard_normal(shape, dtype=np.float32) / np.sqrt(np.prod(shape[1:]))
    bias = np.zeros(outputs, np.float32)
    if format == "pytorch":
        return _torch_layer(image, weight, bias, stride, groups)
    model = _onnx_layer(image.shape, weight, bias, stride, groups)
    return _onnx_run(model, image) if format == "onnx" else _openvino_run(model, image)


def _torch_layer(
    image: NDArray[np.float32], weight: NDArray[Any], bias: NDArray[Any], stride: int, groups: int
) -> Run:
    from torch.nn.functional import conv2d, silu

    x, w, b = (torch.from_numpy(np.asarray(a, np.float32)) for a in (image, weight, bias))
    pad = weight.shape[2] // 2

    def run() -> Any:
        with torch.inference_mode():
            return silu(conv2d(x, w, b, stride, pad, groups=groups), inplace=True)

    return run


def _onnx_layer(
    shape: tuple[int, ...], weight: NDArray[Any], bias: NDArray[Any], stride: int, groups: int
) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    kernel, pad = weight.shape[2], weight.shape[2] // 2
    nodes = [
        helper.make_node(
            "Conv", ["x", "w", "b"], ["y"], kernel_shape=[kernel] * 2, strides=[stride] * 2,
            pads=[pad] * 4, group=groups,
        ),
        helper.make_node("Sigmoid", ["y"], ["s"]),
        helper.make_node("Mul", ["y", "s"], ["z"]),
    ]  # fmt: skip
    values = {"w": np.asarray(weight, np.float32), "b": bias}
    known = [numpy_helper.from_array(value, name) for name, value in values.items()]
    floats = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "layer", [helper.make_tensor_value_info("x", floats, list(shape))],
        [helper.make_tensor_value_info("z", floats, None)], known,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    found: bytes = model.SerializeToString()
    return found
