"""Image by image: the micrograph with its numbered objects beside their rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from msip_core.language import t, tn, told
from msip_core.markdown import md
from msip_core.plates.overlays import numbered
from msip_core.plates.rows import Counting, ImageRow, ObjectRow
from msip_core.runs.store import RunRow
from msip_core.workspace import Workspace
from pages.kit.choose import choose, remember
from pages.kit.classes import class_legend
from pages.kit.guard import guard
from pages.kit.lab import lab
from pages.kit.layout import picture
from pages.plate.choosing import Count
from pages.plate.correcting import correct


def pictures(count: Count) -> None:
    """Choose a well, then one of its images."""
    counting = _counting(count)
    well_of = {image.image: _well(image) for image in counting.images}
    wells = list(dict.fromkeys(well_of.values()))
    _follow(well_of)
    left, right = st.columns(2)
    with left:
        well = choose(t("Well"), wells, "well", words=lambda name: name or "—")
    images = [image for image in counting.images if _well(image) == well]
    with right:
        name = choose(t("Image"), [image.image for image in images], "image")
    image = next(item for item in images if item.image == name)
    objects = [item for item in counting.objects if item.image == name]
    class_legend(counting.classes, dashed=False)
    with guard():  # the source may be gone; the rows are not
        _picture(count.run, counting.role, image, objects)
    _said(image)
    _objects(objects)
    with guard():
        correct(count, image.image, counting.role)


def _follow(well_of: dict[str, str]) -> None:
    """A link to an image alone shows its well; another well is chosen without the old image."""
    wanted = st.query_params.get("image")
    if wanted in well_of and "well" not in st.query_params:
        remember("well", well_of[wanted])
    elif wanted in well_of and well_of[wanted] != st.query_params.get("well"):
        remember("image", None)


def _counting(count: Count) -> Counting:
    found = count.analysis
    if found.baseline is None:
        return found.counting
    words = {
        "model": found.counting.name or found.counting.model,
        "baseline": found.baseline.name or found.baseline.model,
    }
    role = st.segmented_control(
        t("Counted by"),
        list(words),
        default="model",
        required=True,
        key="plate:role",
        format_func=lambda one: md(words[one]),
    )
    return found.baseline if role == "baseline" else found.counting


def _well(image: ImageRow) -> str:
    return f"{image.plate} {image.well}".strip() or image.series or image.image


def _picture(run: RunRow, role: str, image: ImageRow, objects: list[ObjectRow]) -> None:
    if image.state == "failed":
        st.warning(
            md(t("This image could not be read: {why}", why=told(image.reason))),
            icon=":material/broken_image:",
        )
        return
    with st.spinner(t("Reading the image")):
        root, rows = str(lab().workspace.root), (image, objects)
        pixels = _drawn(root, run.id, role, image.image, rows)
    picture(
        pixels,
        alt=t("The micrograph with a numbered box around each object"),
        caption=t("Each number is that of its row below, and of the tables to take home."),
    )


@st.cache_data(show_spinner=False, max_entries=8)
def _drawn(
    root: str, run_id: str, role: str, image: str, _rows: tuple[ImageRow, Sequence[ObjectRow]]
) -> NDArray[np.uint8]:
    # Rows of an image that is counted do not change: its name tells them apart.
    workspace = Workspace(Path(root))
    return numbered(workspace, workspace.run_dir(run_id), *_rows)


def _said(image: ImageRow) -> None:
    for text in (image.chosen, image.note, image.tiles, image.reason):
        if text:
            st.caption(md(told(text)))


def _objects(objects: list[ObjectRow]) -> None:
    st.subheader(md(tn("{n} object", "{n} objects", len(objects))), anchor=False)
    if objects:
        rows = [_row(item) for item in objects]
        _, _, score, diameter, area, _ = rows[0]
        whole = st.column_config.NumberColumn(format="%.0f")
        digits = {
            score: st.column_config.NumberColumn(format="%.2f"), diameter: whole, area: whole,
        }  # fmt: skip
        st.dataframe(rows, hide_index=True, key="plate:objects", column_config=digits)


def _row(item: ObjectRow) -> dict[str, Any]:
    in_um = item.diameter_um is not None
    unit = "µm" if in_um else "px"
    area, diameter = (
        (item.area_um2, item.diameter_um) if in_um else (item.area_px, item.diameter_px)
    )
    return {
        t("Number"): item.object,
        t("Class"): item.class_name,
        t("Score"): round(item.score, 2),
        t("Diameter ({unit})", unit=unit): round(diameter or 0, 1),
        t("Area ({unit})", unit=f"{unit}²"): round(area or 0, 1),
        t("At the border"): t("yes") if item.at_edge else t("no"),
    }
