"""Before and after: one micrograph through both models; accuracy, cost, speed, counts."""

from __future__ import annotations

import streamlit as st

from pages.shared.compare_image import side_by_side
from pages.shared.compare_numbers import all_images, numbers, speed
from pages.shared.layout import header, next_step
from pages.shared.pair import choose_image, choose_pair, pair_dataset

header(
    "Before and after",
    "The same micrograph through the baseline and through the lighter model: what both find, "
    "what was lost, what is new.",
)
pair = choose_pair()
if pair is not None:
    data = pair_dataset(pair)
    record = choose_image(data)
    side_by_side(pair, data, record)
    st.subheader("Accuracy and cost", anchor=False)
    numbers(pair)
    st.subheader("Speed on this computer", anchor=False)
    speed(pair)
    st.subheader("All test images", anchor=False)
    all_images(pair, data)
    next_step(
        "pages/look.py",
        "see where it looks",
        "Whether the attention of both models lies on the crypt border.",
        run=pair.run.id,
        step=str(pair.iteration),
        image=record.id,
    )
