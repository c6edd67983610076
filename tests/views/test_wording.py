"""Numbers as people read them."""

from __future__ import annotations

import pytest

from msip_core.views import tables, wording


@pytest.mark.parametrize(
    ("value", "text"), [(14.273e9, "14.27 G"), (4.78e9, "4.78 G"), (412e6, "412 M"), (950, "950")]
)
def test_macs(value, text):
    assert wording.macs(value) == text


@pytest.mark.parametrize(("value", "text"), [(11.136e6, "11.14 M"), (450_300, "450 k"), (7, "7")])
def test_params(value, text):
    assert wording.params(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0181, "+0.018"), (-0.0181, "−0.018"), (-0.0001, "±0.000"), (0, "±0.000")]
)
def test_changes_carry_a_sign_and_a_tiny_one_is_neither_up_nor_down(value, text):
    assert wording.signed(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "unknown"), (0.4, "0.4 s"), (8, "8 s"), (59.4, "59 s"), (60, "1 min"),
        (125, "2 min 5 s"), (3599.7, "1 h"), (4800, "1 h 20 min"),
    ],
)  # fmt: skip
def test_durations(seconds, text):
    assert wording.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(7.524, "7.52 ms"), (23.14, "23.1 ms"), (412.3, "412 ms")]
)
def test_milliseconds_have_three_digits(value, text):
    assert wording.milliseconds(value) == text


def test_plural_knows_one_and_thousands():
    assert wording.plural(1, "image") == "1 image"
    assert wording.plural(2500, "image") == "2,500 images"


def test_a_change_is_that_of_the_numbers_beside_it():
    assert wording.change(0.9884, 0.9915) == "0.988 → 0.992 (+0.004)"
    assert tables._accuracy_row("mAP50", 0.9884, 0.9915)["change"] == "+0.004"
