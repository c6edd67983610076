"""English text for a paper, with a button that copies it."""

from __future__ import annotations

import streamlit as st

from msip_core.language import t
from msip_core.markdown import md
from pages.kit.words import strong

_CSS = """<style>
  .st-key-prose code, .st-key-prose code * { font-family: "Source Sans", sans-serif !important;
    font-size: 1rem !important; line-height: 1.6 !important; }
</style>"""


def prose(title: str, text: str) -> None:
    """Set like text, not like a program; once a page."""
    st.markdown(md(strong(title, t("English, for the paper; copy it at the right"))))
    with st.container(key="prose"):
        st.html(_CSS)
        st.code(text, language=None, wrap_lines=True)
