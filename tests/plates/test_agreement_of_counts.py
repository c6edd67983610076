"""Agreement of two ways of counting: every number by hand or by another program's formula."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from scipy import stats

from msip_core.plates.agreement import (
    ALL,
    Pair,
    calibrate,
    concordance,
    equivalence,
    intraclass,
    limits_of,
)


def pairs(*values: tuple[float, float]) -> list[Pair]:
    return [Pair(str(n), a, b) for n, (a, b) in enumerate(values)]


FIVE = pairs((10, 11), (12, 12), (14, 17), (16, 16), (18, 19))  # differences 1, 0, 3, 0, 1


def test_bias_and_limits_of_agreement_by_hand() -> None:
    """Differences 1, 0, 3, 0, 1: mean 1, squares 0 + 1 + 4 + 1 + 0 = 6, SD sqrt(6 / 4)."""
    found = limits_of(FIVE)

    assert found is not None
    sd, t = sqrt(1.5), stats.t.ppf(0.975, 4)
    assert found.bias == pytest.approx((1, 1 - t * sd / sqrt(5), 1 + t * sd / sqrt(5)))
    assert found.sd == pytest.approx(sd)
    assert found.lower.value == pytest.approx(1 - 1.96 * sd)
    assert found.upper.value == pytest.approx(1 + 1.96 * sd)
    # Bland & Altman 1999: variance of a limit s² (1/n + 1.96² / (2 (n - 1))).
    error = sd * sqrt(1 / 5 + 1.96**2 / 8)
    assert found.upper.high == pytest.approx(1 + 1.96 * sd + t * error)


def test_the_slope_is_least_squares() -> None:
    found = limits_of(FIVE)
    assert found is not None
    assert found.slope is not None
    expected = stats.linregress([p.reference for p in FIVE], [p.other for p in FIVE]).slope
    assert found.slope.value == pytest.approx(expected)
    assert found.slope.low is not None
    assert found.slope.low < expected < (found.slope.high or 0)


def test_two_units_are_no_agreement() -> None:
    assert limits_of(FIVE[:2]) is None
    assert concordance(FIVE[:3]) is None
    assert intraclass(FIVE[:2]) is None


def test_images_of_one_well_count_as_one() -> None:
    """Each of five images there four times over: with wells as clusters the interval of the bias
    is that of the five."""
    twenty = [pair._replace(cluster=pair.name) for pair in FIVE for _ in range(4)]

    alone, together = limits_of(FIVE), limits_of(twenty)

    assert alone is not None
    assert together is not None
    assert (together.units, together.clusters) == (20, 5)
    assert together.bias == pytest.approx(alone.bias)
    assert concordance(twenty) == pytest.approx(concordance(FIVE))


def test_equivalence_is_two_one_sided_tests_by_hand() -> None:
    found = limits_of(FIVE)
    assert found is not None

    result = equivalence(found, margin=2.5)

    assert result is not None
    error = sqrt(1.5 / 5)
    assert result.p == pytest.approx(stats.t.sf((2.5 - 1) / error, 4))
    reach = stats.t.ppf(0.95, 4) * error
    assert (result.low, result.high) == pytest.approx((1 - reach, 1 + reach))
    # 1 + 2.13 x 0.548 = 2.17 lies in the margin; one difference of five, 3, lies outside.
    assert (result.verdict, result.outside) == ("same", 1)


@pytest.mark.parametrize(
    ("margin", "verdict"), [(2.5, "same"), (1.5, "unclear"), (0.01, "unclear")]
)
def test_the_verdict_follows_the_margin(margin: float, verdict: str) -> None:
    found = limits_of(FIVE)
    assert found is not None
    result = equivalence(found, margin)
    assert result is not None
    assert result.verdict == verdict


def test_a_difference_wholly_beyond_the_margin_is_called_different() -> None:
    far = limits_of(pairs((1, 6), (2, 7.1), (3, 7.9), (4, 9)))
    assert far is not None
    result = equivalence(far, 2.0)
    assert result is not None
    assert result.verdict == "different"


def test_few_noisy_wells_are_not_called_the_same() -> None:
    """No significant difference is not agreement: what a plain t test would have called alike."""
    noisy = pairs((0.2, 0.35), (0.3, 0.1), (0.25, 0.4), (0.4, 0.3))
    assert stats.ttest_rel([p.other for p in noisy], [p.reference for p in noisy]).pvalue > 0.5
    found = limits_of(noisy)
    assert found is not None
    result = equivalence(found, 0.05)
    assert result is not None
    assert result.verdict == "unclear"


def test_models_that_agree_exactly_are_the_same() -> None:
    found = limits_of(pairs((1, 1), (2, 2), (3, 3), (4, 4)))
    assert found is not None
    result = equivalence(found, 0.05)
    assert result is not None
    assert (result.verdict, result.p) == ("same", 0.0)


def test_concordance_by_hand() -> None:
    """Means 14 and 15, variances 8 and 46/5 (n), covariance 8 (10 and 12 … by hand)."""
    x, y = np.array([p.reference for p in FIVE]), np.array([p.other for p in FIVE])
    both = float(((x - 14) * (y - 15)).mean())
    expected = 2 * both / (x.var() + y.var() + 1)

    found = concordance(FIVE)

    assert found is not None
    assert found.value == pytest.approx(expected)
    assert found.low is not None
    assert found.low < expected < (found.high or 0) < 1


def test_concordance_of_equal_pairs_is_one_and_of_a_shift_is_less() -> None:
    equal = concordance(pairs((1, 1), (2, 2), (3, 3), (5, 5)))
    shifted = concordance(pairs((1, 3), (2, 4), (3, 5), (5, 7)))
    assert equal is not None
    assert shifted is not None
    assert equal.value == pytest.approx(1)
    # Variance 2.1875 both, covariance the same, means 2 apart: 4.375 / (4.375 + 4).
    assert shifted.value == pytest.approx(4.375 / 8.375)


def test_the_intraclass_correlation_by_an_analysis_of_variance() -> None:
    """Shrout & Fleiss 1979, table 4: judges 1 and 4 of the six targets; ICC(2,1) by their
    formula, from mean squares computed here the long way."""
    table = np.array([(9, 8), (6, 2), (8, 6), (7, 6), (10, 9), (6, 7)], float)
    n, k = table.shape
    grand = table.mean()
    ss_total = ((table - grand) ** 2).sum()
    ss_rows = k * ((table.mean(1) - grand) ** 2).sum()
    ss_columns = n * ((table.mean(0) - grand) ** 2).sum()
    ms_rows, ms_columns = ss_rows / (n - 1), ss_columns / (k - 1)
    ms_error = (ss_total - ss_rows - ss_columns) / ((n - 1) * (k - 1))
    expected = (ms_rows - ms_error) / (
        ms_rows + (k - 1) * ms_error + k * (ms_columns - ms_error) / n
    )

    assert intraclass(pairs(*map(tuple, table))) == pytest.approx(expected)


def test_counts_against_labels_class_by_class() -> None:
    truth = {
        f"{n}.png": {"crypt": a, "no_crypt": b}
        for n, (a, b) in enumerate([(4, 10), (2, 8), (6, 12)])
    }
    counted = {
        name: {"crypt": v["crypt"] - 1, "no_crypt": v["no_crypt"]} for name, v in truth.items()
    }

    every, crypt, other = calibrate(truth, counted | {"more.png": {}}, ("crypt", "no_crypt"))

    assert (every.name, crypt.name, other.name) == (ALL, "crypt", "no_crypt")
    assert (crypt.found, crypt.labelled, crypt.ratio) == (9, 12, 0.75)
    assert crypt.limits is not None
    assert crypt.limits.bias.value == -1
    assert crypt.limits.slope is not None
    assert crypt.limits.slope.value == pytest.approx(1)
    assert other.ratio == 1
    assert (every.found, every.labelled) == (39, 42)
