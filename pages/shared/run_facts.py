"""Below the curves: settings, diary, log, and what may be done with a run that is over."""

from __future__ import annotations

import streamlit as st

from msip_core.runs.store import RunRow
from msip_core.views.wording import plural
from pages.shared.choose import remember
from pages.shared.command import show_command
from pages.shared.guard import guarded
from pages.shared.lab import lab
from pages.shared.words import when

_SHOWN = 100


def settings_of(run: RunRow) -> None:
    """Diary, log, settings and the command; closed until somebody asks."""
    _diary(run)
    show_command(run.config, run.id)
    with st.expander("All settings of this run", icon=":material/data_object:"):
        st.json(run.config.model_dump(mode="json"), expanded=1)


def _diary(run: RunRow) -> None:
    entries = lab().runs.milestones(run.id)
    with st.expander(f"Diary ({plural(len(entries), 'entry', 'entries')}) and log",
                     icon=":material/history:"):  # fmt: skip
        for entry in entries[-_SHOWN:]:
            mark = ":material/warning: " if entry.level == "warning" else ""
            st.text(f"{when(entry.time)}  {'! ' if mark else ''}{entry.message}")
        log = lab().runs.log_tail(run.id, lines=_SHOWN)
        if log.strip():
            st.caption(f"Last lines of the log (up to {_SHOWN}):")
            st.code(log, language=None, height=260)
        else:
            st.caption("The log is still empty.")


def aftermath(run: RunRow) -> None:
    """Repeat a run that is over, with the same settings and seed."""
    if run.state.is_finished:
        st.button(
            "Run again with the same settings",
            icon=":material/replay:",
            on_click=_repeat,
            args=(run.id,),
        )


@guarded
def _repeat(run_id: str) -> None:
    remember("run", lab().runs.repeat(run_id))
