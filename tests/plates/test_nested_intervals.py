"""Shares and rates: values are sums over sums, intervals hold the truth as often as said."""

from __future__ import annotations

import numpy as np
import pytest

from msip_core.plates import nested
from msip_core.plates.nested import Fields, rate, share


def test_a_share_is_all_crypts_over_all_objects() -> None:
    wells = [Fields.of([2, 3], [10, 10]), Fields.of([1, 0], [4, 6]), Fields.of([4, 4], [8, 12])]

    found = share(wells)

    assert found.value == pytest.approx(14 / 50)
    assert found.units == 3
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < 14 / 50 < found.high < 1


def test_wells_without_objects_tell_nothing_of_a_share_and_count_as_zero_in_a_rate() -> None:
    wells = [Fields.of([2], [4]), Fields.of([0], [0]), Fields.of([3], [4]), Fields.of([1], [4])]
    per_field = [Fields.of([4], [1]), Fields.of([0], [1]), Fields.of([4], [1]), Fields.of([4], [1])]

    assert share(wells).units == 3
    assert share(wells).value == pytest.approx(0.5)
    assert rate(per_field).value == pytest.approx(3.0)
    assert rate(per_field).units == 4


def test_two_wells_have_no_interval_and_the_reason_is_said() -> None:
    found = share([Fields.of([1, 2], [5, 5]), Fields.of([3, 2], [5, 5])])

    assert found.value == pytest.approx(0.4)
    assert not found.has_interval
    assert found.reason == "An interval needs at least 3 units (each a well), here: 2."


def test_one_well_takes_its_fields_as_units() -> None:
    well = Fields.of([1, 2, 3], [5, 5, 5])

    assert not share([well]).has_interval
    found = share([well], one_well=True)
    assert (found.units, found.unit) == (3, "field")
    assert found.has_interval


@pytest.mark.parametrize("crypts", [0, 5])
def test_none_or_all_has_no_interval_since_resampling_would_give_one_of_no_width(
    crypts: int,
) -> None:
    found = share([Fields.of([crypts], [5])] * 4)

    assert found.value == crypts / 5
    assert not found.has_interval
    assert "resampling cannot tell" in found.reason


def test_nothing_at_all_is_no_number() -> None:
    assert share([Fields.of([0], [0])] * 3).value is None
    assert rate([]).value is None


def test_wells_that_differ_give_a_wider_interval_than_wells_that_agree() -> None:
    """The same 60 crypts of 120 objects, as six wells that agree or three of each kind."""
    even = [Fields.of([5, 5], [10, 10]) for _ in range(6)]
    apart = [Fields.of([k, k], [10, 10]) for k in (1, 1, 1, 9, 9, 9)]

    narrow, wide = share(even), share(apart)

    assert narrow.value == wide.value == 0.5
    assert narrow.low is not None
    assert narrow.high is not None
    assert wide.low is not None
    assert wide.high is not None
    # Alike to the object: Wilson's interval of 60 of 120. Apart: t(5) x 0.44 / sqrt(6) is 0.46.
    assert (narrow.low, narrow.high) == pytest.approx((0.4120, 0.5880), abs=1e-4)
    assert 0.5 < wide.high - wide.low < 1.0


def _drawn(rng: np.random.Generator, wells: int, spread: float) -> list[Fields]:
    """Four fields of about ten objects; wells lie around 0.31 on the logit scale."""
    found = []
    for logit in rng.normal(-0.8, spread, wells):
        total = rng.poisson(10, 4)
        crypts = rng.binomial(total, 1 / (1 + np.exp(-logit)))
        found.append(Fields(crypts.astype(np.int64), total.astype(np.int64)))
    return found


@pytest.mark.parametrize("wells", [3, 6])
@pytest.mark.parametrize("spread", [0.0, 0.8])
def test_intervals_hold_the_truth_about_95_times_in_100(
    wells: int, spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of nested data with a known truth; 150 plates tell 0.95 to within 0.04."""
    monkeypatch.setattr(nested, "DRAWS", 500)
    rng = np.random.default_rng(11)
    logits = rng.normal(-0.8, spread, 200_000)
    truth = float((1 / (1 + np.exp(-logits))).mean())

    found = [share(_drawn(rng, wells, spread), seed=n) for n in range(150)]

    held = [one.low <= truth <= one.high for one in found if one.low and one.high]
    assert len(held) >= 145
    assert np.mean(held) >= 0.9


def test_objects_as_units_would_hold_the_truth_far_too_rarely() -> None:
    """Why wells are the units: the plain binomial interval of the same plates."""
    rng = np.random.default_rng(11)
    truth = float((1 / (1 + np.exp(-rng.normal(-0.8, 0.8, 200_000)))).mean())
    held = []
    for _ in range(150):
        wells = _drawn(rng, 6, 0.8)
        above = sum(int(well.above.sum()) for well in wells)
        below = sum(int(well.below.sum()) for well in wells)
        value = above / below
        held.append(abs(value - truth) <= 1.96 * (value * (1 - value) / below) ** 0.5)
    assert np.mean(held) < 0.75
