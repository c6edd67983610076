"""NISP's statistics: importance of the final responses handed back to every Conv block (nisp.py).

At the size of the images, in float64; on the processor where the device does not know it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from msip_core.detector.library import copy_model
from msip_core.importance.inffs import Pooled
from msip_core.importance.nisp import column_sums, last_convolutions, propagate
from msip_core.importance.statistic import Found, Scene, Statistic


class _Propagated(Statistic):
    """Seeds at the last convolutions, and what becomes of them."""

    def seeds(self) -> dict[str, Tensor]:
        """Name of a last convolution -> (c,) importance of each channel that it reads."""
        raise NotImplementedError

    def result(self) -> Found:
        (kind,) = self.asked
        scene = self.scene
        scene.pause()
        device = "cpu" if scene.device.type == "mps" else scene.device
        image = torch.zeros(1, *scene.calibration.images.shape[1:], device=device)
        twin = copy_model(scene.model).to(device)  # type: ignore[arg-type]
        return {kind: propagate(twin, image, self.seeds())}


class Nisp(_Propagated):
    """Seeded by what the last convolutions make of each channel."""

    kinds = frozenset({"nisp"})

    def seeds(self) -> dict[str, Tensor]:
        return column_sums(last_convolutions(self.scene.model))


class NispInfFs(_Propagated):
    """Seeded by Inf-FS on what the last convolutions read."""

    kinds = frozenset({"nisp-inffs"})
    wants = frozenset({"batches"})

    def __init__(self, scene: Scene, asked: frozenset[str]) -> None:
        super().__init__(scene, asked)
        self._pooled = Pooled(last_convolutions(scene.model))

    def batch(self, part: range) -> AbstractContextManager[Any]:
        return self._pooled.watching()

    def seeds(self) -> dict[str, Tensor]:
        return self._pooled.seeds()
