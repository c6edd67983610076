"""Stage presets: one pruning ratio for the backbone, one for the neck, one for the head.

    stages         .30, .20, .10
    stages-strong  .35, .25, .125
    stages-order   head .1, shallow backbone .2, neck .3, deep backbone .4

A group belongs to the stage in which its root convolution lies, as its network is laid out
(`groups.layout`): in YOLOv8 layers 0-9 are the backbone, 10-21 the neck, 22 the head. The
presets as published leave far more MACs than the usual goal, so they are scaled by one factor to
it, which keeps their proportions; what they leave by themselves is said in the run. They are
presets: no source was found that measured them. The third is an order turned into ratios: what
Pruned-YOLO finds most sensitive loses least (head > shallow backbone > neck > deep backbone).
Source: method sheet, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from msip_core.allocation.ratios import RatioAllocation
from msip_core.allocation.table import GroupTable
from msip_core.groups.layout import layer_of, layout_for

STAGES = ("backbone", "neck", "head")


def stage_of(name: str) -> int:
    """0 backbone, 1 neck, 2 head; a plain text is read as a name in YOLOv8 as published."""
    return layout_for(name).stage(layer_of(name))


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


class OrderAllocation(RatioAllocation):
    """What is most sensitive by Pruned-YOLO's order loses least; scaled together."""

    def ratios(self, table: GroupTable) -> NDArray[np.float64]:
        return np.array([_ORDER[_place(name)] for name in table.names], np.float64)


_ORDER = {"head": 0.1, "shallow": 0.2, "neck": 0.3, "deep": 0.4}


def _place(name: str) -> str:
    """The backbone is deep from the middle of its layers on."""
    stage = stage_of(name)
    if stage:
        return STAGES[stage]
    return "deep" if 2 * layer_of(name) >= layout_for(name).neck else "shallow"
