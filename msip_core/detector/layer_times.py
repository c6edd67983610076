"""Milliseconds of single layers on this computer, from which those of any network are predicted.
In the way to run that a goal counts: device, format, precision, batch (msip_core.ways).

    t(network) ~ t(measured network) * sum of its layers' times / the same sum of the measured one

A layer is a convolution with its batch norm folded in and SiLU behind it. It is timed at few
widths (`groups.layers`) and linear in between. Sums of single layers are off by what layers share
(caches, fusion, threads), so whoever must land on a number measures the whole network again and
moves the scale (NetAdapt's table, closed).

The table is kept in the workspace's cache, for one computer or GPU, way, thread count and set of
library versions; a measurement that was stopped goes on where it was.
Source: Yang et al. 2018 (NetAdapt), arXiv:1804.03230.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from msip_core.detector.engines import hardware_of, ready_engine
from msip_core.detector.latency import Tick, interleaved, of_part
from msip_core.groups.layers import Geometry, Grid, Layer
from msip_core.processors import processor_name
from msip_core.ways import Way
from msip_core.workspace import write_json

_RUNS = 15  # timed forwards of each layer, after the warm-up
_AT_ONCE = 20  # layers between two writings of the table
_PACKAGES = {
    "pytorch": "torch",
    "cudagraph": "torch",
    "onnx": "onnxruntime",
    "openvino": "openvino",
}

Timer = Callable[[Sequence[Layer], Tick], Sequence[float]]


class LayerTimes:
    """The table.

    Args:
        cache: folder to keep it in.
        way: in which networks are timed.
        timer: times layers, in milliseconds; another one in tests.
    """

    def __init__(self, cache: Path, way: Way, timer: Timer | None = None) -> None:
        self.way = way.of_layers
        self.path = cache / f"layer-times-{_key(self.way)}.json"
        self._timer = timer or (lambda layers, tick: time_layers(layers, self.way, tick))
        self.times = self._stored()

    def _stored(self) -> dict[Layer, float]:
        if not self.path.is_file():
            return {}
        rows = json.loads(self.path.read_text(encoding="utf-8"))
        return {Layer(*row["layer"]): float(row["ms"]) for row in rows}

    def lacks(self, geometries: Iterable[Geometry]) -> list[Layer]:
        """Layers that were not timed yet."""
        wanted = dict.fromkeys(layer for g in geometries for layer in g.layers())
        return [layer for layer in wanted if layer not in self.times]

    def measure(
        self, geometries: Iterable[Geometry], tick: Tick, *, within: float = math.inf
    ) -> bool:
        """Time what is missing; `tick` is told the share that is done, and may raise to stop.

        Args:
            within: seconds; left where it is as soon as all of it would take longer.

        Returns:
            Whether all is there.
        """
        missing, began = self.lacks(geometries), time.monotonic()
        for start in range(0, len(missing), _AT_ONCE):
            if start and (time.monotonic() - began) * len(missing) / start > within:
                return False
            part = missing[start : start + _AT_ONCE]
            done, share = start / len(missing), len(part) / len(missing)
            found = self._timer(part, of_part(tick, done, share))
            # Another run may have timed layers meanwhile.
            self.times = self._stored() | self.times | dict(zip(part, found, strict=True))
            rows = [{"layer": list(layer), "ms": ms} for layer, ms in self.times.items()]
            write_json(self.path, rows)
        return True

    def grid(self, geometry: Geometry) -> Grid:
        """Times of one convolution at any width."""
        inputs, outputs = geometry.knots()
        values = [self.times[layer] for layer in geometry.layers()]
        return Grid(inputs, outputs, np.array(values).reshape(len(inputs), len(outputs)))


def time_layers(layers: Sequence[Layer], way: Way, tick: Tick) -> list[float]:
    """Median milliseconds of each layer, for one image, all that fit into memory in turn."""
    engine = ready_engine(way)
    found: list[float] = []
    for start in range(0, len(layers), engine.at_once):
        part = layers[start : start + engine.at_once]
        done, share = start / len(layers), len(part) / len(layers)
        ready = [engine.layer(layer) for layer in part]
        runners = dict(enumerate(one.run for one in ready))
        times = interleaved(runners, _RUNS, of_part(tick, done, share), engine.milliseconds)
        found += [
            float(np.median(times[n])) / (one.times * engine.way.batch)
            for n, one in enumerate(ready)
        ]
    return found


def _key(way: Way) -> str:
    facts: list[Any] = [
        platform.node(), platform.machine(), platform.processor(), processor_name(),
        os.cpu_count(),
        way.format, torch.get_num_threads(), version(_PACKAGES[way.format]),
    ]  # fmt: skip
    if way.batch > 1:
        facts.append(way.batch)
    if way.on_gpu:
        # Threads and cores of the processor change nothing there; alike GPUs share a table.
        cuda = [hardware_of(way.device), torch.version.cuda, torch.backends.cudnn.version()]
        facts = [platform.node(), way.format, way.precision, way.batch, torch.__version__, *cuda]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:20]
