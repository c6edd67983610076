"""The points of a study's table for a chart of accuracy over cost."""

from __future__ import annotations

from typing import Literal

from msip_core.messages import mark
from msip_core.studies.plan import BASELINE
from msip_core.studies.table import Line, StudyTable
from msip_core.views.pareto import Kind, ParetoInfo, Point, pareto_info

Axis = Literal["macs", "ms"]
UNITS: dict[Axis, str] = {
    "macs": mark("GMACs per image"),
    "ms": mark("milliseconds per image, measured"),
}


def pareto_of(table: StudyTable, axis: Axis) -> ParetoInfo:
    """Every measured row, with its interval.

    Milliseconds are the baseline's own divided by each row's speed-up, which was measured in turn
    with it: times of different hours do not compare, ratios do.
    """
    points = []
    for line in table.lines:
        cost = _cost(table, line, axis)
        if line.map50 is not None and cost is not None:
            y = line.map50
            kind = _kind(table, line)
            points.append(Point(line.label, kind, cost, y.value, y.low, y.high))
    return pareto_info(points, UNITS[axis])


def _cost(table: StudyTable, line: Line, axis: Axis) -> float | None:
    if axis == "macs":
        return line.macs / 1e9 if line.macs else None
    whole = table.line(BASELINE).ms
    if line.key == BASELINE:
        return whole
    return whole / line.speedup if whole and line.speedup else None


def _kind(table: StudyTable, line: Line) -> Kind:
    if line.key == BASELINE:
        return "baseline"
    if line.key == table.main:
        return "main"
    return "honest" if line.is_honest else "method"
