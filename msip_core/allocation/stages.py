"""Stage presets: one pruning ratio for the backbone, one for the neck, one for the head.

    stages         .30, .20, .10
    stages-strong  .35, .25, .125

A group belongs to the stage in which its root convolution lies: layers 0-9 of YOLOv8 are the
backbone, 10-21 the neck, 22 and on the head. The presets as published leave far more MACs than the
usual goal, so they are scaled by one factor to it, which keeps their proportions; what they leave
by themselves is said in the run. They are presets: no source was found that measured them.
Source: method sheet, section 4.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from msip_core.allocation.ratios import RatioAllocation
from msip_core.allocation.table import GroupTable
from msip_core.errors import WrongModelError

STAGES = ("backbone", "neck", "head")
_NECK, _HEAD = 10, 22  # first layer of each in YOLOv8's list of layers
_LAYER = re.compile(r"^model\.(\d+)\.")


def layer_of(name: str) -> int:
    """Index in YOLOv8's list of layers: 15 for 'model.15.m.0.cv1.conv'."""
    found = _LAYER.match(name)
    if not found:
        raise WrongModelError(f"{name} is not in YOLOv8's list of layers: use a YOLOv8 detector.")
    return int(found.group(1))


def stage_of(name: str) -> int:
    """0 backbone, 1 neck, 2 head."""
    layer = layer_of(name)
    return 0 if layer < _NECK else 1 if layer < _HEAD else 2


def stage_ratios(names: Sequence[str], ratios: Sequence[float]) -> NDArray[np.float64]:
    """(g,) the ratio of each group's stage."""
    return np.array([ratios[stage_of(name)] for name in names], np.float64)


class StageAllocation(RatioAllocation):
    """30, 20 and 10 % of backbone, neck and head, scaled together."""

    preset: tuple[float, float, float] = (0.3, 0.2, 0.1)

    def ratios(self, table: GroupTable) -> NDArray[np.float64]:
        return stage_ratios(table.names, self.preset)


class StrongStageAllocation(StageAllocation):
    """35, 25 and 12.5 %."""

    preset = (0.35, 0.25, 0.125)
