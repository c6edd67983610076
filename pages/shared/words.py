"""States, terms and moments in words. Numbers are worded by msip_core.views.wording."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from msip_core.runs.state import Action, RunState
from msip_core.views.wording import duration

T = TypeVar("T")

# state: word, badge colour, icon (never colour alone)
STATE_WORDS: dict[RunState, tuple[str, str, str]] = {
    RunState.QUEUED: ("Waiting", "gray", ":material/schedule:"),
    RunState.RUNNING: ("Running", "blue", ":material/play_arrow:"),
    RunState.PAUSING: ("Pausing", "orange", ":material/pause:"),
    RunState.PAUSED: ("Paused", "orange", ":material/pause:"),
    RunState.CANCELLING: ("Stopping", "orange", ":material/stop:"),
    RunState.CANCELLED: ("Cancelled", "gray", ":material/block:"),
    RunState.COMPLETED: ("Done", "green", ":material/check:"),
    RunState.FAILED: ("Failed", "red", ":material/error:"),
    RunState.INTERRUPTED: ("Interrupted", "orange", ":material/power_off:"),
}

ACTION_WORDS: dict[Action, tuple[str, str, str]] = {
    # action: word, icon, what it does
    Action.PAUSE: (
        "Pause",
        ":material/pause:",
        "Stops at the next safe point and gives the device back. Nothing is lost.",
    ),
    Action.RESUME: (
        "Resume",
        ":material/play_arrow:",
        "Goes on from the last finished epoch.",
    ),
    Action.CANCEL: (
        "Cancel",
        ":material/stop:",
        "Ends this run. Iterations that are finished stay readable.",
    ),
}

# Order of the paper: plain word, what it measures.
TERM_WORDS: dict[str, tuple[str, str]] = {
    "gradient": (
        "Matters for the error",
        "How much the detection loss would rise without the channel.",
    ),
    "geometry": (
        "Unlike the others",
        "How far the filter lies from the other filters of its layer.",
    ),
    "sparsity": ("Often active", "At how many places of the micrographs the channel answers."),
    "information": (
        "Knows the class",
        "How much its answer tells about crypt, no crypt or background (bits).",
    ),
}


def small(term: str) -> str:
    """An expert term in small grey type, to stand beside the plain word."""
    return f":small[:gray[{term}]]"


def known(value: T | None, words: Callable[[T], str]) -> str:
    """The value in words, or an em dash where it is not known."""
    return "—" if value is None else words(value)


def time_left(seconds: float | None) -> str:
    """'about 3 min left', or what is true while nothing is known yet."""
    return "measuring the time left" if seconds is None else f"about {duration(seconds)} left"


def when(stamp: float | str | datetime | None) -> str:
    """A moment as 'today 14:05' or '2026-11-22 14:05'; takes seconds, ISO text or a datetime."""
    if stamp is None or stamp == "":
        return "—"
    if isinstance(stamp, str):
        stamp = datetime.fromisoformat(stamp)
    if isinstance(stamp, (int, float)):
        stamp = datetime.fromtimestamp(stamp)
    if stamp.tzinfo is not None:
        stamp = stamp.astimezone().replace(tzinfo=None)
    today = stamp.date().isoformat() == time.strftime("%Y-%m-%d")
    return f"{'today' if today else stamp.date()} {stamp:%H:%M}"
