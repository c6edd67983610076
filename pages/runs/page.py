"""Runs: the queue; one run live; every step of it in numbers, network and heat maps."""

from __future__ import annotations

import streamlit as st

from msip_core.config import PruneConfig
from msip_core.language import t
from msip_core.markdown import md
from msip_core.runs.state import RunState
from pages.kit.choose import asked
from pages.kit.lab import lab, still_here
from pages.kit.layout import empty, header, next_step
from pages.runs.attention import attention
from pages.runs.charts import curves, epoch_curves, network, step_facts, train_facts
from pages.runs.comparison import compare_runs
from pages.runs.facts import aftermath, settings_of
from pages.runs.history import chosen_step, read_history, stepper
from pages.runs.listing import pick_run, run_table
from pages.runs.live import run_head
from pages.runs.live_chart import plotly_library
from pages.runs.outcome import outcome

# Rooms that keep their height while a run moves, so that nothing below them jumps.
_CSS = """
<style>
  .st-key-run-moving { min-height: 8.6rem; }
  .st-key-run-facts { min-height: 7.4rem; }
</style>
"""

header(t("Runs"), t("What is waiting, what is running, what came out."))
if not lab().runs.count():
    empty(
        t("No runs yet."),
        ("pages/models/page.py", t("Train a baseline")),
        ("pages/new_run/page.py", t("Make a detector lighter")),
    )
    st.stop()

st.html(_CSS)
plotly_library()
run_table()
run = lab().runs.get(pick_run(asked("run")))
st.subheader(md(run.name), anchor=False)
run_head(run)
if isinstance(run.config, PruneConfig):
    history = read_history(run, run.config)
    step = chosen_step(history)
    outcome(run, history)
    stepper(history, step)
    step_facts(history, step)
    curves(history, step)
    network(history, step)
    attention(history, step)
    compare_runs(history)
else:
    outcome(run, None)
    if run.kind == "train":
        train_facts(run)
        epoch_curves(run.id, run.state)
settings_of(run)
aftermath(run)

if run.state is RunState.COMPLETED and run.kind == "prune":
    next_step(
        "pages/compare/page.py",
        t("compare before and after"),
        t("The same micrograph through the baseline and through the lighter model."),
        run=run.id,
    )
elif run.state is RunState.COMPLETED and run.kind == "count":
    next_step(
        "pages/plate/page.py",
        t("read the plate"),
        t("Well by well: crypt fractions, conditions, doses, tables to take home."),
        count=run.id,
        view="look",
    )
elif run.state is RunState.COMPLETED and run.model_id:
    next_step(
        "pages/new_run/page.py",
        t("make it lighter"),
        t("Remove the channels that this detector can spare."),
        **still_here(model=run.model_id),
    )
