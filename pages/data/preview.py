"""A page of micrographs with their boxes, class by class."""

from __future__ import annotations

import io

import numpy as np
import streamlit as st
from PIL import Image

from msip_core.boxes import Box
from msip_core.data.dataset import Dataset, ImageRecord
from msip_core.data.manifest import SPLITS
from msip_core.language import mark, t, tn
from msip_core.markdown import md
from msip_core.views.pictures import draw_boxes
from pages.kit.classes import class_legend
from pages.kit.lab import dataset as open_again

_PER_PAGE = 8
_PARTS = {
    "all": mark("all"),
    "train": mark("to learn"),
    "val": mark("to check"),
    "test": mark("final test"),
}
_SIDE = 640  # pixels of the longer side of a thumbnail


def preview(dataset: Dataset) -> None:
    """Filters, then one page of pictures; only the pictures of that page are read."""
    new = dataset.unlabelled
    st.subheader(t("Look at the images") if new else t("Look at the boxes"), anchor=False)
    left, middle, right = st.columns([3, 3, 1], vertical_alignment="bottom")
    classes: list[str] = []
    split = "all"
    if not new:
        classes = left.pills(
            t("Class"),
            dataset.classes,
            format_func=md,
            selection_mode="multi",
            key="preview:class",
            help=t("Only images with these classes, and only their boxes. None chosen: all."),
        )
        split = middle.segmented_control(
            t("Part"),
            ["all", *SPLITS],
            default="all",
            key="preview:split",
            required=True,
            wrap=True,
            format_func=lambda part: md(t(_PARTS[part])),
        )
    wanted = [
        record
        for record in dataset.images
        if split in ("all", record.split)
        and (not classes or any(record.counts.get(name) for name in classes))
    ]
    pages = max(1, -(-len(wanted) // _PER_PAGE))
    page = 1
    if pages > 1:
        page = right.number_input(
            md(t("Page of {pages}", pages=pages)),
            min_value=1,
            max_value=pages,
            key="page",
            bind="query-params",
        )
    if not wanted:
        st.info(t("No image of this part has a box of that class."), icon=":material/info:")
        return
    first = (page - 1) * _PER_PAGE
    shown = tuple(classes) if classes else dataset.classes
    class_legend(dataset.classes, shown)
    columns = st.columns(4)
    for place, record in enumerate(wanted[first : first + _PER_PAGE]):
        with columns[place % 4]:
            _tile(dataset, record, shown)


def _tile(dataset: Dataset, record: ImageRecord, shown: tuple[str, ...]) -> None:
    counts = ", ".join(f"{n} {name}" for name, n in record.counts.items())
    part = t(_PARTS[record.split]) if record.split else ""
    counts = counts or (t("no object") if part else t("not labelled"))
    st.image(
        _thumbnail(dataset.name, dataset.content_hash, record.id, shown),
        caption=md(" · ".join(filter(None, (record.id, part, counts)))),
        alt=tn(
            "Micrograph {name} with {n} box: {counts}",
            "Micrograph {name} with {n} boxes: {counts}",
            sum(record.counts.values()),
            name=record.id,
            counts=counts,
        ),
        width="stretch",
    )


@st.cache_data(max_entries=256, show_spinner=False)
def _thumbnail(name: str, content_hash: str, image_id: str, shown: tuple[str, ...]) -> bytes:
    """PNG of one micrograph with the boxes of the classes shown; kept by the dataset's content."""
    dataset = open_again(name)
    record = dataset.image(image_id)
    image = Image.fromarray(dataset.pixels(record))
    image.thumbnail((_SIDE, _SIDE))
    scale = image.width / record.width
    boxes = [
        Box(cls=b.cls, x1=b.x1 * scale, y1=b.y1 * scale, x2=b.x2 * scale, y2=b.y2 * scale)
        for b in dataset.boxes(record)
        if dataset.classes[b.cls] in shown
    ]
    drawn = draw_boxes(
        np.asarray(image), boxes, dataset.classes, labels="none", min_side=_SIDE, dashed=True
    )
    out = io.BytesIO()
    Image.fromarray(drawn).save(out, "PNG")
    return out.getvalue()
