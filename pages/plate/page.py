"""Plate: count new images in the background, then read them well by well."""

from __future__ import annotations

import streamlit as st

from msip_core.language import mark, t
from msip_core.markdown import md
from pages.kit.choose import choose_view
from pages.kit.layout import empty, header
from pages.kit.run_head import is_moving, run_head
from pages.plate.choosing import choose_count, counts, look_at
from pages.plate.conditions import conditions
from pages.plate.files import files
from pages.plate.models import how_sure
from pages.plate.overview import overview
from pages.plate.pictures import pictures
from pages.plate.starting import start_form

_VIEWS = {"look": mark("Counts"), "start": mark("Count images")}
_PARTS = {
    "plate": mark("The plate"),
    "pictures": mark("Images and objects"),
    "conditions": mark("Conditions and doses"),
    "sure": mark("How sure"),
    "files": mark("Take home"),
}

header(
    t("Plate"),
    t(
        "How many organoids, or other objects, are in each well, and how many have crypts: of new "
        "images, with or without labels."
    ),
)
rows = counts()
view = choose_view(_VIEWS, "look" if rows or "count" in st.query_params else "start", "plate")
if view == "start":
    start_form()
elif not rows and "count" not in st.query_params:
    empty(t("Nothing was counted yet."), ("pages/models/page.py", t("Look at the models")))
    st.caption(t("Choose “Count images” above: a folder, a zip or single files, as they are."))
else:
    run = choose_count(rows)
    st.subheader(md(run.name), anchor=False)
    run_head(run)
    found = look_at(run, moving=is_moving(run.state))
    if found is not None:
        part = choose_view(_PARTS, "plate", "plate-part", param="part")
        if part == "plate":
            overview(found)
        elif part == "pictures":
            pictures(found)
        elif part == "conditions":
            conditions(found)
        elif part == "sure":
            how_sure(found)
        else:
            files(found)
