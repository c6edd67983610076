"""Data: bring in micrographs with their boxes, and check what came in."""

from __future__ import annotations

import streamlit as st

from msip_core.language import mark, t, tn
from pages.shared.choose import choose, choose_view
from pages.shared.data_import import add_images
from pages.shared.data_preview import preview
from pages.shared.data_report import (
    class_map,
    objects_by_part,
    pixel_size,
    readiness,
    report,
    summary,
)
from pages.shared.lab import dataset, datasets
from pages.shared.layout import empty, header, next_step

_VIEWS = {"look": mark("Your images"), "add": mark("Add images")}

header(
    t("Data"),
    t("Your micrographs and the boxes on them: bring them in, check them, split them."),
)
sets = {item.name: item for item in datasets()}
view = choose_view(_VIEWS, "look" if sets else "add", "data")
if view == "add":
    add_images(set(sets))
elif not sets:
    empty(t("No images yet."), ("pages/start.py", t("See what the lab can do")))
    st.caption(
        t("Choose “Add images” above: upload a zip or a folder, or let the lab draw examples.")
    )
else:
    name = choose(
        t("Dataset"),
        list(sets),
        "dataset",
        words=lambda n: tn("{name} ({n} image)", "{name} ({n} images)", sets[n].images, name=n),
    )
    chosen = dataset(name)
    ready = readiness(chosen)
    summary(chosen)
    objects_by_part(chosen)
    pixel_size(chosen)
    class_map(chosen)
    report(chosen)
    preview(chosen)
    if ready:
        next_step(
            "pages/models.py",
            t("train a baseline"),
            t("The detector that will be made lighter, trained on these images."),
            dataset=name,
            view="train",
        )
    else:
        next_step(
            "pages/data.py",
            t("add what is missing"),
            t("Import the images again with what the badge names."),
            view="add",
        )
