"""Before and after: one micrograph through both models; accuracy, cost, speed, counts."""

from __future__ import annotations

import streamlit as st

from msip_core.language import t
from pages.shared.compare_all import all_images
from pages.shared.compare_image import side_by_side
from pages.shared.compare_numbers import numbers, speed
from pages.shared.layout import header, next_step
from pages.shared.navigation import note_visit
from pages.shared.pair import choose_image, choose_pair, pair_dataset

header(
    t("Before and after"),
    t(
        "The same micrograph through the baseline and through the lighter model: what both find, "
        "what was lost, what is new."
    ),
)
pair = choose_pair()
if pair is not None:
    data = pair_dataset(pair)
    record = choose_image(data)
    note_visit("compare", pair.run.id)
    side_by_side(pair, data, record)
    st.subheader(t("All test images"), anchor=False)
    all_images(pair, data, record)
    st.subheader(t("Accuracy and cost"), anchor=False)
    numbers(pair)
    st.subheader(t("Speed on this computer"), anchor=False)
    speed(pair)
    next_step(
        "pages/look.py",
        t("see where it looks"),
        t("Whether the attention of both models lies on the crypt border."),
        run=pair.run.id,
        step=str(pair.iteration),
        image=record.id,
    )
