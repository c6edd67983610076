"""Asking for a run: put into the queue, remembered as asked for in this tab, shown on its page; and
the same on the command line, so that a click can be repeated by a script."""

from __future__ import annotations

import streamlit as st

from msip_core.config import AnyRun
from msip_core.language import t
from msip_core.options import command_line, repeat_command
from pages.kit.choose import remember
from pages.kit.lab import lab
from pages.kit.login import who

_KEY = "asked-runs"


def ask_for(config: AnyRun) -> str:
    """Put a run into the queue; its id."""
    run_id = lab().runs.submit(config, by=who())
    st.session_state.setdefault(_KEY, set()).add(run_id)
    remember("run", run_id)
    return run_id


def asked_here(run_id: str) -> bool:
    """Whether this tab asked for it."""
    return run_id in st.session_state.get(_KEY, set())


def show_command(config: AnyRun, run_id: str | None = None) -> None:
    """Draw the command in a box with a copy button.

    Args:
        run_id: of a run that exists: its settings file repeats it exactly.
    """
    with st.expander(t("The same on the command line"), icon=":material/terminal:"):
        st.code(command_line(config), language="bash", wrap_lines=True)
        if run_id is not None:
            st.caption(t("Exactly this run again, from inside the workspace:"))
            st.code(repeat_command(config, run_id), language="bash", wrap_lines=True)
