"""The chip of the active run, below the navigation of every page."""

from __future__ import annotations

import streamlit as st

from msip_core.language import t, tn
from msip_core.markdown import md
from msip_core.runs.state import RunState
from pages.kit.guard import guarded
from pages.kit.lab import lab
from pages.kit.run_words import doing
from pages.kit.words import time_left

_ACTIVE = (RunState.RUNNING, RunState.PAUSING, RunState.CANCELLING)


def active_run_chip() -> None:
    """Draw the chip while something runs or waits; it follows by itself."""
    runs = lab().runs
    active = runs.count(_ACTIVE) + runs.count((RunState.QUEUED,)) > 0
    if active:
        st.fragment(_chip, run_every=5)()


@guarded
def _chip() -> None:
    runs = lab().runs
    running = runs.list(limit=1, states=_ACTIVE)
    waiting = runs.count((RunState.QUEUED,))
    if running:
        run = running[0]
        st.caption(t("Now running"))
        st.page_link(
            "pages/runs/page.py",
            label=md(run.name),
            icon=":material/timeline:",
            query_params={"run": run.id},
        )
        st.progress(run.done, text=md(doing(run.iteration, run.iterations, run.stage)))
        st.caption(md(time_left(run.seconds_left)))
    if waiting:
        st.caption(md(tn("{n} waiting in the queue", "{n} waiting in the queue", waiting)))
