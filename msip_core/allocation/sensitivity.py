"""Per-layer sensitivity: how much accuracy the network loses when one group alone is pruned.

    drop_g(r) = mAP50(nothing removed) - mAP50(share r of group g removed), both untuned
    ratio_g   = largest r with drop_g(r) <= delta

delta is bisected, so that the ratios together leave the MACs of the goal; what the grid's steps
leave open, the scalar of all methods closes. The curves stay in the run (sensitivity.json). Shares
are those that rounding to the run's multiple left, so a group of 16 channels has fewer points.
Source: Li et al. 2017, arXiv:1608.08710.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from msip_core.allocation.searched import (
    Found,
    SearchedAllocation,
    SearchProblem,
    Work,
    named,
    ratios_of,
)
from msip_core.config import SearchOptions
from msip_core.groups.budget import Widths
from msip_core.messages import msg
from msip_core.workspace import write_json

CURVES = "sensitivity.json"


class Point(NamedTuple):
    """One trial: share of the group that is gone, and the mAP50 lost by it."""

    ratio: float
    drop: float


Curve = tuple[Point, ...]


class SensitivityAllocation(SearchedAllocation):
    """Every group gives as much as costs the same accuracy."""

    @classmethod
    def work(cls, options: SearchOptions, groups: int) -> Work:
        return Work(1 + groups * len(options.grid))

    def search(self, problem: SearchProblem) -> Found:
        base, curves = self._curves(problem)
        delta = smallest_delta(problem, curves)
        ratios = ratios_at(curves, delta)
        table = problem.table
        write_json(
            problem.folder / CURVES,
            {
                "map50": base,
                "delta": delta,
                "groups": [
                    {
                        "name": name,
                        "channels": int(width),
                        "ratio": float(ratio),
                        "ratios": [p.ratio for p in curve],
                        "drops": [p.drop for p in curve],
                    }
                    for name, width, ratio, curve in zip(
                        table.names, table.original, ratios, curves, strict=True
                    )
                ],
            },
        )
        problem.say(_sentence(table.names, curves, delta))
        return Found(named(table, ratios), None)

    def _curves(self, problem: SearchProblem) -> tuple[float, list[Curve]]:
        """mAP50 with nothing removed, and the curve of each group, smallest share first."""
        budget = problem.table.budget
        low = self.floor(problem)
        ways = [self._widths(problem, g, low) for g in range(len(budget.names))]
        total, done = 1 + sum(len(way) for way in ways), 1
        base = problem.trial(budget.widths)
        curves = []
        for g, way in enumerate(ways):
            points = []
            for width in way:
                problem.tick(done / total)
                trial = budget.widths.copy()
                trial[g] = width
                ratio = ratios_of(problem.table, trial)[budget.names[g]]
                points.append(Point(ratio, base - problem.trial(trial)))
                done += 1
            curves.append(tuple(points))
        return base, curves

    def _widths(self, problem: SearchProblem, g: int, low: Widths) -> list[int]:
        """Widths of group g on the grid, widest first; what rounds to the same is tried once."""
        now = problem.table.budget.widths
        kept = np.repeat(now[None].astype(np.float64), len(problem.options.grid), axis=0)
        kept[:, g] = problem.table.original[g] * (1 - np.array(problem.options.grid))
        widths = {int(self.rounded(problem, row, low)[g]) for row in kept}
        return sorted(widths - {int(now[g])}, reverse=True)


def ratios_at(curves: Sequence[Curve], delta: float) -> NDArray[np.float64]:
    """(g,) largest share of each group whose drop is at most `delta`; 0 where none is."""
    return np.array([max((p.ratio for p in c if p.drop <= delta), default=0.0) for c in curves])


def smallest_delta(problem: SearchProblem, curves: Sequence[Curve]) -> float:
    """The least drop at which the ratios reach the goal; the largest drop where none does.

    Ratios only grow with delta, and change only at the measured drops, so bisecting over these is
    exact.
    """
    table = problem.table
    drops = sorted({0.0, *(p.drop for curve in curves for p in curve if p.drop > 0)})
    few, many = 0, len(drops) - 1
    while few < many:
        middle = (few + many) // 2
        kept = table.original * (1 - ratios_at(curves, drops[middle]))
        if table.count(kept) <= problem.window.high:
            many = middle
        else:
            few = middle + 1
    return drops[few]


def _sentence(names: Sequence[str], curves: Sequence[Curve], delta: float) -> str:
    """Which groups hurt most at half of their channels."""

    def drop_at_half(curve: Curve) -> float:
        return min(curve, key=lambda p: abs(p.ratio - 0.5)).drop if curve else 0.0

    order = sorted(range(len(names)), key=lambda g: drop_at_half(curves[g]), reverse=True)
    worst = ", ".join(f"{names[g]} ({drop_at_half(curves[g]):.3f})" for g in order[:3])
    return msg(
        "Sensitivity: each layer may cost {delta:.3f} mAP50 by itself. Halving hurts most in "
        "{worst}.",
        delta=delta,
        worst=worst,
    )
