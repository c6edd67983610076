"""Choose the object that is explained, by a click in the picture or from the list."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from msip_core.boxes import Box, Detection
from msip_core.data.dataset import Dataset, ImageRecord
from msip_core.language import mark, t, tn
from msip_core.markdown import md
from msip_core.views.marks import detection_marks, read_mark_id
from pages.kit.choose import choose, remember
from pages.kit.components.compare_slider import Pane, compare_slider
from pages.kit.detections import above, find, micrograph_url, nothing_found
from pages.kit.pair import ModelPair

_SHOWN_FROM = 0.25
_TALLEST = 460  # screen pixels: the maps below must not be pushed out of sight
_KINDS = {
    "found": mark("Found by the baseline"),
    "lighter": mark("Found by the lighter model"),
    "labelled": mark("Labelled on the micrograph"),
}


def choose_object(pair: ModelPair, data: Dataset, record: ImageRecord) -> Box | None:
    """Picture with numbered objects and the chooser beside it; None while there is none."""
    left, right = st.columns([3, 2], gap="large")
    with right:
        kind = choose(t("Objects"), list(_KINDS), "objects", words=lambda k: t(_KINDS[k]))
        boxes = _boxes(pair, data, record, kind)
        if not boxes:
            return None
        number = _number(boxes, data.classes)
        st.caption(
            t("The same object and class is asked of both models, so the two maps can be compared.")
        )
    with left:
        _picture(data, record, boxes, number)
    return next(box for box in boxes if box.number == number)


def _boxes(
    pair: ModelPair, data: Dataset, record: ImageRecord, kind: str
) -> Sequence[Detection] | None:
    """Numbered objects to choose from; None (with the reason on the page) where there are none."""
    if kind == "labelled":
        # Numbered like detections, so that picture and chooser agree.
        labelled = [
            Detection(**box.model_dump(), score=1.0, number=number)
            for number, box in enumerate(data.boxes(record), start=1)
        ]
        if not labelled:
            st.info(t("No object is labelled on this micrograph."), icon=":material/search_off:")
        return labelled
    source = pair.pruned if kind == "lighter" else pair.baseline
    found = find(source, data, record, imgsz=pair.config.imgsz, place=f"look:{kind}")
    if found is None:
        return None
    shown = above(found, _SHOWN_FROM)
    # A link from "Before and after" may name one below: it was shown there.
    asked = st.query_params.get("object")
    shown += [box for box in found if box not in shown and str(box.number) == asked]
    if not shown:
        nothing_found(found, _SHOWN_FROM)
        st.caption(t("Choose “Labelled on the micrograph”, or another micrograph."))
    return shown


def _number(boxes: Sequence[Detection], classes: Sequence[str]) -> int:
    names = {str(box.number): box for box in boxes}
    asked = st.query_params.get("object")
    if asked is not None and asked not in names:
        remember("object", None)
        st.caption(
            md(t("Object {number} is not among these: the first one is shown.", number=asked))
        )

    def words(number: str) -> str:
        name, score = classes[names[number].cls], names[number].score
        if score < 1:
            return t("{number}: {name}, score {score:.2f}", number=number, name=name, score=score)
        return f"{number}: {name}"

    return int(choose(t("Object to explain"), list(names), "object", words=words))


def _picture(data: Dataset, record: ImageRecord, boxes: Sequence[Detection], chosen: int) -> None:
    title = tn("{n} object: click one", "{n} objects: click one", len(boxes))
    compare_slider(
        Pane(
            micrograph_url(data, record, "look"),
            title,
            t("Micrograph {image} with numbered objects", image=record.id),
            detection_marks(boxes, data.classes, chosen=chosen),
        ),
        None,
        size=(record.width, record.height),
        image=record.id,
        key="pick-object",
        tallest=_TALLEST,
        picked=lambda box: remember("object", str(read_mark_id(box)[1])),
    )
