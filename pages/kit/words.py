"""States, terms and moments in words. Numbers are worded by msip_core.views.wording.

Constants hold the English text; `t` translates it where it is shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from msip_core.language import mark, t, told
from msip_core.markdown import Text, rich
from msip_core.runs.state import Action, RunState
from msip_core.views.wording import duration

T = TypeVar("T")

# state: word (for `t`), badge colour, icon (never colour alone)
STATE_WORDS: dict[RunState, tuple[str, str, str]] = {
    RunState.QUEUED: (mark("Waiting"), "gray", ":material/schedule:"),
    RunState.RUNNING: (mark("Running"), "blue", ":material/play_arrow:"),
    RunState.PAUSING: (mark("Pausing"), "orange", ":material/pause:"),
    RunState.PAUSED: (mark("Paused"), "orange", ":material/pause:"),
    RunState.CANCELLING: (mark("Stopping"), "orange", ":material/stop:"),
    RunState.CANCELLED: (mark("Cancelled"), "gray", ":material/block:"),
    RunState.COMPLETED: (mark("Done"), "green", ":material/check:"),
    RunState.FAILED: (mark("Failed"), "red", ":material/error:"),
    RunState.INTERRUPTED: (mark("Interrupted"), "orange", ":material/power_off:"),
}

ACTION_WORDS: dict[Action, tuple[str, str, str]] = {
    # action: word, icon, what it does
    Action.PAUSE: (
        mark("Pause"),
        ":material/pause:",
        mark("Stops at the next safe point and gives the device back. Nothing is lost."),
    ),
    Action.RESUME: (
        mark("Resume"),
        ":material/play_arrow:",
        mark("Goes on from the last finished epoch."),
    ),
    Action.CANCEL: (
        mark("Cancel"),
        ":material/stop:",
        mark("Ends this run. Iterations that are finished stay readable."),
    ),
}

# Of boxes that are read, beside tables and masks: names of programs, in every language.
LABEL_FORMS = (
    "YOLO, COCO, Pascal VOC, CVAT, labelme, Label Studio, VIA, QuPath GeoJSON, Supervisely, "
    "CreateML, napari"
)

# Order of the paper: plain word, what it measures.
TERM_WORDS: dict[str, tuple[str, str]] = {
    "gradient": (
        mark("Matters for the error"),
        mark("How much the detection loss would rise without the channel."),
    ),
    "geometry": (
        mark("Unlike the others"),
        mark("How far its answers lie from those of the layer's other channels."),
    ),
    "sparsity": (
        mark("Often active"),
        mark("At how many places of the micrographs the channel answers."),
    ),
    "information": (
        mark("Knows the class"),
        mark("How much its answer tells about the class, or that nothing is there (bits)."),
    ),
}


def small(term: str) -> Text:
    """An expert term in small grey type, to stand beside the plain word."""
    return rich(":small[:gray[{term}]]", term=term)


def labelled(word: str, term: str) -> Text:
    """The plain word and its expert term, as the label of a field.

    Without markup: a screen reader is given a field's label letter by letter, not as it is drawn.
    """
    return t("{word} ({term})", word=word, term=term)


def termed(word: str, term: str) -> Text:
    """The plain word with its expert term in small type beside it, for what is only drawn."""
    return rich("{word} {term}", word=word, term=small(term))


def strong(words: str, term: str = "") -> Text:
    """Bold words that head what follows, an expert term in small type beside them."""
    if not term:
        return rich("**{words}**", words=words)
    return rich("**{words}** {term}", words=words, term=small(term))


def known(value: T | None, words: Callable[[T], str]) -> str:
    """The value in words, or an em dash where it is not known."""
    return "—" if value is None else words(value)


def spent(seconds: float | None) -> str:
    """A duration, also where it is not known."""
    return t("unknown") if seconds is None else duration(seconds)


def time_left(seconds: float | None) -> str:
    """'about 3 min left', or what is true while nothing is known yet."""
    if seconds is None:
        return t("measuring the time left")
    return t("about {time} left", time=duration(seconds))


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
    day = t("today") if today else stamp.date()
    return f"{day} {stamp:%H:%M}"


def stage_words(stage: str | None) -> str:
    """What the run does right now."""
    return told(stage) if stage else t("starting")


def doing(iteration: int, iterations: int, stage: str | None) -> str:
    """'Step 2 of 5: fine-tuning'."""
    if not iterations or not iteration:
        return stage_words(stage)
    return t(
        "Step {n} of {total}: {stage}", n=iteration, total=iterations, stage=stage_words(stage)
    )
