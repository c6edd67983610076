"""Data: bring in micrographs with their boxes, and check what came in."""

from __future__ import annotations

import streamlit as st

from msip_core.views.wording import plural
from pages.shared.choose import choose, choose_view
from pages.shared.data_import import add_images
from pages.shared.data_preview import preview
from pages.shared.data_report import class_map, readiness, report, summary
from pages.shared.lab import dataset, datasets
from pages.shared.layout import empty, header, next_step

_VIEWS = {"look": "Your images", "add": "Add images"}

header("Data", "Your micrographs and the boxes on them: bring them in, check them, split them.")
sets = {item.name: item for item in datasets()}
view = choose_view(_VIEWS, "look" if sets else "add", "data")
if view == "add":
    add_images(set(sets))
elif not sets:
    empty("No images yet.", ("pages/start.py", "See what the lab can do"))
    st.caption("Choose “Add images” above: upload a zip or a folder, or let the lab draw examples.")
else:
    name = choose(
        "Dataset",
        list(sets),
        "dataset",
        words=lambda n: f"{n} ({plural(sets[n].images, 'image')})",
    )
    chosen = dataset(name)
    ready = readiness(chosen)
    summary(chosen)
    class_map(chosen)
    report(chosen)
    preview(chosen)
    if ready:
        next_step(
            "pages/models.py",
            "train a baseline",
            "The detector that will be made lighter, trained on these images.",
            dataset=name,
            view="train",
        )
