"""Runs: the queue, one run live, and beside its curves where the model looks."""

from __future__ import annotations

import streamlit as st

from msip_core.runs.state import RunState
from pages.shared.choose import asked
from pages.shared.lab import lab
from pages.shared.layout import empty, header, next_step
from pages.shared.run_attention import attention
from pages.shared.run_facts import aftermath, settings_of
from pages.shared.run_list import pick_run, run_table
from pages.shared.run_live import live_run

header("Runs", "What is waiting, what is running, what came out.")
if not lab().runs.count():
    empty(
        "No runs yet.",
        ("pages/models.py", "Train a baseline"),
        ("pages/new.py", "Make a detector lighter"),
    )
    st.stop()

run_table()
run = lab().runs.get(pick_run(asked("run")))
st.subheader(run.name, anchor=False)
if run.kind == "prune":
    with st.container(key="beside"):
        curves, pictures = st.columns([3, 2], gap="large")
    with curves:
        live_run(run.id)
    with pictures:
        attention(run)
else:
    live_run(run.id)
settings_of(run)
aftermath(run)

if run.state is RunState.COMPLETED and run.kind == "prune":
    next_step(
        "pages/compare.py",
        "compare before and after",
        "The same micrograph through the baseline and through the lighter model.",
        run=run.id,
    )
elif run.state is RunState.COMPLETED and run.model_id:
    next_step(
        "pages/new.py",
        "make it lighter",
        "Remove the channels that this detector can spare.",
        model=run.model_id,
    )
