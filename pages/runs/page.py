"""Runs: the queue; one run live; every step of it in numbers, network and heat maps; its diary."""

from __future__ import annotations

import streamlit as st

from msip_core.config import PruneConfig
from msip_core.language import mark, t, tn, told
from msip_core.markdown import md
from msip_core.runs.state import RunState
from msip_core.runs.store import RunRow
from msip_core.studies.dependants import delete_run, dependants_of_run
from pages.kit.asking import show_command
from pages.kit.choose import asked
from pages.kit.guard import guarded
from pages.kit.keeping import deletion, renaming
from pages.kit.lab import lab, still_here
from pages.kit.layout import empty, header, next_step
from pages.kit.run_head import is_moving, run_head
from pages.kit.words import labelled, when
from pages.runs.attention import attention
from pages.runs.charts import curves, epoch_curves, network, step_facts, train_facts
from pages.runs.comparison import compare_runs
from pages.runs.history import chosen_step, read_history, stepper
from pages.runs.listing import pick_run, run_table
from pages.runs.live_chart import plotly_library
from pages.runs.outcome import outcome, submit_changed

# Rooms that keep their height while a run moves, so that nothing below them jumps.
_CSS = """
<style>
  .st-key-run-moving { min-height: 8.6rem; }
  .st-key-run-facts { min-height: 7.4rem; }
</style>
"""
_SHOWN = 100  # entries of the diary, lines of the log
_EVERY_SECONDS = 3
_KEEP = mark(
    "Its curves, steps, diary and the weights of its steps are removed. Models that it has made, "
    "and the images, stay. A study that asked for it is paused: resuming it makes the run again."
)


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


header(t("Runs"), t("What is waiting, what is running, what came out."))
for why in lab().runs.left_out():
    st.warning(md(told(why)))
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
