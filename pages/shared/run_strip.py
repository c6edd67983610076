"""The pictures of the attention strip as questions: which there are, and how they get made.

Missing ones are asked for in the background while the page is open, a few at a time and only
while nobody else asks the compute process for anything; answers are kept by content.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import streamlit as st

from pages.shared.explain import Subject
from pages.shared.guard import guarded
from pages.shared.lab import lab
from pages.shared.run_story import Story

SHAP_EVALUATIONS = 320  # a first look in seconds; the page "Where it looks" asks for more
_OPTIONS: dict[str, dict[str, Any]] = {
    "gradcam": {"method": "gradcam", "randomised": False},
    "shap": {"samples": SHAP_EVALUATIONS, "features": 40},
}
_AT_ONCE = 2  # questions of this strip in the queue: others never wait for more
BUSY = ("queued", "running")
_OPEN = ("new", "cancelled")


@dataclass(frozen=True)
class Cell:
    """One picture of the strip: the question behind it."""

    step: int
    job: str
    params: dict[str, Any]

    @cached_property
    def key(self) -> str:
        return lab().compute.key(self.job, self.params)

    @property
    def state(self) -> str:
        compute = lab().compute
        return compute.status(self.key).state if compute.knows(self.key) else "new"

    def result(self) -> dict[str, Any] | None:
        """The answer, once it is there."""
        return lab().compute.result(self.key) if self.state == "done" else None


@dataclass(frozen=True)
class Strip:
    """All pictures that the strip shows of one object: for each kind a row over the steps."""

    story: Story
    step: int
    subject: Subject
    rows: dict[str, list[Cell]]

    @classmethod
    def of(cls, story: Story, step: int, subject: Subject, kinds: Sequence[str]) -> Strip:
        def cell(kind: str, place: int) -> Cell:
            source = {"run": story.run.id, "iteration": place}
            return Cell(place, kind, {**subject.question(source), **_OPTIONS[kind]})

        rows = {kind: [cell(kind, place) for place in story.steps] for kind in kinds}
        return cls(story, step, subject, rows)

    @cached_property
    def cells(self) -> list[Cell]:
        """In the order of making: Grad-CAM first; the baseline and the chosen step before others,
        since every number is told against the baseline."""
        return [
            cell
            for row in self.rows.values()
            for cell in sorted(row, key=lambda c: (c.step != 0, c.step != self.step))
        ]


def stop_flag(strip: Strip) -> str:
    """Stopped is one object of one run: another one is begun again."""
    subject = strip.subject
    return f"strip:stopped:{strip.story.run.id}:{subject.record.id}:{subject.box.xyxy}"


def is_working(strip: Strip) -> bool:
    """Whether pictures are being made or will be."""
    states = [cell.state for cell in strip.cells]
    if any(state in BUSY for state in states):
        return True
    return any(state in _OPEN for state in states) and not st.session_state.get(stop_flag(strip))


def ask_next(strip: Strip) -> None:
    """Ask for the next pictures, if the compute process has nothing else to do."""
    compute = lab().compute
    cells = strip.cells
    mine = sum(cell.state in BUSY for cell in cells)
    if compute.pending() > mine:
        return
    for cell in [cell for cell in cells if cell.state in _OPEN][: max(0, _AT_ONCE - mine)]:
        compute.submit(cell.job, cell.params)


@guarded
def stop(strip: Strip) -> None:
    st.session_state[stop_flag(strip)] = True
    compute = lab().compute
    for cell in strip.cells:
        if cell.state in BUSY:
            compute.cancel(cell.key)


@guarded
def go_on(strip: Strip) -> None:
    """Ask again, also for what failed."""
    st.session_state.pop(stop_flag(strip), None)
    for cell in strip.cells:
        if cell.state == "failed":
            lab().compute.submit(cell.job, cell.params)
