"""Studies: many runs under one protocol, and the table that they end in."""

from __future__ import annotations

import streamlit as st

from msip_core.language import mark, t, told
from msip_core.markdown import md
from msip_core.studies.dependants import delete_study, dependants_of_study
from msip_core.studies.library import read_studies
from pages.kit.choose import choose
from pages.kit.keeping import deletion
from pages.kit.lab import datasets, lab
from pages.kit.layout import empty, header
from pages.studies.form import study_form
from pages.studies.live import study_head
from pages.studies.results import study_results

_KEEP = mark(
    "Its plan, its table and what the table says are removed. Its runs stay on the page Runs, the "
    "models that they made on the page Models."
)

header(
    t("Studies"),
    t(
        "Many runs under one protocol, with the simple rivals that papers leave out, and one table "
        "that says what is clear and what is not."
    ),
)
readable, left_out = read_studies(lab().workspace)
for why in left_out:
    st.warning(md(told(why)))
studies = {study.id: study for study in readable}
if studies:
    chosen = choose(t("Study"), list(studies), "study", words=lambda i: studies[i].name)
    now = study_head(chosen)
    study_results(chosen, now)
    workspace = lab().workspace
    deletion(
        "study",
        t("Delete this study"),
        t(_KEEP),
        lambda: dependants_of_study(workspace, chosen),
        lambda: delete_study(workspace, chosen),
    )
with st.expander(t("Start a study"), icon=":material/add:", expanded=not studies):
    if any(item.ready for item in datasets()):
        study_form()
    else:
        empty(t("No dataset is ready."), ("pages/data/page.py", t("Bring in images")))
