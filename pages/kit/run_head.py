"""How far a run is, how long a waiting one still waits, and what may be done with it. Follows by
itself while the run moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from msip_core.config import AnyRun, CountConfig, TrainConfig
from msip_core.language import t, told
from msip_core.markdown import md
from msip_core.runs.slots import compete, room_of
from msip_core.runs.state import ALIVE, Action, RunState
from msip_core.runs.store import RunRow
from msip_core.views import wording
from msip_core.views.wording import duration
from msip_core.workspace import study_of
from pages.kit.asking import asked_here
from pages.kit.guard import guarded
from pages.kit.lab import lab
from pages.kit.layout import state_badge
from pages.kit.words import ACTION_WORDS, doing, strong, time_left, when

EVERY_SECONDS = 2
_LOOKED_AT = 200  # newest runs that tell how long a run like this took
_EARLY = ("preparing", "baseline evaluation")


Signature = tuple[RunState, bool, float | None, float | None]


def is_moving(state: str) -> bool:
    """Whether something of a run in this state can still change without a click."""
    now = RunState(state)
    return now.has_worker or now is RunState.QUEUED


def run_head(run: RunRow) -> None:
    """State, progress and buttons; a timed fragment only while something can still change."""
    every = EVERY_SECONDS if is_moving(run.state) else None
    with st.container(key="run-moving" if is_moving(run.state) else "run-still"):
        st.fragment(_head, run_every=every)(run.id, _signature(run))


def _signature(run: RunRow) -> Signature:
    """What the rest of the page shows changes only when this does: with a state, the baseline,
    or a finished step."""
    return run.state, run.stage in _EARLY, run.map50, run.macs_ratio


@guarded
def _head(run_id: str, seen: Signature) -> None:
    run = lab().runs.get(run_id)
    if _signature(run) != seen:
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center"):
        state_badge(run.state)
        st.caption(md(_state_sentence(run)), width="content")
    if is_moving(run.state) or run.state in (RunState.PAUSED, RunState.INTERRUPTED):
        st.progress(min(1.0, run.done), text=md(_progress_words(run)))
    _buttons(run)


def _state_sentence(run: RunRow) -> str:
    if run.state is RunState.QUEUED:
        return queue_sentence(run)
    if run.state.has_worker:
        return doing(run.iteration, run.iterations, run.stage)
    if run.finished:
        took = wording.duration(run.finished - (run.started or run.finished))
        return t("{when}, took {time}", when=when(run.finished), time=took)
    return doing(run.iteration, run.iterations, None) if run.iteration else ""


def _progress_words(run: RunRow) -> str:
    words = [f"{run.done:.0%}"]
    if run.state.has_worker:
        words.append(time_left(run.seconds_left))
    if run.message:
        words.append(told(run.message))
    return " · ".join(words)


def _buttons(run: RunRow) -> None:
    actions = lab().runs.actions(run.id)
    if not actions:
        return
    with st.container(horizontal=True):
        for action in actions:
            if action is Action.CANCEL:
                _cancelling(run)
                continue
            word, icon, meaning = ACTION_WORDS[action]
            label, help_text = t(word), t(meaning)
            if action is Action.RESUME and run.state is RunState.FAILED:
                label, help_text = t("Try again"), t("Goes on from the last good step.")
            # A callback: a click must count even where the timer finds that the page moved on.
            st.button(
                md(label),
                key=f"run:{run.id}:{action}",
                icon=icon,
                help=md(help_text),
                type="primary" if action is Action.RESUME else "secondary",
                on_click=_act,
                args=(run.id, action),
            )


@guarded
def _act(run_id: str, action: Action) -> None:
    lab().runs.act(run_id, action)


@dataclass(frozen=True, slots=True)
class Wait:
    """Seconds of known work before a run; `is_complete` if nothing before it is unknown."""

    runs: int
    seconds: float
    is_complete: bool


def queue_sentence(run: RunRow) -> str:
    """'Place 2 in the queue of cpu: starts in about 14 min.'"""
    runs = lab().runs
    wait = waiting_time(
        run,
        runs.list(limit=_LOOKED_AT, states=ALIVE),
        runs.list(limit=_LOOKED_AT, states=(RunState.COMPLETED,)),
    )
    place = {"n": run.queue_position or 1, "device": run.slot}
    if not wait.runs:
        return t("Place {n} in the queue of {device}: starts in a moment.", **place)
    if not wait.seconds:
        return t("Place {n} in the queue of {device}.", **place)
    place["time"] = duration(wait.seconds)
    if wait.is_complete:
        return t("Place {n} in the queue of {device}: starts in about {time}.", **place)
    return t("Place {n} in the queue of {device}: starts in more than {time}.", **place)


def waiting_time(run: RunRow, alive: Sequence[RunRow], done: Sequence[RunRow]) -> Wait:
    """What is known of the work before `run` on its device.

    A running run says itself how long it takes; a waiting one takes as long as the newest
    finished run of the same size, if there is one.
    """
    before = [
        other
        for other in alive
        if compete(run.slot, other.slot)
        and other.id != run.id
        and (other.state.has_worker or (other.queue_position or 0) < (run.queue_position or 0))
    ]
    known = [_seconds_of(other, done) for other in before]
    told = [seconds for seconds in known if seconds is not None]
    room = room_of(run.slot)
    if len(before) < room:
        return Wait(0, 0.0, True)
    return Wait(len(before), sum(told) / room, len(told) == len(known))


def _seconds_of(run: RunRow, done: Sequence[RunRow]) -> float | None:
    if run.state.has_worker:
        return run.seconds_left
    for other in done:
        same = compete(run.slot, other.slot) and _size(run.config) == _size(other.config)
        if same and other.started and other.finished:
            return (other.finished - other.started) * (1 - run.done)
    return None


def _size(config: AnyRun) -> tuple[object, ...]:
    """What a run's duration hangs on; two equal ones take about as long on one device."""
    shared = (config.kind, config.dataset, config.imgsz, config.batch)
    if isinstance(config, TrainConfig):
        return (*shared, config.weights, config.recipe.epochs)
    if isinstance(config, CountConfig):
        return (*shared, config.source, config.model, config.baseline)
    return (
        *shared,
        config.model,
        config.iterations,
        config.finetune.epochs,
        *config.goal,
        config.pretrain.epochs if config.pretrain else 0,
    )


def _whose(run: RunRow) -> str:
    """Who asked for the run, and when."""
    moment, study = when(run.created), study_of(run.id)
    if study:
        return t("The study {study} asked for it: {when}.", study=study, when=moment)
    if asked_here(run.id):
        return t("You asked for it in this tab: {when}.", when=moment)
    person = lab().runs.asked_by(run.id)
    if person:
        return t("{person} asked for it: {when}.", person=person, when=moment)
    return t("It was not asked for in this tab, and may be somebody else's: {when}.", when=moment)


def _cancelling(run: RunRow) -> None:
    """A button that asks; the one in it cancels."""
    word, icon, meaning = ACTION_WORDS[Action.CANCEL]
    with st.popover(md(t(word)), icon=icon, key=f"run:{run.id}:ask"):
        st.markdown(md(strong(run.name)))
        st.caption(md(_whose(run)))
        if run.state.has_worker:
            share = wording.percent(run.done)
            st.caption(
                md(t("{share} done, {left}.", share=share, left=time_left(run.seconds_left)))
            )
        st.caption(md(t(meaning)))
        # A callback: a click must count even where the timer finds that the page moved on.
        st.button(
            t("Cancel this run"),
            key=f"run:{run.id}:{Action.CANCEL}",
            type="primary",
            on_click=_act,
            args=(run.id, Action.CANCEL),
        )
