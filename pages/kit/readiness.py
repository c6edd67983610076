"""What a dataset still lacks, and what is too few in it to be relied on."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from msip_core.data.dataset import DatasetSummary
from msip_core.language import told
from msip_core.markdown import joined, md, rich


def careful(concerns: Sequence[str]) -> None:
    """What is too few or too rare to be learned or judged."""
    if concerns:
        lines = joined("\n", (rich("- {text}", text=told(text)) for text in concerns))
        st.warning(md(lines), icon=":material/warning:")


def what_is_missing(sets: Sequence[DatasetSummary]) -> None:
    """The one thing that each dataset lacks, by name."""
    for item in sets:
        if item.missing:
            st.caption(
                md(rich("**{name}**: {missing}", name=item.words, missing=told(item.missing)))
            )
