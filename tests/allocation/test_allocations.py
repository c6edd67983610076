"""What every allocation must keep: limits, multiples, and the MACs it was asked for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from msip_core.allocation.msip import LossPerMacAllocation, MedianAllocation, lower_median
from msip_core.allocation.ranked import GlobalAllocation
from msip_core.allocation.table import Corridor, GroupTable, lowest_widths
from msip_core.allocation.uniform import UniformAllocation
from msip_core.catalog import ALLOCATIONS
from msip_core.config import AllocationOptions
from msip_core.detector.library import copy_model
from msip_core.errors import ConfigError
from msip_core.groups.budget import Budget
from msip_core.pruning.schedule import corridor, final_window
from msip_core.pruning.surgery import prune_channels
from tests.allocation.kit import budget_of, random_table, widths_of

every_allocation = pytest.mark.parametrize("name", list(ALLOCATIONS))
every_step = pytest.mark.parametrize("step", [1, 4, 8, 16])


@every_allocation
@every_step
def test_macs_land_in_the_corridor_and_limits_hold(budget: Budget, name: str, step: int):
    limits = AllocationOptions(round_to=step)
    table = random_table(budget)
    band = corridor(1, 4, baseline=budget.macs_now, now=budget.macs_now, keep=0.335, round_to=step)

    found = ALLOCATIONS[name].load()(limits).allocate(table, band)

    low = lowest_widths(table.original, budget.widths, limits)
    kept = budget.vector(found.widths)
    assert found.reached
    assert band.low <= found.macs <= band.high
    assert found.macs == pytest.approx(float(budget.macs(kept)))
    assert (kept >= low).all()
    assert (kept <= budget.widths).all()
    assert all(k % step == 0 for k in kept)


@every_allocation
@pytest.mark.parametrize("keep", [0.335, 0.6])
@pytest.mark.parametrize("step", [4, 8, 16])
def test_multiples_cost_at_most_one_percent_of_the_goal(
    budget: Budget, name: str, keep: float, step: int
):
    goal = keep * budget.macs_now

    found = (
        ALLOCATIONS[name]
        .load()(AllocationOptions(round_to=step))
        .allocate(random_table(budget), final_window(goal, step), iterations=4)
    )

    assert 0.99 * goal <= found.macs <= goal


@every_step
def test_one_cut_may_use_up_the_limits_of_all_iterations(budget: Budget, step: int):
    limits = AllocationOptions(round_to=step, max_removed_per_iteration=0.2)
    table = random_table(budget)
    low = table.original
    for _ in range(3):
        low = lowest_widths(table.original, low, limits)
    assert (lowest_widths(table.original, budget.widths, limits, 3) == low).all()

    far = Corridor(0, 0, 0)
    found = UniformAllocation(limits).allocate(table, far, iterations=3)

    assert (budget.vector(found.widths) == low).all()
    assert not found.reached


@every_allocation
def test_the_lowest_channels_of_each_group_go(budget: Budget, name: str):
    table = random_table(budget)

    found = (
        ALLOCATIONS[name]
        .load()(AllocationOptions(round_to=1))
        .allocate(table, final_window(0.8 * budget.macs_now, 1))
    )

    for group, score in zip(table.names, table.scores, strict=True):
        gone = set(found.removed.get(group, ()))
        if gone:
            stay = [s for i, s in enumerate(score) if i not in gone]
            assert max(score[i] for i in gone) <= min(stay)
            assert found.widths[group] == len(stay)


@every_allocation
def test_equal_scores_are_no_trouble(budget: Budget, name: str):
    table = GroupTable(
        budget, {n: np.ones(w) for n, w in widths_of(budget).items()}, widths_of(budget)
    )

    found = (
        ALLOCATIONS[name]
        .load()(AllocationOptions(round_to=1))
        .allocate(table, final_window(0.7 * budget.macs_now, 1))
    )

    assert found.macs == pytest.approx(0.7 * budget.macs_now, rel=0.005)


@every_allocation
def test_caps_end_above_the_goal_and_say_which(budget: Budget, name: str):
    limits = AllocationOptions(round_to=1, max_removed_per_iteration=0.05)

    found = (
        ALLOCATIONS[name]
        .load()(limits)
        .allocate(random_table(budget), final_window(0.5 * budget.macs_now, 1))
    )

    assert not found.reached
    assert set(found.capped) == set(budget.names)
    kept = budget.vector(found.widths)
    assert (kept == budget.widths - np.floor(0.05 * budget.widths)).all()


def test_no_group_falls_from_sixteen_channels_to_one(budget: Budget):
    """torch-pruning's global mode does that to a layer whose scores are all low."""
    scores = {n: np.full(w, 10.0) for n, w in widths_of(budget).items()}
    weak = budget.names[0]
    scores[weak] = np.linspace(0.01, 0.02, 16)
    table = GroupTable(budget, scores, widths_of(budget))

    found = GlobalAllocation(AllocationOptions(round_to=1)).allocate(
        table, final_window(0.9 * budget.macs_now, 1)
    )

    assert found.widths[weak] == 16 - int(0.35 * 16)
    # The layers that are left make up for it: the goal is met, not silently missed.
    assert found.macs == pytest.approx(0.9 * budget.macs_now, rel=0.005)


def test_widths_never_fall_below_eight_in_multiples_of_eight():
    original = np.array([16, 16, 64, 256])
    limits = AllocationOptions(round_to=8, min_kept=0.1)

    low = lowest_widths(original, np.array([16, 8, 16, 32]), limits)

    assert low.tolist() == [8, 8, 8, 32]


def test_one_step_is_always_allowed_and_larger_cuts_follow_the_cap():
    original = np.array([16, 64, 512])

    low = lowest_widths(original, original, AllocationOptions(round_to=8))

    # 65 % of 16, 64 and 512 are 10.4, 41.6 and 332.8.
    assert low.tolist() == [8, 40, 336]


def test_many_iterations_do_not_round_up_again_and_again(detector):
    """Sixteen fresh local pruners leave 14 of 32 channels instead of 18."""
    model, limits = copy_model(detector), AllocationOptions(round_to=1)
    first = budget_of(model, 64)
    original = widths_of(first)
    for t in range(1, 6):
        budget = budget_of(model, 64)
        band = corridor(t, 5, baseline=first.macs_now, now=budget.macs_now, keep=0.335, round_to=1)
        found = UniformAllocation(limits).allocate(random_table(budget, t, original), band)
        prune_channels(model, found.removed)

    last = budget_of(model, 64)
    shares = last.widths / first.widths
    assert last.macs_now / first.macs_now == pytest.approx(0.335, rel=0.005)
    assert shares.max() - shares.min() < 0.06


def test_loss_per_mac_charges_every_layer_the_same_price(budget: Budget):
    table = random_table(budget)
    allocation = LossPerMacAllocation(AllocationOptions(round_to=1, max_removed_per_iteration=0.9))

    found = allocation.allocate(table, final_window(0.8 * budget.macs_now, 1))

    kappa = budget.kappa()
    price = found.alpha * np.median(
        np.concatenate([s / k for s, k in zip(table.scores, kappa, strict=True)])
    )
    wanted = [int((s >= price * k).sum()) for s, k in zip(table.scores, kappa, strict=True)]
    kept = budget.vector(found.widths)
    assert np.abs(kept - np.maximum(wanted, np.ceil(0.1 * budget.widths))).sum() <= 3


def test_a_dear_layer_loses_more_than_a_cheap_one_at_equal_scores(budget: Budget):
    rng = np.random.default_rng(0)
    scores = {n: rng.uniform(0.5, 1.5, w) for n, w in widths_of(budget).items()}
    table = GroupTable(budget, scores, widths_of(budget))

    found = LossPerMacAllocation(AllocationOptions(round_to=1)).allocate(
        table, final_window(0.8 * budget.macs_now, 1)
    )

    share = 1 - budget.vector(found.widths) / budget.widths
    kappa = budget.kappa()
    assert share[kappa.argsort()[-10:]].mean() > share[kappa.argsort()[:10]].mean() + 0.1


def test_the_literal_threshold_is_alpha_times_the_layers_median(budget: Budget):
    table = random_table(budget)

    wanted = MedianAllocation(AllocationOptions()).wanted(table, 0.9)

    for score, kept in zip(table.scores, wanted, strict=True):
        assert kept == (score >= 0.9 * lower_median(score)).sum()
    assert lower_median(np.array([0.4205, 0.5, 0.5981])) == 0.5


@pytest.mark.parametrize("kind", [LossPerMacAllocation, MedianAllocation])
def test_more_alpha_keeps_less(budget: Budget, kind):
    table = random_table(budget)
    allocation = kind(AllocationOptions())

    kept = [allocation.wanted(table, x).sum() for x in np.linspace(0, 2, 9)]

    assert all(a >= b for a, b in itertools.pairwise(kept))
    assert kept[0] == budget.widths.sum()


@pytest.mark.parametrize("kind", [LossPerMacAllocation, MedianAllocation])
def test_feedback_moves_macs_inside_the_corridor_only(budget: Budget, kind):
    table = random_table(budget)
    macs = budget.macs_now
    band = Corridor(0.85 * macs, 0.95 * macs, 0.9 * macs)
    allocation = kind(AllocationOptions(round_to=1))

    gentle, even, bold = (allocation.allocate(table, band, g) for g in (0.5, 1.0, 2.0))

    assert bold.macs < even.macs < gentle.macs
    for found in (gentle, even, bold):
        assert band.low <= found.macs <= band.high


def test_costs_may_be_parameters(budget: Budget):
    table = random_table(budget)
    band = final_window(0.8 * budget.macs_now, 1)

    by_macs, by_params = (
        LossPerMacAllocation(AllocationOptions(round_to=1, cost=cost)).allocate(table, band)
        for cost in ("macs", "params")
    )

    left = [float(budget.params(budget.vector(s.widths))) for s in (by_macs, by_params)]
    assert left[1] < left[0]


def test_scores_that_are_not_numbers_are_refused(budget: Budget):
    scores = {n: np.ones(w) for n, w in widths_of(budget).items()}
    scores[budget.names[3]][0] = np.nan

    with pytest.raises(ConfigError, match=f"{budget.names[3]} is not a number"):
        GroupTable(budget, scores, widths_of(budget))


def test_a_score_of_the_wrong_length_is_refused(budget: Budget):
    scores = {n: np.ones(w) for n, w in widths_of(budget).items()}
    scores[budget.names[0]] = np.ones(3)

    with pytest.raises(ValueError, match=r"model\.0\.conv: \(3,\) scores for 16 channels"):
        GroupTable(budget, scores, widths_of(budget))


@every_allocation
def test_the_goal_may_count_parameters_instead(budget: Budget, name: str):
    table = random_table(budget)
    table = GroupTable(
        budget, dict(zip(table.names, table.scores)), widths_of(budget), meter=Budget.params
    )
    for step, low in ((1, 0.995), (8, 0.99)):
        window = final_window(0.7 * budget.params_now, step)

        found = ALLOCATIONS[name].load()(AllocationOptions(round_to=step)).allocate(table, window)

        share = float(budget.params(budget.vector(found.widths))) / budget.params_now
        assert found.reached
        assert found.count == pytest.approx(share * budget.params_now)
        assert 0.7 * low - 1e-9 <= share <= 0.7 * 1.005
