"""Computers: where runs may go, what runs where, and how another one is added."""

from __future__ import annotations

import streamlit as st

from msip_core.computers import Computers, commands_here, commands_there
from msip_core.language import t, tn, told
from msip_core.markdown import md
from msip_core.runs.computers import find_computers
from msip_core.runs.state import RunState
from msip_core.views.computers import computers_info, places_info
from pages.kit.guard import guarded, show_failure
from pages.kit.lab import lab
from pages.kit.layout import empty, header
from pages.kit.words import STATE_WORDS


@st.cache_data(ttl=3, show_spinner=False)
def _find(root: str) -> Computers:
    """As they are now; kept for a moment, since the whole page and its moving part both ask."""
    return find_computers(lab().runs, lab().supervisor.executor)


@guarded
def _standing() -> None:
    found = _find(str(lab().workspace.root))
    if found.trouble:
        show_failure(told(found.trouble))
    elif not any(one.problem is None for one in found.found):
        empty(t("No computer takes runs yet: add one as below."))
    if found.found:
        _computers(found)
    _places(found)


def _computers(found: Computers) -> None:
    number = st.column_config.NumberColumn
    rows = [
        row | {"gpus": row["gpus"] or t("none"), "note": told(row["note"])}
        for row in computers_info(found)
    ]
    st.dataframe(
        rows,
        hide_index=True,
        column_config={
            "computer": t("Computer"),
            "free_cores": number(t("Cores free"), format="%g"),
            "cores": number(t("Cores"), format="%g"),
            "free_memory_gb": number(t("Memory free (GB)"), format="%.1f"),
            "memory_gb": number(t("Memory (GB)"), format="%.1f"),
            "gpus": st.column_config.TextColumn(
                t("GPUs"), help=t("Free and whole memory of each, as its driver tells them")
            ),
            "runs": number(t("Runs"), format="%d"),
            "note": st.column_config.TextColumn(t("Note"), width="large"),
        },
        alt=t("Computers with free cores, memory, GPUs and the number of their runs"),
    )


def _places(found: Computers) -> None:
    st.subheader(md(t("What runs where")), anchor=False)
    rows = places_info(found)
    if found.waiting:
        st.caption(md(tn("{n} waiting in the queue", "{n} waiting in the queue", found.waiting)))
    if not rows:
        st.caption(md(t("Nothing runs now.")))
    for row in rows:
        left, middle, right = st.columns([3, 2, 1], vertical_alignment="center")
        with left:
            st.page_link(
                "pages/runs/page.py",
                label=md(row["run"]),
                icon=":material/timeline:",
                query_params={"run": row["id"]},
            )
        where = t("{device} of {computer}", device=row["device"], computer=row["computer"])
        middle.caption(md(where))
        state = t(STATE_WORDS[RunState(row["state"])][0])
        right.caption(md(f"{state}, {row['done']:.0%}"))


def _adding(found_address: str, opened: bool) -> None:
    with st.expander(md(t("Add a computer")), icon=":material/add:", expanded=opened):
        st.markdown(md(t("On this computer, in the folder of MSIP Lab:")))
        st.code(commands_here(), language="sh")
        st.markdown(
            md(t("On each other computer, in its own folder of MSIP Lab of the same version:"))
        )
        st.code(commands_there(found_address), language="sh")
        text = t(
            "The other computers are sent each dataset and model once, and what their runs "
            "make comes back here. Whoever reaches the port of Ray can run programs on "
            "these computers: open it inside your own network only."
        )
        st.caption(md(text))


header(t("Computers"), t("The computers that runs may go to, their GPUs, and what runs where."))
st.fragment(_standing, run_every=5)()
_known = _find(str(lab().workspace.root))
_adding(_known.address, opened=not _known.others)
