"""How far a study is, its runs, and what may be done with it."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from msip_core.language import t, tn, told
from msip_core.markdown import md
from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from msip_core.studies import engine
from msip_core.studies.engine import Standing
from pages.kit.guard import guarded
from pages.kit.lab import lab
from pages.kit.words import STATE_WORDS, time_left

EVERY_SECONDS = 3


def study_head(study_id: str) -> Standing:
    """Progress and buttons; a timed fragment only while something can still change.

    Returns:
        The state of its runs: the rest of the page is made from the same reading.
    """
    now = engine.standing(lab().runs, study_id)
    head = st.fragment(_head, run_every=EVERY_SECONDS if _moves(now) else None)
    head(study_id, _signature(now), [now])
    return now


def _moves(now: Standing) -> bool:
    """Whether it changes by itself: runs of a study that was paused or cancelled still end."""
    ending = now.count(RunState.RUNNING, RunState.PAUSING, RunState.CANCELLING)
    return not now.is_over and (not now.paused or ending > 0)


def _signature(now: Standing) -> tuple[object, ...]:
    """The table below changes only when this does."""
    finished = now.count(RunState.COMPLETED, RunState.FAILED)
    return now.paused, now.is_over, _moves(now), finished


@guarded
def _head(study_id: str, seen: tuple[object, ...], just_read: list[Standing]) -> None:
    # Used up by the run of the whole page; when the timer comes back, it is to look again.
    now = just_read.pop() if just_read else engine.standing(lab().runs, study_id)
    if _signature(now) != seen:
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center"):
        word, colour, icon = _state(now)
        st.badge(md(word), color=colour, icon=icon)  # type: ignore[arg-type]
        st.caption(md(_counts(now)), width="content")
    if not now.is_over:
        text = f"{now.done:.0%}" + (f" · {time_left(now.seconds_left)}" if not now.paused else "")
        st.progress(now.done, text=md(text))
    if now.reason:
        st.error(md(told(now.reason)), icon=":material/error:")
    _buttons(study_id, now)


def _state(now: Standing) -> tuple[str, str, str]:
    if now.reason:
        return t("Stopped"), "red", ":material/error:"
    if now.is_over and now.count(RunState.FAILED, RunState.INTERRUPTED):
        return t("Over, with gaps"), "orange", ":material/warning:"
    if now.is_over:
        return t("Over"), "green", ":material/check:"
    if now.paused:
        return t("Paused"), "orange", ":material/pause:"
    return t("Going on"), "blue", ":material/play_arrow:"


def _counts(now: Standing) -> str:
    """'5 Done, 1 Running, 7 not started'."""
    words = [
        f"{count} {t(STATE_WORDS[state][0])}" for state in RunState if (count := now.count(state))
    ]
    if waiting := sum(state.row is None for state in now.states):
        words.append(t("{n} not started", n=waiting))
    return ", ".join(words)


def _buttons(study_id: str, now: Standing) -> None:
    failed = bool(now.count(RunState.FAILED, RunState.INTERRUPTED))
    with st.container(horizontal=True):
        if not now.is_over and not now.paused:
            _button(study_id, "pause", t("Pause"), ":material/pause:", engine.pause)
        if now.paused or failed:
            _button(study_id, "resume", _again(now), ":material/play_arrow:", engine.resume)
        if not now.is_over:
            _cancelling(study_id, now)


def _cancelling(study_id: str, now: Standing) -> None:
    """A button that asks, as that of a run does: a row that was cancelled never goes on again, and
    "Pause" is the button beside it."""
    alive = now.count(*(state for state in RunState if not state.is_finished))
    with st.popover(t("Cancel"), icon=":material/stop:", key=f"study:{study_id}:ask"):
        text = tn(
            "{n} run works or waits now: it ends, and no row is started any more.",
            "{n} runs work or wait now: they end, and no row is started any more.",
            alive,
        )
        st.caption(md(text))
        st.caption(t("Rows that are done stay in the table. “Pause” loses nothing."))
        _button(study_id, "cancel", t("Cancel this study"), ":material/stop:", engine.cancel)


def _again(now: Standing) -> str:
    if now.paused:
        return t("Resume")
    return t("Try the baseline again") if now.reason else t("Try the failed rows again")


def _button(
    study_id: str, key: str, word: str, icon: str, act: Callable[[RunService, str], Standing]
) -> None:
    @guarded
    def clicked() -> None:
        act(lab().runs, study_id)

    # A callback: a click in the moment of the timed rerun would be lost otherwise.
    st.button(md(word), key=f"study:{key}", icon=icon, on_click=clicked)
