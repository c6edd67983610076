"""Before and after: one micrograph through both models; accuracy, cost, speed, counts."""

from __future__ import annotations

import streamlit as st

from msip_core.language import t
from pages.compare.all_images import all_images
from pages.compare.image import side_by_side
from pages.compare.numbers import numbers, speed
from pages.kit.layout import header, next_step
from pages.kit.navigation import note_visit
from pages.kit.pair import choose_image, choose_pair, pair_dataset

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
    st.page_link(
        "pages/correct/page.py",
        label=t("Correct the boxes of this micrograph"),
        icon=":material/edit_square:",
        query_params={"dataset": data.name, "image": record.id},
    )
    st.subheader(t("All test images"), anchor=False)
    all_images(pair, data, record)
    st.subheader(t("Accuracy and cost"), anchor=False)
    numbers(pair)
    st.subheader(t("Speed on this computer"), anchor=False)
    speed(pair)
    next_step(
        "pages/look/page.py",
        t("see where it looks"),
        t("Whether the attention of both models lies on the border of an object."),
        run=pair.run.id,
        step=str(pair.iteration),
        image=record.id,
    )
