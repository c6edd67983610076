"""Runs: the queue; one run live; every step of it in numbers, network and heat maps."""

from __future__ import annotations

import streamlit as st

from msip_core.config import PruneConfig
from msip_core.language import t
from msip_core.markdown import md
from msip_core.runs.state import RunState
from pages.shared.choose import asked
from pages.shared.lab import lab
from pages.shared.layout import empty, header, next_step
from pages.shared.live_chart import plotly_library
from pages.shared.run_attention import attention
from pages.shared.run_charts import curves, epoch_curves, network, step_facts, train_facts
from pages.shared.run_compare import compare_runs
from pages.shared.run_facts import aftermath, settings_of
from pages.shared.run_list import pick_run, run_table
from pages.shared.run_live import run_head
from pages.shared.run_outcome import outcome
from pages.shared.run_story import chosen_step, read_story, stepper

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
        ("pages/models.py", t("Train a baseline")),
        ("pages/new.py", t("Make a detector lighter")),
    )
    st.stop()

st.html(_CSS)
plotly_library()
run_table()
run = lab().runs.get(pick_run(asked("run")))
st.subheader(md(run.name), anchor=False)
run_head(run)
if isinstance(run.config, PruneConfig):
    story = read_story(run, run.config)
    step = chosen_step(story)
    outcome(run, story)
    stepper(story, step)
    step_facts(story, step)
    curves(story, step)
    network(story, step)
    attention(story, step)
    compare_runs(story)
else:
    outcome(run, None)
    train_facts(run)
    epoch_curves(run)
settings_of(run)
aftermath(run)

if run.state is RunState.COMPLETED and run.kind == "prune":
    next_step(
        "pages/compare.py",
        t("compare before and after"),
        t("The same micrograph through the baseline and through the lighter model."),
        run=run.id,
    )
elif run.state is RunState.COMPLETED and run.model_id:
    next_step(
        "pages/new.py",
        t("make it lighter"),
        t("Remove the channels that this detector can spare."),
        model=run.model_id,
    )
