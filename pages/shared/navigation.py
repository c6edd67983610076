"""The pages of the app and their addresses."""

from __future__ import annotations

import streamlit as st
from streamlit.navigation.page import Page

from msip_core.language import t


def all_pages() -> dict[str, list[Page]]:
    """Sections of the menu; every page has a fixed address, so that links keep working."""
    start = st.Page("pages/start.py", title=t("Start"), icon=":material/home:", default=True)
    return {
        t("Begin"): [start],
        t("Prepare"): [
            _page("data", t("Data"), "photo_library"),
            _page("models", t("Models"), "hub"),
        ],
        t("Make lighter"): [
            _page("new", t("New run"), "add"),
            _page("runs", t("Runs"), "timeline"),
            _page("studies", t("Studies"), "table_chart"),
            _page("computers", t("Computers"), "dns"),
        ],
        t("Look"): [
            _page("compare", t("Before and after"), "compare"),
            _page("look", t("Where it looks"), "visibility"),
        ],
        t("Take home"): [_page("share", t("Export"), "download")],
    }


def _page(name: str, title: str, icon: str) -> Page:
    """A page whose file has the name of its address: see `ensure_routed`, where Streamlit finds
    pages by their files and says "Page not found" of any other address."""
    return st.Page(f"pages/{name}.py", title=title, icon=f":material/{icon}:", url_path=name)


def route() -> Page:
    """Declare the pages and return the one that was asked for. Called by app.py in every run."""
    st.session_state["routed"] = True
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


def ensure_routed() -> None:
    """Send a page that was opened past the router back through it.

    Until the first `st.navigation` of a server's life, Streamlit takes the folder pages/ for its
    old kind of app and runs a page file without app.py: the first tab after a restart, if it
    shows any page but Start, would have neither menu nor error handling.
    """
    if not st.session_state.pop("routed", False):
        st.navigation(all_pages())
        st.rerun()
