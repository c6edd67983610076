"""Four weights that always sum to 100 %."""

from __future__ import annotations

import itertools

import pytest

from msip_core.config import WEIGHT_PRESETS
from pages.new_run.weights import as_percents, preset_of, rescale

PAPER = {"gradient": 40, "geometry": 30, "sparsity": 20, "information": 10}


def test_the_others_keep_their_proportions() -> None:
    moved = rescale({**PAPER, "gradient": 70}, "gradient")

    assert moved == {"gradient": 70, "geometry": 15, "sparsity": 10, "information": 5}


def test_odd_percents_go_to_the_largest_remainders() -> None:
    # 45 left in 40 : 20 : 10 -> 25.71, 12.86, 6.43
    moved = rescale({"gradient": 40, "geometry": 55, "sparsity": 20, "information": 10}, "geometry")

    assert moved == {"gradient": 26, "geometry": 55, "sparsity": 13, "information": 6}


def test_others_that_are_zero_share_equally() -> None:
    moved = rescale({"gradient": 40, "geometry": 0, "sparsity": 0, "information": 0}, "gradient")

    assert moved == {"gradient": 40, "geometry": 20, "sparsity": 20, "information": 20}


@pytest.mark.parametrize("term", PAPER)
def test_the_sum_is_always_100(term: str) -> None:
    starts = [
        PAPER,
        dict.fromkeys(PAPER, 25),
        {**dict.fromkeys(PAPER, 0), "sparsity": 100},
        {"gradient": 33, "geometry": 33, "sparsity": 33, "information": 1},
    ]
    for start, value in itertools.product(starts, range(101)):
        moved = rescale({**start, term: value}, term)
        assert sum(moved.values()) == 100, (start, value)
        assert moved[term] == value
        assert min(moved.values()) >= 0


@pytest.mark.parametrize("name", WEIGHT_PRESETS)
def test_each_preset_is_recognised(name: str) -> None:
    assert preset_of(as_percents(WEIGHT_PRESETS[name])) == name
    assert preset_of({**PAPER, "gradient": 39, "geometry": 31}) == "custom"
