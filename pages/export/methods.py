"""Text for a paper: the methods paragraph of the run, and its citations as BibTeX and RIS."""

from __future__ import annotations

import streamlit as st

from msip_core.catalog import PLAIN_EXPLAINERS
from msip_core.language import mark, t, told
from msip_core.markdown import md
from msip_core.views.citations import bibliography, references_of
from msip_core.views.history import read_history
from msip_core.views.methods import methods_text
from pages.export.panels import measured_latency
from pages.kit.lab import lab
from pages.kit.pair import ModelPair
from pages.kit.saving import save_button
from pages.kit.words import strong

_FILES = {"bib": mark("References as BibTeX"), "ris": mark("References as RIS")}


_CSS = """<style>
  .st-key-prose code, .st-key-prose code * { font-family: "Source Sans", sans-serif !important;
    font-size: 1rem !important; line-height: 1.6 !important; }
</style>"""


def methods(pair: ModelPair) -> None:
    """Text, then files. Speed is described where it was measured."""
    explained = st.pills(
        t("The paper also shows"),
        list(PLAIN_EXPLAINERS),
        format_func=lambda name: md(told(PLAIN_EXPLAINERS[name].label)),
        selection_mode="multi",
        default=[],
        key="share:explained",
        help=t("Only what was used is described and cited."),
    )
    history = read_history(lab().workspace, lab().runs, pair.run.id)
    text = methods_text(history, explained=explained, latency=measured_latency(pair))
    prose(t("Methods paragraph"), text)
    if history.final is None:
        st.caption(t("The run is not done: its result is not in the text yet."))
    works = references_of(history.config, explained)
    with st.container(horizontal=True):
        save_button(t("Methods as text"), text, f"{pair.run.id}-methods.txt", type="primary")
        for form, word in _FILES.items():
            name = f"{pair.run.id}.{form}"
            save_button(t(word), bibliography(works, form), name, icon="format_quote")
    st.caption(t("Read it before you use it: it knows the run, not your samples or microscope."))


def prose(title: str, text: str) -> None:
    """English, set like text and not like a program, with a button that copies it; once a page."""
    st.markdown(md(strong(title, t("English, for the paper; copy it at the right"))))
    with st.container(key="prose"):
        st.html(_CSS)
        st.code(text, language=None, wrap_lines=True)
