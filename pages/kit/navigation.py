"""The pages of the app and their addresses, and below the menu the chip of the active run."""

from __future__ import annotations

import streamlit as st
from streamlit.navigation.page import Page

from msip_core.language import t, tn
from msip_core.markdown import md
from msip_core.runs.state import RunState
from pages.kit.guard import guarded
from pages.kit.lab import lab
from pages.kit.words import doing, time_left

# Folders that are not named as the address of their page.
_FOLDERS = {"new": "new_run", "share": "export"}


def all_pages() -> dict[str, list[Page]]:
    """Sections of the menu; every page has a fixed address, so that links keep working."""
    start = st.Page(page_file("start"), title=t("Start"), icon=":material/home:", default=True)
    return {
        t("Begin"): [start],
        t("Prepare"): [
            _page("data", t("Data"), "photo_library"),
            _page("correct", t("Correct boxes"), "edit_square"),
            _page("models", t("Models"), "hub"),
        ],
        t("Make lighter"): [
            _page("new", t("New run"), "add"),
            _page("runs", t("Runs"), "timeline"),
            _page("studies", t("Studies"), "table_chart"),
            _page("computers", t("Computers"), "dns"),
        ],
        t("Count"): [_page("plate", t("Plate"), "grid_on")],
        t("Look"): [
            _page("compare", t("Before and after"), "compare"),
            _page("look", t("Where it looks"), "visibility"),
        ],
        t("Take home"): [_page("share", t("Export"), "download")],
    }


def _page(address: str, title: str, icon: str) -> Page:
    return st.Page(page_file(address), title=title, icon=f":material/{icon}:", url_path=address)


def page_file(address: str) -> str:
    """The file behind an address. Addresses stay, so that links keep working."""
    return f"pages/{_FOLDERS.get(address, address)}/page.py"


def route() -> Page:
    """Declare the pages and return the one that was asked for. Called by app.py in every run."""
    return st.navigation(all_pages())


def note_visit(page: str, run: str) -> None:
    """Remember which run was looked at on which page, for the way on Start. This tab only.

    To be called before what is looked at is drawn: who has seen enough leaves while the rest of
    the page is still on its way, and Streamlit then ends the page where it stands.
    """
    st.session_state.setdefault("visits", set()).add((page, run))


def was_visited(page: str, run: str) -> bool:
    """Whether this tab has looked at the run on the page of that address."""
    return (page, run) in st.session_state.get("visits", set())


_ACTIVE = (RunState.RUNNING, RunState.PAUSING, RunState.CANCELLING)


def active_run_chip() -> None:
    """Draw the chip while something runs or waits; it follows by itself."""
    runs = lab().runs
    active = runs.count(_ACTIVE) + runs.count((RunState.QUEUED,)) > 0
    if active:
        st.fragment(_chip, run_every=5)()


@guarded
def _chip() -> None:
    runs = lab().runs
    running = runs.list(limit=1, states=_ACTIVE)
    waiting = runs.count((RunState.QUEUED,))
    if running:
        run = running[0]
        st.caption(t("Now running"))
        st.page_link(
            "pages/runs/page.py",
            label=md(run.name),
            icon=":material/timeline:",
            query_params={"run": run.id},
        )
        st.progress(run.done, text=md(doing(run.iteration, run.iterations, run.stage)))
        st.caption(md(time_left(run.seconds_left)))
    if waiting:
        st.caption(md(tn("{n} waiting in the queue", "{n} waiting in the queue", waiting)))
