"""Dose and response: a known EC50 is found again, and none is given where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from msip_core.plates.dose import Curve, fit, in_one_unit

DOSES = np.repeat([0, 0.01, 0.03, 0.1, 0.3, 1, 3, 10], 3)
TRUE = Curve(bottom=0.1, top=0.6, ec50=0.3, slope=1.2)


def test_the_curve_passes_through_its_middle_at_the_ec50_and_begins_at_the_bottom() -> None:
    assert TRUE(np.array([0.0, 0.3, 1e9])) == pytest.approx([0.1, 0.35, 0.6])
    # (10 x EC50)^1.2: 0.1 + 0.5 / (1 + 10^-1.2)
    assert TRUE(np.array([3.0]))[0] == pytest.approx(0.1 + 0.5 / (1 + 10**-1.2))


@pytest.mark.parametrize("curve", [TRUE, Curve(0.7, 0.2, 1.0, 2.0), Curve(12, 40, 0.05, 0.8)])
def test_an_ec50_without_noise_is_found_exactly(curve: Curve) -> None:
    found = fit("CHIR", list(DOSES), list(curve(DOSES)), "µM")

    assert found.curve is not None
    assert found.ec50.value == pytest.approx(curve.ec50, rel=1e-4)
    assert found.curve.bottom == pytest.approx(curve.bottom, rel=1e-3)
    assert found.curve.top == pytest.approx(curve.top, rel=1e-3)
    assert found.curve.slope == pytest.approx(curve.slope, rel=1e-3)


def test_an_ec50_is_recovered_from_scattered_wells_and_its_interval_holds_it() -> None:
    held = []
    for seed in range(24):
        rng = np.random.default_rng(seed)
        found = fit("CHIR", list(DOSES), list(TRUE(DOSES) + rng.normal(0, 0.03, DOSES.size)), "µM")
        assert found.ec50.value == pytest.approx(0.3, rel=0.8)
        if found.ec50.low is not None and found.ec50.high is not None:
            held.append(found.ec50.low <= 0.3 <= found.ec50.high)
    assert len(held) >= 22
    assert np.mean(held) >= 0.83


def test_an_interval_holds_its_own_estimate_where_wells_hardly_scatter() -> None:
    doses = [dose for dose in (0.0, 1, 3, 10, 30, 100) for _ in "12"]
    curve = Curve(0.1, 0.9, 8.0, 1.5)
    exact = fit("x", doses, curve(np.array(doses))).ec50

    assert exact.value == pytest.approx(8)
    assert (exact.low, exact.high) == pytest.approx((8, 8))


def test_no_effect_is_no_ec50() -> None:
    rng = np.random.default_rng(0)
    refused = [
        fit("x", list(DOSES), list(rng.normal(0.4, 0.05, DOSES.size))).ec50.value is None
        for _ in range(24)
    ]
    assert np.mean(refused) >= 0.9


def test_half_of_the_effect_beyond_the_doses_is_no_ec50() -> None:
    late = Curve(0.1, 0.9, 40, 1.5)

    found = fit("x", list(DOSES), list(late(DOSES)), "µM")

    assert found.ec50.value is None
    assert found.reason == (
        "Half of the effect lies outside the doses that were tried (0.01 to 10 µM): add some."
    )


@pytest.mark.parametrize(
    ("doses", "reason"),
    [
        ([0, 1, 2, 3, 3, 3], "at least 4 different doses above zero: here are 3"),
        ([1, 2, 3, 4], "at least 6 wells: here are 4"),
        ([], "at least 4 different doses"),
    ],
)
def test_too_few_doses_or_wells_are_refused(doses: list[float], reason: str) -> None:
    found = fit("x", doses, [float(n) for n in range(len(doses))])
    assert found.curve is None
    assert reason in found.reason


def test_wells_that_all_say_the_same_are_refused() -> None:
    assert fit("x", list(DOSES), [0.5] * DOSES.size).reason == "All wells have the same response."


def test_doses_in_several_units_are_joined_or_refused() -> None:
    assert in_one_unit([(0, ""), (10, "nM"), (100, "nM"), (1, "µM")]) == (
        pytest.approx([0, 10, 100, 1000]),
        "nM",
    )
    assert in_one_unit([(1, "µM"), (2, "µM"), (1, "μM")]) == (pytest.approx([1, 2, 1]), "µM")
    assert in_one_unit([(1, "µM"), (1, "ng/mL")]) is None
    assert in_one_unit([(0, "µM")]) == ([0], "µM")
