"""Choose the object that is explained: what the baseline found, or what a person labelled."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from msip_core.boxes import Box, Detection
from msip_core.data.dataset import Dataset, ImageRecord
from msip_core.views.pictures import draw_boxes
from pages.shared.choose import choose
from pages.shared.detections import above, find, pixels_of
from pages.shared.layout import picture
from pages.shared.pair import ModelPair

_SHOWN_FROM = 0.25
_SIDE = 480  # pixels: the numbers stay readable in a narrow column


def choose_object(pair: ModelPair, data: Dataset, record: ImageRecord) -> Box | None:
    """Picture with numbered objects and the chooser beside it; None while there is none."""
    left, right = st.columns([2, 3], gap="large")
    with right:
        kind = choose(
            "Objects",
            ["found", "labelled"],
            "objects",
            words={
                "found": "Found by the baseline",
                "labelled": "Labelled on the micrograph",
            }.__getitem__,
        )
        boxes = _boxes(pair, data, record, kind)
        if boxes is None:
            return None
        if not boxes:
            st.info(
                f"No organoid above {_SHOWN_FROM}: choose “Labelled on the micrograph”, or another "
                "micrograph.",
                icon=":material/search_off:",
            )
            return None
        names = {str(number): box for number, box in enumerate(boxes, start=1)}
        number = choose(
            "Object to explain",
            list(names),
            "object",
            words=lambda n: _words(n, names[n], data.classes),
        )
        st.caption(
            "The same object and class is asked of both models, so the two maps can be compared."
        )
    with left:
        picture(
            draw_boxes(
                pixels_of(data, record),
                boxes,
                data.classes,
                labels="number" if kind == "labelled" else "auto",
                chosen=int(number) - 1,
                min_side=_SIDE,
            ),
            caption=f"{record.id}: the chosen object is drawn bold",
            alt=f"Micrograph {record.id} with {len(boxes)} numbered objects",
        )
    return names[number]


def _boxes(pair: ModelPair, data: Dataset, record: ImageRecord, kind: str) -> Sequence[Box] | None:
    if kind == "labelled":
        # Numbered like detections, so that picture and chooser agree.
        return [
            Detection(**box.model_dump(), score=1.0, number=number)
            for number, box in enumerate(data.boxes(record), start=1)
        ]
    found = find(pair.baseline, data, record, imgsz=pair.config.imgsz, place="look:find")
    return None if found is None else above(found, _SHOWN_FROM)


def _words(number: str, box: Box, classes: Sequence[str]) -> str:
    score = f", score {box.score:.2f}" if isinstance(box, Detection) and box.score < 1 else ""
    return f"{number}: {classes[box.cls]}{score}"
