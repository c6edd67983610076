"""Moments, times and errors in words."""

from __future__ import annotations

import time
from datetime import datetime

from msip_core.runs.state import Action, RunState
from pages.kit.guard import error_code
from pages.kit.words import ACTION_WORDS, STATE_WORDS, known, time_left, when


def test_a_moment_of_today_and_of_another_day() -> None:
    today = datetime.now().replace(hour=14, minute=5)

    assert when(today.timestamp()) == "today 14:05"
    assert when("2026-02-03T09:07:00") == "2026-02-03 09:07"
    assert when(None) == "—"


def test_time_left_says_when_it_is_not_known() -> None:
    assert time_left(None) == "measuring the time left"
    assert time_left(200) == "about 3 min 20 s left"
    assert known(None, str) == "—"


def test_every_state_and_action_has_words() -> None:
    assert set(STATE_WORDS) == set(RunState)
    assert set(ACTION_WORDS) == set(Action)


def test_the_same_fault_has_the_same_code_and_another_has_another() -> None:
    def fail(kind: type[Exception]) -> str:
        try:
            raise kind(time.time())
        except (ValueError, KeyError) as error:
            return error_code(error)

    assert fail(ValueError) == fail(ValueError)
    assert fail(ValueError) != fail(KeyError)
