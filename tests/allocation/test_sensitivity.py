"""Sensitivity: one group at a time, and the drop that all groups may cost."""

from __future__ import annotations

import json

import numpy as np
import pytest

from msip_core.allocation.sensitivity import Point, SensitivityAllocation, ratios_at, smallest_delta
from msip_core.config import AllocationOptions
from msip_core.errors import Stopped
from msip_core.groups.budget import Budget
from tests.allocation.toy_search import ToyProblem, channels_matter

FREE = AllocationOptions(round_to=1)


def curves_of(problem: ToyProblem) -> dict[str, list[tuple[float, float]]]:
    stored = json.loads((problem.folder / "sensitivity.json").read_text())
    return {g["name"]: list(zip(g["ratios"], g["drops"])) for g in stored["groups"]}


def test_a_ratio_is_the_largest_share_whose_drop_is_allowed():
    curves = [
        (Point(0.1, 0.0), Point(0.5, 0.02), Point(0.9, 0.4)),
        (Point(0.1, 0.03), Point(0.5, 0.01), Point(0.9, 0.5)),  # noise: less drop for more
        (Point(0.5, 0.2),),
        (),
    ]

    assert ratios_at(curves, 0.0).tolist() == [0.1, 0, 0, 0]
    assert ratios_at(curves, 0.02).tolist() == [0.5, 0.5, 0, 0]
    assert ratios_at(curves, 0.5).tolist() == [0.9, 0.9, 0.5, 0]


def test_a_dead_channel_costs_nothing_until_it_is_gone(budget: Budget, tmp_path):
    """Group 20 has 32 channels of which 8 are dead (lowest scores): zero drop up to a quarter."""
    g = int(np.flatnonzero(budget.widths == 32)[3])

    def accuracy(widths):
        alive = np.minimum(widths / budget.widths, 1)
        alive[g] = min(widths[g], 24) / 24
        return float(alive.mean())

    problem = ToyProblem(budget, tmp_path, accuracy, round_to=1)
    SensitivityAllocation(FREE).search(problem)

    curve = curves_of(problem)[budget.names[g]]
    # On the grid: .1 and .2 of 32 are 3 and 6 channels, .3 is 10.
    assert [drop for _, drop in curve[:2]] == [0, 0]
    assert all(drop > 0 for _, drop in curve[2:])
    others = [curve for name, curve in curves_of(problem).items() if name != budget.names[g]]
    assert all(drop > 0 for curve in others for _, drop in curve)


def test_delta_is_the_least_drop_that_reaches_the_goal(budget: Budget, tmp_path):
    problem = ToyProblem(budget, tmp_path, channels_matter(budget, 1, 2, 4), round_to=1)
    result = SensitivityAllocation(FREE).search(problem)
    curves = [tuple(Point(*p) for p in c) for c in curves_of(problem).values()]

    def macs(delta: float) -> float:
        return float(budget.macs(budget.widths * (1 - ratios_at(curves, delta))))

    delta = smallest_delta(problem, curves)
    below = max(p.drop for c in curves for p in c if p.drop < delta)
    assert macs(delta) <= problem.window.high < macs(below)
    assert list(result.ratios.values()) == ratios_at(curves, delta).tolist()


def test_layers_that_hurt_lose_less(budget: Budget, tmp_path):
    problem = ToyProblem(budget, tmp_path, channels_matter(budget, 1, 1, 25), round_to=1)

    ratios = SensitivityAllocation(FREE).search(problem).ratios

    head = [r for name, r in ratios.items() if name.startswith("model.22.")]
    others = [r for name, r in ratios.items() if not name.startswith("model.22.")]
    assert np.mean(head) < 0.5 * np.mean(others)
    assert "Halving hurts most in model.22." in problem.said[-1]


def test_shares_are_those_that_rounding_leaves_and_none_is_tried_twice(budget: Budget, tmp_path):
    problem = ToyProblem(budget, tmp_path, channels_matter(budget, 1, 1, 1))
    SensitivityAllocation(AllocationOptions(round_to=8)).search(problem)

    sixteen = curves_of(problem)["model.0.conv"]  # 16 channels in multiples of 8
    assert [ratio for ratio, _ in sixteen] == [0.5]
    assert len({tuple(t) for t in problem.trials}) == len(problem.trials)
    assert all((t != budget.widths).sum() <= 1 for t in problem.trials)
    assert problem.done == sorted(problem.done)


def test_a_search_that_was_stopped_goes_on_without_trying_again(budget: Budget, tmp_path):
    accuracy = channels_matter(budget, 1, 2, 3)
    whole = ToyProblem(budget, tmp_path / "whole", accuracy)
    expected = SensitivityAllocation(AllocationOptions()).search(whole)
    first = ToyProblem(budget, tmp_path / "broken", accuracy, stop_after=30)
    with pytest.raises(Stopped):
        SensitivityAllocation(AllocationOptions()).search(first)

    second = ToyProblem(budget, tmp_path / "broken", accuracy)
    result = SensitivityAllocation(AllocationOptions()).search(second)

    assert result == expected
    assert len(first.evaluated) == 30
    assert not set(first.evaluated) & set(second.evaluated)
    assert len(first.evaluated) + len(second.evaluated) == len(whole.evaluated)
