"""The same run on the command line, so that a click can be repeated by a script."""

from __future__ import annotations

import streamlit as st

from msip_core.config import AnyRun
from msip_core.language import t
from msip_core.options import command_line, repeat_command


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
