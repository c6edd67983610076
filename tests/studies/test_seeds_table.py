"""The table of benchmarks/seeds.py: Student's interval by hand, pairs by seed, no hasty verdict."""

from __future__ import annotations

import math

import pytest

from benchmarks.before_tuning import table
from benchmarks.seeds_table import compare, student, verdict


def found(row: str, *values: float) -> list[dict[str, object]]:
    return [{"row": row, "seed": seed, "map50": value} for seed, value in enumerate(values)]


def test_students_interval_of_three_differences_by_hand():
    """Mean 2, deviation 1, error 1 / sqrt 3, t(.975, 2) = 4.3027."""
    one = student([1.0, 2.0, 3.0])

    half = 4.3027 / math.sqrt(3)
    assert one.value == 2
    assert (one.low, one.high) == pytest.approx((2 - half, 2 + half), abs=1e-3)
    # t = 2 sqrt 3 = 3.464 with 2 degrees of freedom: p = 1 - t / sqrt(t^2 + 2)
    assert one.p == pytest.approx(1 - 3.4641 / math.sqrt(14), abs=1e-3)
    assert one.seeds == 3


def test_one_seed_has_neither_bounds_nor_p():
    one = student([0.1])

    assert one.p is None
    assert math.isnan(one.low)
    assert verdict(one) == "no verdict below 3 seeds"


def test_rows_are_compared_on_the_seeds_that_both_have():
    results = [*found("plain", 0.5, 0.6, 0.7), *found("other", 0.6, 0.7)]

    one = compare(results, ["plain", "other"], "plain", "map50")["other"]

    assert (one.value, one.seeds) == (pytest.approx(0.1), 2)
    assert one.adjusted is None


def test_a_clear_difference_must_survive_the_correction_over_the_rows():
    steady = found("steady", 0.611, 0.710, 0.809)  # +.11, +.11, +.109
    reference = found("plain", 0.501, 0.600, 0.700)
    names = [f"noisy-{i}" for i in range(3)]
    noisy = [one for name in names for one in found(name, 0.4, 0.9, 0.6)]
    rows = ["plain", "steady", *names]

    against = compare([*reference, *steady, *noisy], rows, "plain", "map50")

    assert verdict(against["steady"]) == "clearly higher"
    assert against["steady"].adjusted == pytest.approx(4 * against["steady"].p)
    assert verdict(against["noisy-0"]) == "not clear"


def test_what_was_kept_before_tuning_is_compared_by_its_last_cut_most_first():
    results = [
        {"row": row, "seed": seed, "cuts": [0.9, last], "last": last}
        for row, lasts in (("msip", (0.5, 0.6, 0.7)), ("obs", (0.611, 0.710, 0.809)))
        for seed, last in enumerate(lasts)
    ]

    *_, first, second, _ = table(results, ["msip", "obs", "never-ran"], "msip").split("\n")

    assert first.startswith("| `obs` | 3 | 0.900 0.710 | +0.110 [+0.108, +0.112] | 0.000 | clearly")
    assert second == "| `msip` | 3 | 0.900 0.600 |  |  |  |"
