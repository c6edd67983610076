"""Start: what this is, what this computer offers, the example, the next step."""

from __future__ import annotations

import streamlit as st

from msip_core.models import list_models
from msip_core.runs.state import RunState
from msip_core.views.glossary import GLOSSARY
from pages.shared.lab import datasets, lab
from pages.shared.layout import Fact, facts, header, next_step, state_badge
from pages.shared.machine import find_machine
from pages.shared.words import known, small, when


def _begin(first_run: str | None) -> None:
    left, right = st.columns(2)
    with left, st.container(border=True, height="stretch"):
        st.subheader("Try with example images", anchor=False)
        st.write(
            "A few computer-drawn organoids, a detector trained on them, and one finished pruning "
            "run. Nothing to download: every page shows something at once."
        )
        if first_run:
            st.page_link(
                "pages/runs.py",
                label="Open the finished run",
                icon=":material/timeline:",
                query_params={"run": first_run},
            )
        else:
            st.page_link(
                "pages/data.py",
                label="Draw example images",
                icon=":material/draw:",
                query_params={"view": "add"},
            )
    with right, st.container(border=True, height="stretch"):
        st.subheader("Use my images", anchor=False)
        st.write(
            "A folder or zip of micrographs (PNG, JPEG, BMP, TIFF with 8 or 16 bit, OME-TIFF) with "
            "boxes in YOLO, COCO, Pascal VOC or CSV form. They stay on this computer."
        )
        st.page_link(
            "pages/data.py",
            label="Bring in my images",
            icon=":material/upload:",
            query_params={"view": "add"},
        )


def _machine() -> None:
    machine = find_machine(str(lab().workspace.root))
    (st.success if machine.gpu else st.info)(
        f"{machine.sentence} {machine.memory_free_gb:.0f} GB of memory and "
        f"{machine.disk_free_gb:.0f} GB of disk are free.",
        icon=":material/memory:",
    )


def _lately() -> None:
    runs = lab().runs.list(limit=5)
    if not runs:
        return
    st.subheader("Latest runs", anchor=False)
    for run in runs:
        name, state, started = st.columns([5, 2, 2], vertical_alignment="center")
        with name:
            st.page_link("pages/runs.py", label=run.name, query_params={"run": run.id})
        with state:
            state_badge(run.state)
        started.caption(when(run.started or run.created))


def _words() -> None:
    with st.expander("Words used in this lab", icon=":material/menu_book:"):
        for term in GLOSSARY.values():
            st.markdown(f"**{term.word}**: {term.plain} {small(term.precise)}")


header(
    "MSIP Lab",
    "Make a YOLOv8 detector of organoids lighter, and see whether it still looks at the crypts.",
)
_machine()
sets, models = datasets(), list_models(lab().workspace)
done = lab().runs.list(limit=1, states=(RunState.COMPLETED,), kind="prune")
_begin(done[0].id if done else None)
facts(
    [
        Fact("Datasets", str(len(sets))),
        Fact("Images", f"{sum(item.images for item in sets):,}"),
        Fact("Models", str(len(models))),
        Fact("Runs", str(lab().runs.count())),
    ]
)
st.markdown(
    "**The way:** bring in images with boxes → train a baseline → remove the channels it can "
    f"spare, step by step {small('structured pruning')} → compare before and after → see where it "
    "looks → take the model and the figures home."
)
_lately()
_words()
if done:
    best = known(done[0].started, when)
    next_step(
        "pages/runs.py",
        "look at the finished run",
        f"Its curves, its channels and what it looks at ({best}).",
        run=done[0].id,
    )
elif any(item.ready for item in sets):
    next_step("pages/models.py", "train a baseline", "The data are ready.")
else:
    next_step("pages/data.py", "bring in images", "Everything begins with labelled micrographs.")
