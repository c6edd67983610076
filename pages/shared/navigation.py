"""The pages of the app and their addresses."""

from __future__ import annotations

import streamlit as st
from streamlit.navigation.page import Page


def all_pages() -> dict[str, list[Page]]:
    """Sections of the menu; every page has a fixed address, so that links keep working."""
    start = st.Page("pages/start.py", title="Start", icon=":material/home:", default=True)
    return {
        "Begin": [start],
        "Prepare": [
            _page("data", "Data", "photo_library", "data"),
            _page("models", "Models", "hub", "models"),
        ],
        "Make lighter": [
            _page("new_run", "New run", "add", "new"),
            _page("runs", "Runs", "timeline", "runs"),
        ],
        "Look": [
            _page("compare", "Before and after", "compare", "compare"),
            _page("look", "Where it looks", "visibility", "look"),
        ],
        "Take home": [_page("share", "Export", "download", "share")],
    }


def _page(file: str, title: str, icon: str, address: str) -> Page:
    return st.Page(f"pages/{file}.py", title=title, icon=f":material/{icon}:", url_path=address)


def route() -> Page:
    """Declare the pages and return the one that was asked for. Called by app.py in every run."""
    st.session_state["routed"] = True
    return st.navigation(all_pages())


def ensure_routed() -> None:
    """Send a page that was opened past the router back through it.

    Until the first `st.navigation` of a server's life, Streamlit takes the folder pages/ for its
    old kind of app and runs a page file without app.py: the first tab after a restart, if it
    shows any page but Start, would have neither menu nor error handling.
    """
    if not st.session_state.pop("routed", False):
        st.navigation(all_pages())
        st.rerun()
