"""MSIP Lab in the browser: the server, and the router. It loads no torch; heavy work runs in other
processes.

Streamlit imports this file once, as the server (`app`), and runs it for each look at a page.
"""

from __future__ import annotations

# Plotly looks whether pandas is loaded, and fails where another tab is just loading it: the server
# has it before the first tab comes.
import pandas  # noqa: F401
import streamlit as st

from msip_core.settings import get_settings
from pages.kit.guard import guard
from pages.kit.language import language_switch, speak
from pages.kit.layout import style
from pages.kit.login import require_login
from pages.kit.navigation import active_run_chip, route
from pages.kit.server import middleware, work_from_the_start


def main() -> None:
    """Show the page that was asked for."""
    st.set_page_config(page_title="MSIP Lab", page_icon="assets/icon.png", layout="wide")
    st.logo("assets/logo.svg", icon_image="assets/icon.svg", size="large")
    speak()
    page = route()
    style()
    with guard():
        require_login(get_settings().login_required)
        with st.sidebar:
            active_run_chip()
            language_switch()
        page.run()


if __name__ == "__main__":
    main()
else:
    app = st.App(__file__, lifespan=work_from_the_start, middleware=middleware())
