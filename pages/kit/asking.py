"""Asking for a run: put into the queue, remembered as asked for in this tab, shown on its page."""

from __future__ import annotations

import streamlit as st

from msip_core.config import AnyRun
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
