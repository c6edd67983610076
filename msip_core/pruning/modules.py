"""Modules: channels go only from groups whose root convolution lies in modules of chosen types.

A type is that of the layer in YOLOv8's own list of layers:

    C2f     the eight C2f blocks (opened as C2fV2), bottlenecks included
    SPPF    the pooling block at the end of the backbone
    Detect  the inside of the head
    Conv    the plain convolutions between the blocks

A convolution elsewhere that reads a narrower module gets fewer input channels; its own output
channels stay. Source: method sheet, section 5.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn
from ultralytics.nn.modules import SPPF, C2f, Conv, Detect

from msip_core.allocation.goal import Goal
from msip_core.config import PruneConfig
from msip_core.detector.c2f import C2fV2
from msip_core.errors import ConfigError
from msip_core.groups.budget import Budget
from msip_core.messages import msg
from msip_core.pruning.channels import Channels

TYPES: dict[str, tuple[type[nn.Module], ...]] = {
    "C2f": (C2f, C2fV2),
    "SPPF": (SPPF,),
    "Detect": (Detect,),
    "Conv": (Conv,),
}


class Modules(Channels):
    """Only groups rooted in modules of `config.modules`."""

    def __init__(self, config: PruneConfig) -> None:
        super().__init__(config)
        self.where = msg(" in {modules} alone", modules=", ".join(config.modules))

    def open_groups(self, model: nn.Module, names: Sequence[str]) -> NDArray[np.bool_]:
        wanted = tuple(kind for name in self.config.modules for kind in TYPES[name])
        layers = dict(model.named_modules())
        tops = [".".join(name.split(".")[:2]) for name in names]
        return np.array([isinstance(layers[top], wanted) for top in tops], bool)

    def check(self, model: nn.Module, budget: Budget, goal: Goal) -> None:
        if not self.open_groups(model, budget.names).any():
            raise ConfigError(
                "This network has no channels to remove in {modules}: choose other modules.",
                modules=", ".join(self.config.modules),
            )
        super().check(model, budget, goal)
