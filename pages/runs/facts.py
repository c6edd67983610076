"""Below the pictures: diary, log, settings, and the very same run once more."""

from __future__ import annotations

import streamlit as st

from msip_core.language import t, tn, told
from msip_core.markdown import md
from msip_core.runs.store import RunRow
from pages.kit.command import show_command
from pages.kit.guard import guarded
from pages.kit.lab import lab
from pages.kit.words import labelled, when
from pages.runs.ending import rename_or_delete
from pages.runs.live import is_moving
from pages.runs.outcome import submit_changed

_SHOWN = 100
_EVERY_SECONDS = 3


def settings_of(run: RunRow) -> None:
    """Diary, log, settings and the command; closed until somebody asks."""
    # One label for ever: Streamlit closes an expander whose label changes.
    diary = st.expander(
        t("Diary and log"), key="diary", on_change="rerun", icon=":material/history:"
    )
    if diary.open:
        with diary:
            every = _EVERY_SECONDS if is_moving(run.state) else None
            st.fragment(_diary, run_every=every)(run.id)
    show_command(run.config, run.id)
    with st.expander(t("All settings of this run"), icon=":material/data_object:"):
        st.json(run.config.model_dump(mode="json"), expanded=1)


@guarded
def _diary(run_id: str) -> None:
    entries = lab().runs.milestones(run_id)
    st.caption(md(tn("{n} entry, newest last", "{n} entries, newest last", len(entries))))
    for entry in entries[-_SHOWN:]:
        sign = "⚠ " if entry.level == "warning" else ""
        st.text(f"{when(entry.time)}  {sign}{told(entry.message)}")
    log = lab().runs.log_tail(run_id, lines=_SHOWN)
    if log.strip():
        st.caption(md(t("Last lines of the log (up to {n}):", n=_SHOWN)))
        st.code(log, language=None, height=260)
    else:
        st.caption(t("The log is still empty."))


def aftermath(run: RunRow) -> None:
    """Repeat a run that is over, with the same settings and seed; its title; deleting it."""
    if run.state.is_finished:
        label, term = t("Run exactly this again"), t("same settings, same seed")
        st.button(
            md(labelled(label, term)),
            key="run-again",
            icon=":material/replay:",
            on_click=submit_changed,
            args=(run.config,),
            kwargs={"name": run.name},
        )
    rename_or_delete(run)
