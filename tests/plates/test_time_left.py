"""The time that a count has left follows what the computer does now."""

from __future__ import annotations

import pytest

from msip_core.plates import counting
from msip_core.plates.counting import _Clock


def _left(monkeypatch: pytest.MonkeyPatch, paces: list[float], total: int = 2000) -> list[float]:
    """Seconds left behind each picture, where each takes so many seconds."""
    now = [100.0]
    monkeypatch.setattr(counting.time, "monotonic", lambda: now[0])
    clock, left = _Clock(total, 0), []
    for seconds in paces:
        now[0] += seconds
        left.append(clock.record(1).seconds_left or 0.0)
    return left


def test_a_computer_that_becomes_busy_is_in_the_estimate_after_half_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left = _left(monkeypatch, [0.25] * 400 + [1.0] * 40)

    assert left[399] == pytest.approx(0.25 * 1600)
    assert left[-1] == pytest.approx(1.0 * 1560)
    # And one that becomes free again.
    assert _left(monkeypatch, [1.0] * 400 + [0.25] * 130)[-1] == pytest.approx(0.25 * 1470)


def test_pictures_that_take_long_are_taken_together_to_tell_their_pace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left = _left(monkeypatch, [20.0, 60.0] * 20, total=100)

    assert left[-1] == pytest.approx(40.0 * 60, rel=0.15)
    assert left[0] == 20.0 * 99
