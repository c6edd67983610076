"""MSIP Lab in the browser: the router. It loads no torch; heavy work runs in other processes."""

from __future__ import annotations

import streamlit as st

from msip_core.settings import get_settings
from pages.shared.guard import guard
from pages.shared.layout import style
from pages.shared.login import require_login
from pages.shared.sidebar import active_run_chip

st.set_page_config(page_title="MSIP Lab", page_icon=":material/biotech:", layout="wide")

PAGES = {
    "Begin": [
        st.Page("pages/start.py", title="Start", icon=":material/home:", url_path="", default=True),
    ],
    "Prepare": [
        st.Page("pages/data.py", title="Data", icon=":material/photo_library:", url_path="data"),
        st.Page("pages/models.py", title="Models", icon=":material/hub:", url_path="models"),
    ],
    "Make lighter": [
        st.Page("pages/new_run.py", title="New run", icon=":material/add:", url_path="new"),
        st.Page("pages/runs.py", title="Runs", icon=":material/timeline:", url_path="runs"),
    ],
    "Look": [
        st.Page(
            "pages/compare.py",
            title="Before and after",
            icon=":material/compare:",
            url_path="compare",
        ),
        st.Page(
            "pages/look.py",
            title="Where it looks",
            icon=":material/visibility:",
            url_path="look",
        ),
    ],
    "Take home": [
        st.Page("pages/share.py", title="Export", icon=":material/download:", url_path="share"),
    ],
}

page = st.navigation(PAGES)
style()
with guard():
    require_login(get_settings().login_required)
    with st.sidebar:
        active_run_chip()
    page.run()
