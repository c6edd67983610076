"""Statistics are gathered once for all that need them, and read back to the last bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from msip_core.arrays import read_arrays
from msip_core.importance import shared
from msip_core.importance.shared import gather_once
from msip_core.importance.statistics import RESPONSE, gather
from tests.detector.hostile import object_arrays
from tests.importance.kit import drawn_calibration, thin_detector

MSIP = frozenset({"taylor", "sparsity", "information"})
ALL = MSIP | {"spread", "distance"}  # found alongside


@pytest.fixture
def asked(monkeypatch):
    """What the calibration pass was asked for, call by call."""
    calls = []

    def listening(model, calibration, needs, ctx=None):
        calls.append(set(needs))
        return gather(model, calibration, needs, ctx)

    monkeypatch.setattr(shared, "gather", listening)
    return calls


def once(tmp_path, needs=MSIP, calibration=None, model=None):
    return gather_once(
        model or thin_detector(), calibration or drawn_calibration(), needs, None, tmp_path
    )


def _holding(cache, values):
    """Where these are kept."""
    for path in cache.glob("statistics-*/arrays.npz"):
        kept = read_arrays(path)
        if kept.keys() == values.keys() and all((kept[n] == values[n].numpy()).all() for n in kept):
            return path
    raise AssertionError("not kept")


def test_a_second_run_reads_what_the_first_gathered(tmp_path, asked):
    first, second = once(tmp_path), once(tmp_path)

    assert asked == [ALL, set()]
    for kind in ALL:
        place = "response" if kind in RESPONSE else "gradient"
        one, other = getattr(first, place)[kind], getattr(second, place)[kind]
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_read_is_what_a_pass_of_its_own_gives(tmp_path):
    once(tmp_path)
    read = once(tmp_path, frozenset({"taylor"}))
    alone = gather(thin_detector(), drawn_calibration(), frozenset({"taylor"}))

    assert read.gathered == alone.gathered
    assert read.images == alone.images
    for name, value in alone.gradient["taylor"].items():
        torch.testing.assert_close(read.gradient["taylor"][name], value)


@pytest.mark.parametrize("damage", ["a pickle", "cut", "text", "empty"])
def test_what_is_damaged_or_a_pickle_is_gathered_anew_and_runs_nothing(tmp_path, asked, damage):
    first = once(tmp_path)
    path = _holding(tmp_path, first.gradient["taylor"])
    data = path.read_bytes()
    path.write_bytes(
        {
            "a pickle": object_arrays(tmp_path / "proof"),
            "cut": data[:-40],
            "text": b"text",
            "empty": b"",
        }[damage]
    )

    second = once(tmp_path)

    assert asked == [ALL, {"taylor"}]
    assert not (tmp_path / "proof").exists()
    for name, value in first.gradient["taylor"].items():
        torch.testing.assert_close(second.gradient["taylor"][name], value)
    assert once(tmp_path).gradient["taylor"].keys() == first.gradient["taylor"].keys()


def test_only_kinds_that_nobody_gathered_are_added(tmp_path, asked):
    once(tmp_path)
    found = once(tmp_path, MSIP | {"nisp"})

    assert asked == [ALL, {"nisp"}]
    assert set(found.gradient) | set(found.response) == ALL | {"nisp"}


def test_another_network_or_other_images_share_nothing(tmp_path, asked):
    calibration = drawn_calibration()
    other = replace(calibration, images=calibration.images.flip(0))
    once(tmp_path)
    once(tmp_path, calibration=other)
    model = thin_detector()
    with torch.no_grad():
        model.model[0].conv.weight[0, 0, 0, 0] += 1
    once(tmp_path, model=model)

    assert asked == [ALL] * 3


def test_a_method_without_data_looks_at_nothing(tmp_path, asked):
    found = once(tmp_path, frozenset())

    assert asked == [set()]
    assert found.gathered == frozenset()
