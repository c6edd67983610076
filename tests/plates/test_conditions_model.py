"""Conditions beside a control: estimates by hand, wells as units, no verdict from too few."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest
from scipy import stats

from msip_core.intervals import holm_adjusted
from msip_core.plates.conditions import QUASI, WELCH, Group, Unit, compare
from msip_core.plates.statements import comparison_sentence, p_words


def group(name: str, *units: tuple[int, int], plate: str = "P1") -> Group:
    return Group(name, tuple(Unit(plate, above, below) for above, below in units))


CONTROL = group("control", (10, 50), (14, 50), (6, 50))
DRUG = group("drug", (30, 50), (20, 50), (25, 50))


def test_a_share_against_the_control_by_hand() -> None:
    """30 of 150 against 75 of 150. Pearson's statistic: 4 + 0 + 4 control wells' squares over
    50 x 0.2 x 0.8 = 8, so 4 in all (16 + 0 + 16 over 8), and (25 + 25 + 0) / 12.5 = 4 for the
    drug: 8 over 4 degrees of freedom, a dispersion of 2."""
    (found,) = compare([CONTROL, DRUG], "control", "fraction")

    slope = log(1.0 / 0.25)  # odds 1 against 0.25
    error = sqrt(2 * (1 / (150 * 0.16) + 1 / (150 * 0.25)))
    reach = stats.t.ppf(0.975, 4)
    assert found.method == QUASI
    assert found.dispersion == pytest.approx(2.0)
    assert found.ratio == pytest.approx(
        (4.0, 4 * np.exp(-reach * error), 4 * np.exp(reach * error)), rel=1e-6
    )
    spread = sqrt(2 * (0.16 / 150 + 0.25 / 150))
    assert found.difference == pytest.approx(
        (0.3, 0.3 - reach * spread, 0.3 + reach * spread), rel=1e-6
    )
    assert found.p == pytest.approx(2 * stats.t.sf(slope / error, 4), rel=1e-6)


def test_counts_per_field_are_a_ratio_with_fields_as_offset() -> None:
    """40 objects of 12 fields against 120 of 18: 3.33 and 6.67 a field, twice as many."""
    few = group("control", (12, 4), (16, 4), (12, 4))
    many = group("drug", (30, 6), (50, 6), (40, 6))

    (found,) = compare([few, many], "control", "count")

    assert found.ratio is not None
    assert found.difference is not None
    assert found.ratio[0] == pytest.approx(2.0)
    assert found.difference[0] == pytest.approx(120 / 18 - 40 / 12)


def test_wells_that_agree_too_well_do_not_narrow_the_interval() -> None:
    same = group("control", (10, 50), (10, 50), (10, 50))
    (found,) = compare([same, group("drug", (25, 50), (25, 50), (25, 50))], "control", "fraction")
    assert found.dispersion == 1.0


def test_more_objects_in_the_same_wells_do_not_make_a_verdict() -> None:
    """Ten times the objects, the same shares of each well: wells are the units."""
    wells = [(10, 50), (30, 50), (20, 50)], [(35, 50), (15, 50), (25, 50)]
    few = compare([group("control", *wells[0]), group("drug", *wells[1])], "control", "fraction")[0]
    many = compare(
        [
            group("control", *((10 * a, 10 * b) for a, b in wells[0])),
            group("drug", *((10 * a, 10 * b) for a, b in wells[1])),
        ],
        "control",
        "fraction",
    )[0]

    assert few.p == pytest.approx(many.p, rel=1e-6)
    assert not many.is_clear


def test_holm_corrects_over_the_conditions() -> None:
    groups = [CONTROL, DRUG, group("other", (12, 50), (9, 50), (13, 50))]

    found = compare(groups, "control", "fraction")

    assert [one.group for one in found] == ["drug", "other"]
    first, second = sorted(found, key=lambda one: one.p or 1)
    assert first.p is not None
    assert second.p is not None
    assert first.adjusted == pytest.approx(2 * first.p)
    assert second.adjusted == pytest.approx(max(2 * first.p, second.p))


def test_two_wells_are_no_verdict_and_do_not_count_in_the_correction() -> None:
    few = group("few", (30, 50), (28, 50))

    refused, kept = compare([CONTROL, few, DRUG], "control", "fraction")

    assert refused.p is None
    assert not refused.is_clear
    assert refused.reason == (
        "A verdict needs at least 3 wells or replicates of each condition: 'few' has 2."
    )
    assert kept.adjusted == kept.p


def test_a_control_of_two_wells_stops_every_verdict() -> None:
    found = compare([group("control", (1, 5), (2, 5)), DRUG], "control", "fraction")
    assert [one.p for one in found] == [None]
    assert "'control' has 2" in found[0].reason


def test_a_control_without_a_single_crypt_is_compared_by_welch() -> None:
    none = group("control", (0, 40), (0, 50), (0, 45))

    (found,) = compare([none, DRUG], "control", "fraction")

    expected = stats.ttest_ind([0.6, 0.4, 0.5], [0, 0, 0], equal_var=False)
    assert found.method == WELCH
    assert found.ratio is None
    assert found.p == pytest.approx(expected.pvalue)
    bounds = expected.confidence_interval(0.95)
    assert found.difference == pytest.approx((0.5, bounds.low, bounds.high))


def test_two_conditions_without_any_scatter_are_not_compared() -> None:
    none, every = group("control", *[(0, 9)] * 3), group("drug", *[(9, 9)] * 3)
    (found,) = compare([none, every], "control", "fraction")
    assert found.p is None
    assert "nothing tells how they scatter" in found.reason


def test_plates_are_blocks_where_they_hold_the_same_conditions() -> None:
    """Plate 2 has twice the objects of plate 1; within each the drug doubles the control."""
    rows = {
        "control": [("1", 10), ("1", 11), ("1", 9), ("2", 20), ("2", 22), ("2", 18)],
        "drug": [("1", 20), ("1", 21), ("1", 19), ("2", 40), ("2", 44), ("2", 36)],
    }
    groups = [
        Group(name, tuple(Unit(plate, count, 1) for plate, count in units))
        for name, units in rows.items()
    ]

    (found,) = compare(groups, "control", "count")

    assert found.blocks
    assert found.ratio is not None
    assert found.ratio[0] == pytest.approx(2.0)
    assert found.dispersion == 1.0  # within plates, wells agree to one in ten
    without = compare(
        [Group(g.name, tuple(Unit("1", u.above, u.below) for u in g.units)) for g in groups],
        "control",
        "count",
    )[0]
    assert without.dispersion is not None
    assert without.dispersion > 1.3


def test_conditions_on_plates_of_their_own_have_no_blocks_and_the_comparison_says_so() -> None:
    (found,) = compare(
        [CONTROL, Group("drug", tuple(Unit("P2", u.above, u.below) for u in DRUG.units))],
        "control",
        "fraction",
    )
    assert not found.blocks
    assert found.p is not None
    assert "share no plate" in found.reason
    assert comparison_sentence(found).endswith("a difference between plates would look the same.")
    assert not compare([CONTROL, DRUG], "control", "fraction")[0].reason


def test_a_test_without_a_number_does_not_count_in_the_correction() -> None:
    assert holm_adjusted([None, 0.01, float("nan"), 0.04]) == [None, 0.02, None, 0.04]


def test_without_an_effect_a_verdict_is_rare() -> None:
    """200 plates of three wells a condition that scatter: p falls below 0.05 in about 5 %."""
    rng = np.random.default_rng(5)
    below = []
    for _ in range(200):
        groups = []
        for name in ("control", "drug"):
            shares = 1 / (1 + np.exp(-rng.normal(-0.8, 0.5, 3)))
            objects = rng.poisson(40, 3) + 1
            crypts = rng.binomial(objects, shares)
            groups.append(group(name, *zip(crypts.tolist(), objects.tolist())))
        (found,) = compare(groups, "control", "fraction")
        below.append(found.p is not None and found.p < 0.05)
    assert np.mean(below) <= 0.1


@pytest.mark.parametrize(
    ("p", "words"),
    [(0.032, "0.032"), (0.04961, "0.0496"), (0.04999, "0.0499"), (0.05034, "0.0503"),
     (0.0512, "0.051"), (0.0004, "< 0.001")],
)  # fmt: skip
def test_a_p_beside_the_limit_is_never_rounded_to_the_other_side(p: float, words: str) -> None:
    assert p_words(p) == words
