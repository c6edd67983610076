"""A baseline that nothing should be compared with yet."""

from __future__ import annotations

import streamlit as st

from msip_core.events import Metrics
from msip_core.language import t
from msip_core.markdown import md
from msip_core.views import sentences, wording


def unlearned(baseline: Metrics) -> None:
    """Before any comparison with it: a baseline that has not learned yet."""
    if sentences.has_learned(baseline):
        return
    split = t("final test") if baseline.split == "test" else t("validation")
    text = t(
        "The baseline has not learned its task yet: its mAP50 ({split}) is {value}, below "
        "{level}. What is better or worse than it says nothing: train the baseline longer "
        "or on more images first.",
        split=split,
        value=wording.accuracy(baseline.map50),
        level=f"{sentences.LEARNED:.2f}",
    )
    st.warning(md(text), icon=":material/school:")
