"""How long a detector takes on this computer. Multiply-adds are not speed; this is measured."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from msip_core.detector.engines import Engine, OnnxRuntime, Run, engine_for, wall_milliseconds
from msip_core.detector.library import DetectionModel, threads_kept
from msip_core.errors import ConfigError
from msip_core.ways import Latency, Way

WARM_UP = 5
LEAST_RUNS = 10  # that tell a median and its interval
_RESAMPLES = 2000
K = TypeVar("K")
Tick = Callable[[float], None]
Clock = Callable[[Run], float]  # milliseconds of one call


def measure_latency(
    models: Mapping[str, DetectionModel],
    imgsz: int,
    ways: Sequence[Way],
    *,
    runs: int = 50,
    files: Mapping[str, Path] | None = None,
    sizes: Mapping[str, int] | None = None,
    tick: Tick | None = None,
    seconds: float | None = None,
    engine: Callable[[Way], Engine] = engine_for,
) -> list[Latency]:
    """Time the forward pass (decoding included, reading and NMS not).

    Every round runs each model in each way of a device once, in turning order, so that whatever
    else the computer does strikes all alike. Before that, WARM_UP rounds are not counted. All
    formats on the processor get torch's number of threads; ONNX Runtime's waiting threads sleep
    instead of spinning, which would slow whoever runs next. Devices are timed one after the other.

    Args:
        files: .onnx files that are there already (quantised ones), timed in the same rounds as
            the other models on the processor.
        sizes: image size of some models, where it is not `imgsz`.
        tick: called with the share done; may raise to stop.
        seconds: after which no further round begins on a device, once there are LEAST_RUNS; None
            never.
        engine: what runs and times a way; another in tests.

    Raises:
        ConfigError: one of the ways is not there on this computer.
    """
    engines = [engine(way) for way in ways]
    for one in engines:
        if why := one.missing():
            raise ConfigError(why)
    report = tick or (lambda _: None)
    side = dict.fromkeys([*models, *(files or {})], imgsz) | dict(sizes or {})
    devices = list(dict.fromkeys([*(e.way.device for e in engines), *(["cpu"] if files else [])]))
    found: list[Latency] = []
    with tempfile.TemporaryDirectory(prefix="latency-") as folder, threads_kept():
        for n, device in enumerate(devices):
            here = [one for one in engines if one.way.device == device]
            runners = _runners(models, side, here, Path(folder))
            if device == "cpu":
                runners |= _file_runners(files or {}, side)
            own = (here or [engine(Way())])[0]
            told = of_part(report, n / len(devices), 1 / len(devices))
            times = interleaved(runners, runs, told, own.milliseconds, seconds=seconds or math.inf)
            found += [_latency(*key, values, own.hardware) for key, values in times.items()]
    return found


def _runners(
    models: Mapping[str, DetectionModel],
    side: Mapping[str, int],
    engines: Sequence[Engine],
    folder: Path,
) -> dict[tuple[str, Way], Run]:
    return {
        (name, one.way): one.network(model, side[name], folder / f"{n}-{k}-{one.way.format}")
        for n, (name, model) in enumerate(models.items())
        for k, one in enumerate(engines)
    }


def _file_runners(files: Mapping[str, Path], side: Mapping[str, int]) -> dict[tuple[str, Way], Run]:
    way = Way("cpu", "onnx", "int8")
    engine = OnnxRuntime(way)
    return {(name, way): engine.file(path, side[name]) for name, path in files.items()}


def _latency(name: str, way: Way, values: NDArray[np.float64], hardware: str) -> Latency:
    each = values / way.batch
    return Latency(
        name, way.format, way.batch, *_median_interval(each), len(values),
        torch.get_num_threads(), tuple(each.tolist()), way.device, way.precision, hardware,
    )  # fmt: skip


def of_part(tick: Tick, done: float, share: float) -> Tick:
    """Progress of a part as progress of the whole."""
    return lambda part: tick(done + part * share)


def interleaved(
    runners: Mapping[K, Run],
    runs: int,
    report: Tick,
    clock: Clock = wall_milliseconds,
    *,
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
            milliseconds = clock(runners[key])
            if round_ >= 0:
                times[key][round_] = milliseconds
        report((round_ + WARM_UP + 1) / (runs + WARM_UP))
    return times


def _median_interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    draws = np.random.default_rng(0).choice(values, size=(_RESAMPLES, len(values)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return float(np.median(values)), float(low), float(high)
