"""OBS's statistic: what the channels of every group cost in their turn (obs.py).

The batches give the curvature of the loss; the moments of what convolutions read come from passes
afterwards, as many groups at a time as memory allows.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from msip_core.groups.coupling import prunable_groups
from msip_core.importance.moments import POSITIONS, Moments, OutputGradients, centred_ones, readers
from msip_core.importance.obs import Reader, costs_in_turn, coupled, portions
from msip_core.importance.statistic import Found, Scene, Statistic
from msip_core.importance.windows import Places


class Removals(Statistic):
    """Of every group, by its first convolution."""

    kinds = frozenset({"obs"})
    wants = frozenset({"backward"})

    def __init__(self, scene: Scene, asked: frozenset[str]) -> None:
        super().__init__(scene, asked)
        self._groups = coupled(prunable_groups(scene.model).groups.values())
        self._outputs = OutputGradients(readers(scene.model))

    def batch(self, part: range) -> AbstractContextManager[Any]:
        return self._outputs.watching()

    def end_batch(self, factor: Tensor) -> None:
        self._outputs.close_batch(factor)

    @torch.no_grad()
    def result(self) -> Found:
        scene, convs = self.scene, self._outputs.convs
        found: dict[str, Tensor] = {}
        images = scene.everything
        fisher, centred = self._outputs.fisher(len(images)), centred_ones(scene.model)
        places = Places(len(images), POSITIONS, scene.calibration.seed)
        for some in portions(self._groups, convs):
            read = {name: convs[name] for group in some for name in group.inputs}
            moments = Moments(read, places)
            for part in scene.parts(images):
                with moments.watching(part):
                    scene.model(scene.pixels(part))
            products = {n: moments.take(n, centred=conv in centred) for n, conv in read.items()}
            for group in some:
                if not all(_finite(products[n], fisher[n]) for n in group.inputs):
                    # No number either, which whoever ranks the channels refuses by its name.
                    found[group.name] = torch.full((group.channels,), torch.nan).double()
                    continue
                left = [
                    Reader(products[name], read[name].weight, fisher[name], own)
                    for name, own in group.inputs.items()
                ]
                found[group.name] = costs_in_turn(left, group.channels, scene.pause)
        return {"obs": found}


def _finite(*values: Tensor) -> bool:
    return all(bool(torch.isfinite(v).all()) for v in values)
