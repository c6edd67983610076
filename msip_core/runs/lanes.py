"""Which interactive work waits for which: a look at a few images never waits for a long count.

    look    heat maps, predictions on a few images: seconds each (`Question.is_look`)
    work    everything else: imports, comparisons, previews, SHAP

Each lane does one job after another, both at the same time. Only what measures milliseconds is
alone (`Question.measures_time`): beside other work it would measure that work too.
"""

from __future__ import annotations

from typing import Any, Literal

from msip_core.questions.base import Question

Lane = Literal["look", "work"]


def lane_of(question: Question[Any]) -> Lane:
    """Where a question waits."""
    return "look" if question.is_look() else "work"


def go_together(one: Question[Any], other: Question[Any]) -> bool:
    """Whether two may be at work at the same time."""
    return not (one.measures_time or other.measures_time)
