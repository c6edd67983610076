"""Start: what this is, how far on the way one is, what this computer offers, the next step."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from msip_core.data.dataset import DatasetSummary
from msip_core.language import t
from msip_core.markdown import md, rich
from msip_core.models import ModelCard, list_models
from msip_core.runs.state import RunState
from msip_core.runs.store import RunRow
from msip_core.views.glossary import GLOSSARY
from pages.kit.lab import datasets, lab
from pages.kit.layout import Fact, facts, header, next_step, state_badge
from pages.kit.machine import find_machine
from pages.kit.words import LABEL_FORMS, small, when
from pages.start.first_steps import first_steps, next_of, own_run, show_steps
from pages.start.small_run import offer, settings_link, small_run


def _machine() -> None:
    machine = find_machine(str(lab().workspace.root))
    icon = rich(":material/bolt:") if machine.gpu else rich(":material/memory:")
    st.caption(md(rich("{icon} {words}", icon=icon, words=machine.sentence())))


def _begin(sets: Sequence[DatasetSummary], models: Sequence[ModelCard]) -> None:
    """Two ways in: the example, or one's own images."""
    left, right = st.columns(2)
    with left, st.container(border=True, height="stretch"):
        st.subheader(t("Try with example images"), anchor=False)
        small = small_run(sets, models)
        if small:
            offer(small)
        else:
            st.markdown(
                t(
                    "A few computer-drawn organoids, to learn the way with. Nothing to download: "
                    "the lab draws them."
                )
            )
            st.page_link(
                "pages/data/page.py",
                label=t("Draw example images"),
                icon=":material/draw:",
                query_params={"view": "add", "way": "drawn"},
            )
        _finished_example()
    with right, st.container(border=True, height="stretch"):
        st.subheader(t("Use my images"), anchor=False)
        text = t(
            "A folder or zip of micrographs (PNG, JPEG, BMP, TIFF with 8 or 16 bit, "
            "OME-TIFF, CZI, LIF, ND2) with boxes ({forms}, CSV, or masks), or without any. "
            "They stay on this computer.",
            forms=LABEL_FORMS,
        )
        st.markdown(md(text))
        st.page_link(
            "pages/data/page.py",
            label=t("Bring in my images"),
            icon=":material/upload:",
            query_params={"view": "add"},
        )


def _finished_example() -> None:
    done = lab().runs.list(limit=1, states=(RunState.COMPLETED,), kind="prune", of_studies=False)
    if done:
        st.page_link(
            "pages/runs/page.py",
            label=t("Or look at a finished run first"),
            icon=":material/timeline:",
            query_params={"run": done[0].id},
        )


def _lately(runs: Sequence[RunRow]) -> None:
    st.subheader(t("Latest runs"), anchor=False)
    for run in runs:
        name, state, started = st.columns([5, 2, 2], vertical_alignment="center")
        with name:
            st.page_link(
                "pages/runs/page.py", label=md(run.name or run.id), query_params={"run": run.id}
            )
        with state:
            state_badge(run.state)
        started.caption(md(when(run.started or run.created)))


def _words() -> None:
    with st.expander(t("Words used in this lab"), icon=":material/menu_book:"):
        for term in GLOSSARY.values():
            precise = small(t(term.precise)) if term.precise else rich("")
            text = rich(
                "**{word}**: {plain} {precise}",
                word=t(term.word),
                plain=t(term.plain),
                precise=precise,
            )
            st.markdown(md(text))


header(
    "MSIP Lab",
    t("Make a YOLOv8 detector of organoids lighter, and see whether it still looks at the crypts."),
)
_machine()
sets, models = datasets(), list_models(lab().workspace)
steps = first_steps(sets, models, own_run())
st.subheader(t("Your first five minutes"), anchor=False)
show_steps(steps)
_begin(sets, models)
facts(
    [
        Fact(t("Datasets"), str(len(sets))),
        Fact(t("Images"), f"{sum(item.images for item in sets):,}"),
        Fact(t("Models"), str(len(models))),
        Fact(t("Runs"), str(lab().runs.count())),
    ]
)
latest = lab().runs.list(limit=5, of_studies=False)
if latest:
    _lately(latest)
_words()
following = next_of(steps)
if following is None:
    next_step(
        "pages/export/page.py",
        t("take figures and the model home"),
        t("You have been all the way: what is left is to write it up."),
    )
else:
    first = small_run(sets, models) if following.page == "pages/new_run/page.py" else None
    ids = settings_link(first) if first else following.ids
    next_step(following.page, following.do, following.state, **ids)
