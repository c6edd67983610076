"""Corridor, feedback and weights against the method sheet's formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from msip_core.allocation.msip import LossPerMacAllocation, MedianAllocation
from msip_core.allocation.uniform import UniformAllocation
from msip_core.config import TERMS, AllocationOptions, MsipWeights
from msip_core.pruning.schedule import corridor, next_alpha, next_weights, stopped_by_caps
from msip_core.pruning.surgery import prune_channels
from tests.allocation.kit import budget_of, random_table, widths_of
from tests.importance.kit import thin_detector


def test_the_corridor_is_q_to_the_three_halves_and_the_half():
    band = corridor(1, 16, baseline=100.0, now=100.0, keep=0.335, round_to=1)

    q = 0.335 ** (1 / 16)
    assert band.aim == pytest.approx(100 * q)
    assert band.low == pytest.approx(100 * q**1.5)
    assert band.high == pytest.approx(100 * q**0.5)


def test_the_corridor_never_goes_below_the_goal():
    for now in (36.0, 33.6, 33.0):
        band = corridor(3, 4, baseline=100.0, now=now, keep=0.335, round_to=1)
        assert 33.5 <= band.low <= band.aim <= band.high


def test_the_last_iteration_lands_on_the_goal():
    free = corridor(4, 4, baseline=100.0, now=50.0, keep=0.335, round_to=1)
    eights = corridor(4, 4, baseline=100.0, now=50.0, keep=0.335, round_to=8)

    assert (free.low, free.high) == pytest.approx((33.3325, 33.6675))
    assert (eights.low, eights.high) == pytest.approx((33.165, 33.5))


def test_more_loss_lowers_alpha_and_unchanged_loss_raises_it():
    assert next_alpha(1.0, 1.1, 1.0) == pytest.approx(math.exp(-5 * 0.08))
    assert next_alpha(1.0, 1.0, 1.0) == pytest.approx(math.exp(0.1))
    assert next_alpha(1.0, 1.02, 1.0) == pytest.approx(1.0)


def test_alpha_stays_in_its_range_whatever_the_loss():
    assert next_alpha(1.0, 1e9, 1.0) == 0.1
    assert next_alpha(1.9, 1e-9, 1.0) == 2.0
    assert next_alpha(1.0, math.nan, 1.0) == 0.1  # diverged: no reason to cut more


def test_more_loss_makes_the_next_step_gentler_however_small_alpha_is():
    # As in the shipped example: alpha .052 after its second cut, and 63 % more loss.
    assert next_alpha(0.0518, 2.911, 1.785) == pytest.approx(0.0518 * 0.1)
    assert next_alpha(0.0518, 1.1, 1.0) == pytest.approx(0.0518 * math.exp(-5 * 0.08))
    for alpha in (1e-6, 0.01, 0.1, 1.0, 2.0):
        assert next_alpha(alpha, 1.3, 1.0) < alpha <= next_alpha(alpha, 0.9, 1.0)


def test_equal_trials_leave_the_weights():
    weights = MsipWeights()

    assert next_weights(weights, [0.5, 0.5, 0.5, 0.5]) == weights


def test_better_trials_gain_weight_and_the_sum_stays_one():
    new = next_weights(MsipWeights(), [0.8, 0.6, 0.6, 0.4])

    raw = np.array([0.4, 0.3, 0.2, 0.1]) * np.exp(0.3 * np.array([0.2, 0, 0, -0.2]) / 0.4)
    assert new.as_tuple() == pytest.approx(raw / raw.sum(), abs=1e-5)
    assert sum(new.as_tuple()) == pytest.approx(1, abs=1e-9)


def test_tiny_differences_between_trials_move_the_weights_little():
    new = next_weights(MsipWeights(), [0.501, 0.5, 0.5, 0.5])

    assert new.gradient == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize(
    "weights", [(1, 0, 0, 0), (0, 1, 0, 0), (0.5, 0, 0.5, 0), (0, 0.3, 0.3, 0.4)]
)
def test_a_term_that_was_left_out_stays_out(weights: tuple[float, ...]):
    start = MsipWeights(**dict(zip(TERMS, weights, strict=True)))

    new = next_weights(start, [0.4, 0.9, 0.5, 0.8]).as_tuple()

    assert [w == 0 for w in new] == [w == 0 for w in weights]
    assert sum(new) == pytest.approx(1, abs=1e-12)


def test_no_weight_falls_below_its_floor():
    weights = MsipWeights()
    for _ in range(40):
        weights = next_weights(weights, [0.9, 0.1, 0.1, 0.1])

    assert min(weights.as_tuple()) == pytest.approx(0.05, abs=1e-5)
    assert weights.gradient == pytest.approx(0.85, abs=1e-4)
    assert sum(weights.as_tuple()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        (LossPerMacAllocation, 1),
        (LossPerMacAllocation, 8),
        (MedianAllocation, 8),
        (UniformAllocation, 8),
    ],
)
def test_iterations_fall_strictly_inside_their_corridors_to_the_goal(kind, step: int):
    model, limits, iterations = thin_detector(0.25), AllocationOptions(round_to=step), 3
    first = budget_of(model, 64)
    now = first.macs_now
    for t in range(1, iterations + 1):
        budget = budget_of(model, 64)
        assert budget.macs_now == pytest.approx(now, rel=1e-6)
        band = corridor(t, iterations, baseline=first.macs_now, now=now, keep=0.335, round_to=step)
        found = kind(limits).allocate(random_table(budget, t, widths_of(first)), band)
        assert band.low <= found.macs <= band.high
        assert found.macs < now
        prune_channels(model, found.removed)
        now = found.macs

    assert now / first.macs_now == pytest.approx(0.335, rel=0.01 if step > 1 else 0.005)
    assert step == 1 or now / first.macs_now <= 0.335


def test_the_sentence_about_caps_names_the_layers_and_the_limits():
    said = stopped_by_caps(["model.0.conv"], 59, 0.42, 0.335, AllocationOptions())

    assert "33.5% of the multiply-adds was not reached, 42.0% remain" in said
    assert "1 of 59 layers (model.0.conv)" in said
    assert "35% lost per iteration or 10% left" in said
