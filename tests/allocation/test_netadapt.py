"""NetAdapt: its schedule, its candidates, its choice, and going on after a stop."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from msip_core.allocation.netadapt import Candidate, NetAdaptAllocation, Step, candidates_at, pays
from msip_core.allocation.table import lowest_widths
from msip_core.config import AllocationOptions
from msip_core.errors import Stopped
from msip_core.groups.budget import Budget
from msip_core.pruning.schedule import final_window
from tests.allocation.toy_search import ToyProblem, channels_matter

LIMITS = AllocationOptions()


def network_at(problem: ToyProblem, n: int) -> np.ndarray:
    """Widths of the network that step n began from."""
    return np.array([int(x) for x in problem.tuned[n][1].split(",")])


def accepted(problem: ToyProblem, budget: Budget) -> list[np.ndarray]:
    """Widths after each accepted step, read from what the tunings started from."""
    starts = [s for _, s in problem.tuned if s is not None]
    return [np.array([int(x) for x in s.split(",")]) for s in dict.fromkeys(starts)]


def test_a_candidate_is_the_largest_multiple_that_meets_the_target(budget: Budget):
    low = lowest_widths(budget.widths, budget.widths, LIMITS, 8)
    target = 0.985 * budget.macs_now

    found = candidates_at(budget.macs, budget.widths, low, 8, target)

    assert 5 < len(found) < 59  # small groups cannot make the step alone
    for c in found:
        here, wider = budget.widths.copy(), budget.widths.copy()
        here[c.group], wider[c.group] = c.width, min(c.width + 8, budget.widths[c.group])
        assert c.width % 8 == 0
        assert c.width >= low[c.group]
        assert c.resource == pytest.approx(float(budget.macs(here)))
        assert float(budget.macs(here)) <= target < float(budget.macs(wider))


@pytest.mark.parametrize("rule", ["loss-per-saving", "accuracy"])
@pytest.mark.parametrize("map50", [0.7, 0.8, 0.85])
def test_at_equal_accuracy_the_larger_saving_wins(rule: str, map50: float):
    """Whether both lost, kept or gained."""
    step = Step(3, np.zeros(2, np.int64), 100.0, 0.8)
    small, large = Candidate(0, 8, 95.0, map50), Candidate(1, 8, 90.0, map50)

    assert pays(large, step, rule) < pays(small, step, rule)


def test_the_two_rules_differ_where_little_is_saved_for_little():
    step = Step(0, np.zeros(2, np.int64), 100.0, 0.8)
    cautious, thrifty = Candidate(0, 8, 99.0, 0.795), Candidate(1, 8, 90.0, 0.790)

    assert pays(cautious, step, "accuracy") < pays(thrifty, step, "accuracy")
    # .005 / 1 against .010 / 10
    assert pays(thrifty, step, "loss-per-saving") < pays(cautious, step, "loss-per-saving")


def test_the_resource_of_accepted_steps_falls_by_at_least_the_schedule(budget: Budget, tmp_path):
    problem = ToyProblem(
        budget, tmp_path, channels_matter(budget, 1, 2, 4), keep=0.85, first_step=0.02
    )

    result = NetAdaptAllocation(LIMITS).search(problem)

    final = budget.widths * (1 - np.array(list(result.ratios.values())))
    shares = [
        float(budget.macs(w)) / budget.macs_now
        for w in (budget.widths, *accepted(problem, budget), final)
    ]
    goal = problem.window.high / budget.macs_now
    for i, (before, after) in enumerate(itertools.pairwise(shares)):
        decrement = max(0.02 * 0.96**i, 0.004)
        assert after <= max(before - decrement, goal) + 1e-9
        assert after < before
    assert shares[-1] <= goal < shares[-2]
    assert len(shares) > 5


def test_one_group_changes_at_each_step_and_the_cheap_stage_gives_most(budget: Budget, tmp_path):
    problem = ToyProblem(
        budget,
        tmp_path,
        channels_matter(budget, 1, 1, 100),
        keep=0.8,
        first_step=0.02,
        candidates=0,
    )

    result = NetAdaptAllocation(LIMITS).search(problem)

    ways = [budget.widths, *accepted(problem, budget)]
    assert all((a != b).sum() == 1 for a, b in itertools.pairwise(ways))
    head = [r for n, r in result.ratios.items() if n.startswith("model.22.")]
    others = [r for n, r in result.ratios.items() if not n.startswith("model.22.")]
    assert np.mean(head) < np.mean(others)


def test_only_so_many_candidates_are_tuned_at_each_step(budget: Budget, tmp_path):
    few, all_ = (
        ToyProblem(budget, tmp_path / str(n), channels_matter(budget, 1, 2, 4), first_step=0.02,
                   candidates=n, keep=0.8)
        for n in (3, 0)
    )  # fmt: skip

    found = [NetAdaptAllocation(LIMITS).search(p) for p in (few, all_)]

    steps: dict[str | None, int] = {}
    for _, start in few.tuned:
        steps[start] = steps.get(start, 0) + 1
    assert set(steps.values()) <= {1, 2, 3}
    assert len(few.tuned) < len(all_.tuned) / 3
    # What it costs: little, since the groups that paid best are tried again.
    assert found[0].map50 > found[1].map50 - 0.02


def test_the_schedule_alone_would_stop_at_three_eighths():
    """.025 / (1 - .96): why no step is below a fifth of the first."""
    assert sum(0.025 * 0.96**i for i in range(10_000)) == pytest.approx(0.625)


def test_a_far_goal_is_reached_too(budget: Budget, tmp_path):
    problem = ToyProblem(
        budget, tmp_path, channels_matter(budget, 1, 2, 4), keep=0.2, iterations=16,
        first_step=0.1, candidates=2,
    )  # fmt: skip

    result = NetAdaptAllocation(LIMITS).search(problem)

    kept = budget.widths * (1 - np.array(list(result.ratios.values())))
    assert float(budget.macs(kept)) <= problem.window.high


def test_another_resource_can_take_the_place_of_macs(budget: Budget, tmp_path):
    """A table of milliseconds has this shape: here every channel of the head takes one."""
    head = np.array([name.startswith("model.22.") for name in budget.names])

    def milliseconds(_budget, widths):
        return 50 + np.asarray(widths, float) @ head

    problem = ToyProblem(
        budget, tmp_path, channels_matter(budget, 1, 2, 4), first_step=0.1, candidates=0
    )
    whole = milliseconds(budget, budget.widths)
    problem.table.meter, problem.window = milliseconds, final_window(0.5 * whole, 8)
    result = NetAdaptAllocation(LIMITS).search(problem)

    lost = np.array(list(result.ratios.values()))
    assert (lost[~head] == 0).all()
    kept = budget.widths * (1 - lost)
    assert milliseconds(budget, kept) <= 0.5 * whole


def test_where_all_layers_are_at_their_lowest_it_stops_and_says_so(budget: Budget, tmp_path):
    problem = ToyProblem(
        budget, tmp_path, channels_matter(budget, 1, 2, 4), keep=0.3, iterations=1, first_step=0.2,
        candidates=1,
    )  # fmt: skip

    result = NetAdaptAllocation(LIMITS).search(problem)

    low = lowest_widths(budget.widths, budget.widths, LIMITS, 1)
    kept = np.rint(budget.widths * (1 - np.array(list(result.ratios.values()))))
    assert (kept == low).all()
    assert "every layer is at its lowest width" in problem.said[0]


@pytest.mark.parametrize("stop_after", [2, 10, 35, 41])
def test_a_search_that_was_stopped_goes_on_without_tuning_again(
    budget: Budget, tmp_path, stop_after: int
):
    accuracy = channels_matter(budget, 1, 2, 4)
    settings = {"first_step": 0.06, "candidates": 3}
    whole = ToyProblem(budget, tmp_path / "whole", accuracy, **settings)
    expected = NetAdaptAllocation(LIMITS).search(whole)
    first = ToyProblem(budget, tmp_path / "broken", accuracy, stop_after=stop_after, **settings)
    with pytest.raises(Stopped):
        NetAdaptAllocation(LIMITS).search(first)

    second = ToyProblem(budget, tmp_path / "broken", accuracy, **settings)
    result = NetAdaptAllocation(LIMITS).search(second)

    def told(problem):
        return [(w.tolist(), start) for w, start in problem.tuned]

    assert result == expected
    assert told(first) + told(second) == told(whole)
    entries = (second.folder / "netadapt.jsonl").read_text().splitlines()
    assert len(entries) == len(whole.tuned)
    # Of the networks only the last is left.
    assert len(list(second.folder.glob("netadapt-*.pt"))) == 1


def test_the_networks_of_a_half_tried_step_are_found_again(budget: Budget, tmp_path):
    """A kill between the network of the best so far and its line in the journal."""
    accuracy = channels_matter(budget, 1, 2, 4)
    settings = {"first_step": 0.1, "candidates": 2}
    whole = ToyProblem(budget, tmp_path / "whole", accuracy, **settings)
    expected = NetAdaptAllocation(LIMITS).search(whole)
    broken = ToyProblem(budget, tmp_path / "broken", accuracy, **settings)
    NetAdaptAllocation(LIMITS).search(broken)
    journal = broken.folder / "netadapt.jsonl"
    lines = journal.read_text().splitlines()
    last_step = json.loads(lines[-1])["step"]
    network = next(broken.folder.glob("netadapt-*.pt"))
    network.rename(broken.folder / f"netadapt-{last_step + 1}-best-so-far.pt")
    journal.write_text("\n".join(lines) + '\n{"step": 9, "gro')

    again = ToyProblem(budget, tmp_path / "broken", accuracy, **settings)

    assert NetAdaptAllocation(LIMITS).search(again) == expected
    assert again.tuned == []
    assert network.is_file()
