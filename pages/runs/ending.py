"""Cancelling a run, which asks first and says whose it is; its title; deleting it."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from msip_core.language import mark, t
from msip_core.markdown import md
from msip_core.runs.state import Action
from msip_core.runs.store import RunRow
from msip_core.studies.dependants import delete_run, dependants_of_run
from msip_core.views import wording
from msip_core.workspace import study_of
from pages.kit.asking import asked_here
from pages.kit.keeping import deletion, renaming
from pages.kit.lab import lab
from pages.kit.words import ACTION_WORDS, strong, time_left, when

_KEEP = mark(
    "Its curves, steps, diary and the weights of its steps are removed. Models that it has made, "
    "and the images, stay. A study that asked for it is paused: resuming it makes the run again."
)


def whose(run: RunRow) -> str:
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


def cancelling(run: RunRow, act: Callable[[str, Action], None]) -> None:
    """A button that asks; the one in it cancels."""
    word, icon, meaning = ACTION_WORDS[Action.CANCEL]
    with st.popover(md(t(word)), icon=icon, key=f"run:{run.id}:ask"):
        st.markdown(md(strong(run.name)))
        st.caption(md(whose(run)))
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
            on_click=act,
            args=(run.id, Action.CANCEL),
        )


def rename_or_delete(run: RunRow) -> None:
    """Both, beside each other."""
    service = lab().runs
    with st.container(horizontal=True):
        renaming("run", run.name, lambda text: service.rename(run.id, text))
        deletion(
            "run",
            t("Delete this run"),
            t(_KEEP),
            lambda: dependants_of_run(lab().workspace, run.id),
            lambda: delete_run(lab().workspace, run.id),
        )
