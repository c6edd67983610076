"""How long a detector takes on this computer. Multiply-adds are not speed; this is measured."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from msip_core.detector.c2f import to_stock
from msip_core.detector.export import check_format, export_module
from msip_core.detector.library import DetectionModel, threads_kept
from msip_core.errors import ConfigError

RuntimeFormat = Literal["pytorch", "onnx", "openvino"]
RUNTIMES: tuple[RuntimeFormat, ...] = ("pytorch", "onnx", "openvino")
WARM_UP = 5
_RESAMPLES = 2000
Run = Callable[[], Any]


class Latency(NamedTuple):
    """Milliseconds per image of one model in one format.

    Attributes:
        median_ms, low_ms, high_ms: the median and the 95 % bootstrap interval of that median.
        runs: timed forwards of `batch` images each.
        threads: processor threads that each format was given.
    """

    name: str
    format: str
    batch: int
    median_ms: float
    low_ms: float
    high_ms: float
    runs: int
    threads: int


def measure_latency(
    models: Mapping[str, DetectionModel],
    imgsz: int,
    *,
    batch: int = 1,
    runs: int = 50,
    formats: Sequence[str] = RUNTIMES,
    tick: Callable[[float], None] | None = None,
) -> list[Latency]:
    """Time the forward pass (decoding included, reading and NMS not) in fp32 on the CPU.

    Every round runs each model in each format once, in turning order, so that whatever else the
    computer does strikes all alike. Before that, WARM_UP rounds are not counted. All formats get
    torch's number of threads; ONNX Runtime's waiting threads sleep instead of spinning, which would
    slow whoever runs next.

    Args:
        tick: called with the share done; may raise to stop.
    """
    _check(formats)
    report = tick or (lambda _: None)
    image = np.random.default_rng(0).random((batch, 3, imgsz, imgsz), dtype=np.float32)
    with tempfile.TemporaryDirectory(prefix="latency-") as folder, threads_kept():
        runners = {
            (name, kind): _RUNNERS[kind](model, image, Path(folder) / f"{n}-{kind}")
            for n, (name, model) in enumerate(models.items())
            for kind in formats
        }
        times = _interleaved(runners, runs, report)
    threads = torch.get_num_threads()
    return [
        Latency(name, kind, batch, *_median_interval(values / batch), runs, threads)
        for (name, kind), values in times.items()
    ]


def faster(a: Latency, b: Latency) -> bool:
    """Whether `a` is faster than `b` beyond doubt: their intervals do not overlap."""
    return a.high_ms < b.low_ms


def _check(formats: Sequence[str]) -> None:
    for name in formats:
        if name not in RUNTIMES:
            raise ConfigError(f"Speed is measured in {', '.join(RUNTIMES)}, not in '{name}'.")
        if name != "pytorch":
            check_format(name)


def _interleaved(
    runners: dict[tuple[str, str], Run], runs: int, report: Callable[[float], None]
) -> dict[tuple[str, str], NDArray[np.float64]]:
    """Milliseconds of every timed run, per runner: (runs,)."""
    keys = list(runners)
    times = {key: np.zeros(runs) for key in keys}
    for round_ in range(-WARM_UP, runs):
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
    import onnxruntime as ort

    file = export_module(model, "onnx", path.with_suffix(".onnx"), image.shape[2],
                         batch=image.shape[0])  # fmt: skip
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: image}
    return lambda: session.run(None, feed)


def _openvino(model: DetectionModel, image: NDArray[np.float32], path: Path) -> Run:
    import openvino

    folder = export_module(model, "openvino", path.with_name(f"{path.name}_openvino_model"),
                           image.shape[2], batch=image.shape[0])  # fmt: skip
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",  # else bf16 where the processor has it
    }
    compiled = openvino.Core().compile_model(str(next(folder.glob("*.xml"))), "CPU", settings)
    request = compiled.create_infer_request()
    return lambda: request.infer([image])


_RUNNERS: dict[str, Callable[[DetectionModel, NDArray[np.float32], Path], Run]] = {
    "pytorch": _pytorch,
    "onnx": _onnx,
    "openvino": _openvino,
}
