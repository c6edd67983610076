"""Automatic search: equal MACs for every trial, and the better ratios are found."""

from __future__ import annotations

import json

import numpy as np
import pytest

from msip_core.allocation.stages import stage_of
from msip_core.allocation.tpe import TpeAllocation, _space
from msip_core.config import AllocationOptions, SearchOptions
from msip_core.errors import ConfigError, Stopped
from msip_core.groups.budget import Budget
from tests.allocation.toy_search import ToyProblem, channels_matter

LIMITS = AllocationOptions()


def study_of(problem: ToyProblem) -> list[dict]:
    return json.loads((problem.folder / "study.json").read_text())


def test_every_trial_costs_the_same(budget: Budget, tmp_path):
    problem = ToyProblem(budget, tmp_path, channels_matter(budget, 1, 2, 4), trials=15)

    result = TpeAllocation(LIMITS).search(problem)

    macs = budget.macs(np.array(problem.trials))
    assert (macs <= problem.window.high).all()
    assert (macs >= problem.window.low).all()
    kept = budget.widths * (1 - np.array(list(result.ratios.values())))
    assert problem.window.low <= float(budget.macs(kept)) <= problem.window.high


def test_equal_shares_and_the_stage_preset_are_tried_first(budget: Budget, tmp_path):
    problem = ToyProblem(budget, tmp_path, channels_matter(budget, 1, 1, 1), trials=3, finalists=0)
    TpeAllocation(LIMITS).search(problem)

    even, preset, drawn = (list(trial["ratios"].values()) for trial in study_of(problem))
    assert even == [0.4, 0.4, 0.4]
    assert preset == [0.3, 0.2, 0.1]
    assert drawn not in (even, preset)


@pytest.mark.parametrize("sampler", ["tpe", "evolution"])
def test_the_best_trial_is_taken_and_beats_where_the_search_began(
    budget: Budget, tmp_path, sampler: str
):
    """The head is dear: ratios that spare it are better, and are found."""
    accuracy = channels_matter(budget, 1, 1, 12)
    problem = ToyProblem(
        budget, tmp_path, accuracy, trials=40, finalists=0, keep=0.6, sampler=sampler
    )

    result = TpeAllocation(LIMITS).search(problem)

    seen = [trial["map50"] for trial in study_of(problem)]
    assert result.map50 == max(seen)
    assert result.map50 > max(seen[:2])
    # Both learn: the later half is better on average than the part drawn at random.
    assert np.mean(seen[20:]) > np.mean(seen[2:10])
    lost = np.array(list(result.ratios.values()))
    stages = np.array([stage_of(name) for name in budget.names])
    assert lost[stages == 2].mean() < lost[stages == 0].mean()


def test_modules_are_those_of_the_networks_list(budget: Budget):
    """22 blocks of YOLOv8 hold convolutions that can be cut: all but upsampling and Concat."""
    keys, owner = _space(budget.names, "modules")

    assert len(keys) == len(set(owner)) == 17
    assert keys[int(owner[budget.names.index("model.0.conv")])] == "layer0"
    head = [o for name, o in zip(budget.names, owner) if name.startswith("model.22.")]
    assert len(set(head)) == 1


def test_module_ratios_are_searched_too(budget: Budget, tmp_path):
    problem = ToyProblem(
        budget, tmp_path, channels_matter(budget, 1, 2, 4), trials=4, finalists=0, space="modules"
    )

    result = TpeAllocation(LIMITS).search(problem)

    assert all(len(trial["ratios"]) == 17 for trial in study_of(problem))
    assert len(result.ratios) == 59


def test_the_best_few_are_tuned_and_the_best_of_these_wins(budget: Budget, tmp_path):
    problem = ToyProblem(budget, tmp_path, channels_matter(budget, 1, 2, 4), trials=6, finalists=3)
    accuracy = problem.accuracy

    def upside_down(widths, start):  # after tuning the third is best
        return type("Tuned", (), {"map50": 1 - accuracy(widths)})()

    problem.short_tune = upside_down
    result = TpeAllocation(LIMITS).search(problem)

    different = {tuple(trial["widths"]): trial["map50"] for trial in study_of(problem)}
    third = sorted(different.values(), reverse=True)[2]
    assert result.map50 == third
    assert "number 3 of the best 3 leads" in problem.said[-1]


@pytest.mark.parametrize("sampler", ["tpe", "evolution"])
@pytest.mark.parametrize("stop_after", [1, 9, -1])  # -1: before the last of all
def test_a_search_that_was_stopped_goes_on_without_trying_again(
    budget: Budget, tmp_path, stop_after: int, sampler: str
):
    accuracy = channels_matter(budget, 1, 2, 4)
    settings = {"trials": 14, "finalists": 3, "sampler": sampler}
    whole = ToyProblem(budget, tmp_path / "whole", accuracy, **settings)
    expected = TpeAllocation(LIMITS).search(whole)
    work = len(whole.evaluated) + len(whole.tuned)
    first = ToyProblem(
        budget, tmp_path / "broken", accuracy, stop_after=stop_after % work, **settings
    )
    with pytest.raises(Stopped):
        TpeAllocation(LIMITS).search(first)

    second = ToyProblem(budget, tmp_path / "broken", accuracy, **settings)
    result = TpeAllocation(LIMITS).search(second)

    assert result == expected
    assert first.evaluated + second.evaluated == whole.evaluated
    assert len(first.tuned) + len(second.tuned) == len(whole.tuned) == 3


REVIEW = ((0.3, 0.4), (0.2, 0.3), (0.1, 0.15))


def test_bounded_stages_are_searched_inside_their_bounds_and_meet_the_goal(
    budget: Budget, tmp_path
):
    problem = ToyProblem(
        budget, tmp_path, channels_matter(budget, 1, 2, 4), trials=8, keep=0.58, round_to=1,
        stage_bounds=REVIEW,
    )  # fmt: skip

    result = TpeAllocation(AllocationOptions(round_to=1)).search(problem)

    for trial in study_of(problem):
        assert all(low <= r <= high for r, (low, high) in zip(trial["ratios"].values(), REVIEW))
        macs = float(budget.macs(np.array(trial["widths"])))
        assert problem.window.low <= macs <= problem.window.high
    for name, ratio in result.ratios.items():
        low, high = REVIEW[stage_of(name)]
        room = 1.0 / budget.widths[budget.names.index(name)]  # widths are whole channels
        assert low - room <= ratio <= high + room


def test_a_goal_outside_the_bounds_is_refused_with_what_they_reach(budget: Budget, tmp_path):
    problem = ToyProblem(
        budget, tmp_path, channels_matter(budget, 1, 1, 1), trials=2, keep=0.3, stage_bounds=REVIEW
    )
    with pytest.raises(ConfigError, match="and the goal is 30"):
        TpeAllocation(LIMITS).search(problem)
    with pytest.raises(ValueError, match="search in stages"):
        SearchOptions(stage_bounds=REVIEW, space="modules")
    with pytest.raises(ValueError, match="a lower and a higher"):
        SearchOptions(stage_bounds=((0.4, 0.3), *REVIEW[1:]))
