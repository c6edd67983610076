"""The pictures of the attention strip as questions: which there are, and how they get made.

Missing ones are asked for in the background while the page is open, a few at a time and only
while nobody else asks the compute process for anything; answers are kept by content.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import streamlit as st

from msip_core.models import lacks_weights
from msip_core.questions.looking import GradCam, HeatMap, OfOneObject, Shap, ShapValues
from msip_core.questions.sources import RunStep
from pages.kit.explain import Subject
from pages.kit.guard import guarded
from pages.kit.lab import lab
from pages.runs.history import PruneHistory

SHAP_EVALUATIONS = 320  # a first look in seconds; the page "Where it looks" asks for more
_PATCHES = 40  # of SHAP
_AT_ONCE = 2  # questions of this strip in the queue: others never wait for more
BUSY = ("queued", "running")
_OPEN = ("new", "cancelled")
LEFT_OUT = "left out"  # a step whose weights are not here: nothing can be asked of it


@dataclass(frozen=True)
class Cell:
    """One picture of the strip: the question behind it."""

    step: int
    question: OfOneObject[HeatMap | ShapValues]

    @cached_property
    def key(self) -> str:
        return lab().compute.key(self.question)

    @property
    def state(self) -> str:
        compute = lab().compute
        if compute.knows(self.key):
            return compute.status(self.key).state
        model = self.question.model
        is_bare = isinstance(model, RunStep) and lacks_weights(
            lab().workspace, model.run, model.iteration
        )
        return LEFT_OUT if is_bare else "new"

    def result(self) -> HeatMap | ShapValues | None:
        """The answer, once it is there."""
        return lab().compute.result(self.question) if self.state == "done" else None


@dataclass(frozen=True)
class Strip:
    """All pictures that the strip shows of one object: for each kind a row over the steps."""

    history: PruneHistory
    step: int
    subject: Subject
    rows: dict[str, list[Cell]]

    @classmethod
    def of(cls, history: PruneHistory, step: int, subject: Subject, kinds: Sequence[str]) -> Strip:
        def cell(kind: str, place: int) -> Cell:
            asked = subject.asked_of(RunStep(run=history.id, iteration=place))
            if kind == "shap":
                samples, features = SHAP_EVALUATIONS, _PATCHES
                return Cell(place, Shap(**asked, samples=samples, features=features))
            return Cell(place, GradCam(**asked, randomised=False))

        rows = {kind: [cell(kind, place) for place in history.steps] for kind in kinds}
        return cls(history, step, subject, rows)

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
    return f"strip:stopped:{strip.history.id}:{subject.record.id}:{subject.box.xyxy}"


def is_working(strip: Strip) -> bool:
    """Whether pictures are being made or will be."""
    states = [cell.state for cell in strip.cells]
    if any(state in BUSY for state in states):
        return True
    return any(state in _OPEN for state in states) and not st.session_state.get(stop_flag(strip))


def ask_next(strip: Strip) -> None:
    """Ask for the next pictures, if the compute process has nothing else to do."""
    compute = lab().compute
    for row in strip.rows.values():  # each kind has a queue of its own
        cells = [cell for cell in strip.cells if cell in row]
        mine = sum(cell.state in BUSY for cell in cells)
        if not cells or compute.pending(cells[0].question) > mine:
            continue
        for cell in [cell for cell in cells if cell.state in _OPEN][: max(0, _AT_ONCE - mine)]:
            compute.submit(cell.question)


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
            lab().compute.submit(cell.question)
