"""Studies: many runs under one protocol, and the table that they end in."""

from __future__ import annotations

import streamlit as st

from msip_core.language import t
from msip_core.studies.library import list_studies
from pages.shared.choose import choose
from pages.shared.lab import datasets, lab
from pages.shared.layout import empty, header
from pages.shared.study_form import study_form
from pages.shared.study_live import study_head
from pages.shared.study_results import study_results

header(
    t("Studies"),
    t(
        "Many runs under one protocol, with the simple rivals that papers leave out, and one table "
        "that says what is clear and what is not."
    ),
)
studies = {study.id: study for study in list_studies(lab().workspace)}
if studies:
    chosen = choose(t("Study"), list(studies), "study", words=lambda i: studies[i].name)
    now = study_head(chosen)
    study_results(chosen, now)
with st.expander(t("Start a study"), icon=":material/add:", expanded=not studies):
    if any(item.ready for item in datasets()):
        study_form()
    else:
        empty(t("No dataset is ready."), ("pages/data.py", t("Bring in images")))
