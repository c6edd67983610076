"""The methods paragraph of the run with its citations: copied, or saved as text, BibTeX, RIS."""

from __future__ import annotations

import streamlit as st

from msip_core.catalog import PLAIN_EXPLAINERS
from msip_core.language import mark, t, told
from msip_core.markdown import md
from msip_core.views.citations import bibliography, references_of
from msip_core.views.history import read_history
from msip_core.views.methods import methods_text
from pages.export.panels import measured_latency
from pages.export.prose import prose
from pages.kit.lab import lab
from pages.kit.pair import ModelPair

_FILES = {
    "bib": (mark("References as BibTeX"), "application/x-bibtex"),
    "ris": (mark("References as RIS"), "application/x-research-info-systems"),
}


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
        st.download_button(
            t("Methods as text"), text, file_name=f"{pair.run.id}-methods.txt", mime="text/plain",
            icon=":material/download:", on_click="ignore", type="primary",
        )  # fmt: skip
        for form, (word, mime) in _FILES.items():
            st.download_button(
                md(t(word)),
                bibliography(works, form),
                file_name=f"{pair.run.id}.{form}",
                mime=mime,
                icon=":material/format_quote:",
                on_click="ignore",
            )
    st.caption(t("Read it before you use it: it knows the run, not your samples or microscope."))
