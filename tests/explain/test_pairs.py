from __future__ import annotations

import numpy as np
import pytest

from msip_core.errors import InputError
from msip_core.intervals import mean_defined, paired_bootstrap


def test_a_constant_gain_has_an_interval_of_no_width():
    found = paired_bootstrap([0.2, 0.5, 0.4], [0.3, 0.6, 0.5])

    assert found.mean_a == pytest.approx(1.1 / 3)
    assert found.difference == pytest.approx(0.1)
    assert (found.low, found.high) == (pytest.approx(0.1), pytest.approx(0.1))
    assert found.is_clear


def test_pairing_sees_a_small_gain_among_images_that_differ_much():
    rng = np.random.default_rng(0)
    a = rng.uniform(0, 1, 60)
    b = a + 0.02 + rng.normal(0, 0.01, 60)

    paired, shuffled = paired_bootstrap(a, b), paired_bootstrap(a, rng.permutation(b))

    assert paired.is_clear
    assert not shuffled.is_clear
    assert paired.difference == pytest.approx(shuffled.difference)


def test_the_interval_is_that_of_the_normal_law_for_many_images():
    change = np.random.default_rng(1).normal(0.05, 0.2, 400)

    found = paired_bootstrap(np.zeros(400), change, resamples=20_000)

    half = 1.96 * change.std() / 20
    assert found.low == pytest.approx(change.mean() - half, abs=0.001)
    assert found.high == pytest.approx(change.mean() + half, abs=0.001)


def test_images_without_a_score_are_left_out_and_counted():
    found = paired_bootstrap([0.1, None, 0.3], [0.2, 0.9, None])

    assert (found.images, found.left_out) == (1, 2)
    assert found.difference == pytest.approx(0.1)
    assert found.low is None  # one image has no interval
    assert not found.is_clear
    assert paired_bootstrap([None], [0.2]).difference is None


def test_two_images_that_agree_in_sign_are_no_clear_difference():
    found = paired_bootstrap([0.2, 0.5], [0.3, 0.52])

    assert found.difference == pytest.approx(0.06)
    assert (found.low, found.high, found.is_clear) == (None, None, False)


@pytest.mark.parametrize("wells", [3, 4, 10])
def test_intervals_over_few_wells_hold_the_truth_as_often_as_they_say(wells: int):
    rng = np.random.default_rng(wells)
    names = [f"well {n}" for n in range(wells) for _ in range(4)]
    held = 0
    for _ in range(400):
        change = np.repeat(rng.normal(0, 1, wells), 4) + rng.normal(0, 0.5, len(names))
        found = paired_bootstrap(np.zeros(len(names)), change, groups=names, resamples=1000)
        held += found.low <= 0 <= found.high

    assert held / 400 == pytest.approx(0.95, abs=0.03)


def test_few_images_without_a_difference_are_called_clear_about_as_often_as_a_twentieth():
    rng = np.random.default_rng(0)
    draws = rng.normal(0, 1, (300, 5))
    clear = [paired_bootstrap(np.zeros(5), one, resamples=800).is_clear for one in draws]

    assert np.mean(clear) <= 0.08  # .17 where five images are resampled as if they were many


def test_images_of_one_well_are_drawn_together():
    change = [0.1, 0.1, 0.1, 0.1, -0.05, 0.02]
    wells = ["A1", "A1", "A1", "A1", "A2", "A3"]

    alone = paired_bootstrap([0.0] * 6, change)
    together = paired_bootstrap([0.0] * 6, change, groups=wells)
    repeated = paired_bootstrap([0.0] * 4, [0.1, 0.2, 0.1, 0.2], groups=["A1"] * 4)

    assert together.difference == alone.difference
    assert together.high - together.low > 1.5 * (alone.high - alone.low)
    assert (repeated.images, repeated.low) == (4, None)  # one well has no interval


def test_lists_of_different_length_cannot_be_paired():
    with pytest.raises(InputError, match="2 and of 1 images"):
        paired_bootstrap([0.1, 0.2], [0.1])


def test_the_mean_ignores_what_is_undefined():
    assert mean_defined([0.2, None, 0.4]) == pytest.approx(0.3)
    assert mean_defined([None]) is None
