"""A GPU whose times are a known function of widths: tiles of channels, and maps that must be moved.

t(layer) = start + max(multiply-adds of whole tiles / speed, bytes / bandwidth)
t(network) = fixed + sum of its layers
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from msip_core.detector.engines import Engine, Repeated
from msip_core.detector.library import DetectionModel
from msip_core.groups.layers import Layer
from msip_core.ways import Way

_BYTES = {"fp32": 4, "fp16": 2}


@dataclass(frozen=True)
class MadeUpGpu:
    """Times for one image.

    Attributes:
        tile: channels that are computed together: a width in between takes as long as the next.
        macs, bytes: per millisecond, in fp32; fp16 computes twice as fast.
        start: milliseconds of starting one layer, which a batch shares.
        fixed: milliseconds of a network that no width changes.
        bounds: whether moving maps takes time at all.
    """

    tile: int = 32
    macs: float = 4e6
    bytes: float = 4e5
    start: float = 0.02
    fixed: float = 1.0
    bounds: bool = True

    def layer_ms(self, layer: Layer, way: Way) -> float:
        size = _BYTES[way.precision]
        channels, height, width = layer.reads
        per_filter = 1 if layer.depthwise else self._whole(channels)
        macs = layer.kernel**2 * per_filter * self._whole(layer.outputs) * layer.side**2
        weights = layer.kernel**2 * channels // layer.groups * layer.outputs
        maps = channels * height * width + layer.outputs * layer.side**2
        moved = size * (maps + weights / way.batch) * self.bounds
        computed = macs / (self.macs * 4 / size)
        return self.start / way.batch + max(computed, moved / self.bytes)

    def network_ms(self, model: nn.Module, side: int, way: Way) -> float:
        layers: list[Layer] = []

        def seen(conv: nn.Conv2d, given: tuple[torch.Tensor], found: torch.Tensor) -> None:
            layers.append(
                Layer(
                    conv.kernel_size[0],
                    conv.stride[0],
                    found.shape[-1],
                    conv.in_channels,
                    conv.out_channels,
                    conv.groups > 1,
                )
            )

        hooks = [m.register_forward_hook(seen) for m in model.modules() if isinstance(m, nn.Conv2d)]
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, side, side))
        for hook in hooks:
            hook.remove()
        return self.fixed + sum(self.layer_ms(layer, way) for layer in layers)

    def _whole(self, channels: int) -> int:
        return -(-channels // self.tile) * self.tile

    # --- as the product asks for it ---------------------------------------------------

    def engine(self, way: Way) -> Engine:
        return _Engine(way, self)

    def timer(self, way: Way) -> Callable[..., list[float]]:
        """What a table of layers is filled by."""

        def times(layers: Sequence[Layer], tick: Callable[[float], None]) -> list[float]:
            tick(1.0)
            return [self.layer_ms(layer, way) for layer in layers]

        return times


class _Engine(Engine):
    """Its clock reads what the call says."""

    def __init__(self, way: Way, gpu: MadeUpGpu) -> None:
        super().__init__(way)
        self.gpu = gpu

    def missing(self) -> str | None:
        return None

    @property
    def hardware(self) -> str:
        return "Made-up GPU"

    def network(self, model: DetectionModel, side: int, path: Path) -> Callable[[], float]:
        milliseconds = self.way.batch * self.gpu.network_ms(model, side, self.way)
        return lambda: milliseconds

    def layer(self, layer: Layer) -> Repeated:
        milliseconds = 3 * self.way.batch * self.gpu.layer_ms(layer, self.way)
        return Repeated(lambda: milliseconds, 3)

    def milliseconds(self, run: Callable[[], float]) -> float:
        return run()
