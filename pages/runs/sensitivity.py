"""Which layers hurt: what each costs when it alone is pruned, as the run's search measured it."""

from __future__ import annotations

import streamlit as st

from msip_core.documents import read_json
from msip_core.language import t
from msip_core.markdown import md
from msip_core.views import sensitivity, wording
from pages.kit.lab import lab
from pages.kit.layout import chart
from pages.kit.words import strong
from pages.runs.history import PruneHistory

_CURVES = ("search", "sensitivity.json")


def sensitivity_chart(history: PruneHistory) -> None:
    """The chart, and the layers that cost most in words."""
    what = t("mAP50 lost when half of one layer is gone")
    st.markdown(md(strong(t("Which layers hurt"), what)))
    path = lab().runs.run_dir(history.id).joinpath(*_CURVES)
    if (found := read_json(path)) is None:
        st.caption(t("The search has not finished yet."))
        return
    info = sensitivity.sensitivity_info(found)
    chart(
        sensitivity.sensitivity_figure(info, revision=history.id),
        "sensitivity",
        t("Accuracy that each layer costs when half of its channels are gone"),
    )
    worst = [
        f"{layer.label} ({wording.signed(-layer.drop)})"
        for layer in sensitivity.most_sensitive(info)
    ]
    st.caption(md(t("Most sensitive: {layers}.", layers=", ".join(worst))))
