"""Settings of recoveries with a teacher, frozen and checked, no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from msip_core.messages import msg
from msip_core.recipes import Frozen


class DistillOptions(Frozen):
    """How the unpruned network teaches the pruned one; only recoveries with a teacher read it.

    Attributes:
        weight: of the distillation loss beside the detection loss, for each layer.
        temperature: of the softmax over positions (recovery "cwd"), or over the bins of a box side
            ("prediction", "crosskd").
        layers: of the YOLOv8 graph whose maps are compared ("cwd", "feature"); 15, 18 and 21 feed
            the head.
    """

    weight: float = Field(default=1.0, gt=0, le=1000)
    temperature: float = Field(default=1.0, gt=0, le=100)
    layers: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(15, 18, 21), min_length=1)

    @model_validator(mode="after")
    def _each_layer_once(self) -> DistillOptions:
        if len(set(self.layers)) < len(self.layers):
            raise ValueError(msg("every layer can be compared only once"))
        return self
