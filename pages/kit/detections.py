"""What one model finds on one micrograph: asked from the compute process, kept by content."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from msip_core.boxes import Detection
from msip_core.data.dataset import Dataset, ImageRecord
from msip_core.language import t, told
from msip_core.markdown import md
from msip_core.questions.detecting import Predict
from msip_core.questions.sources import DatasetImage, ModelOf
from msip_core.views.pictures import shrink
from msip_core.views.tables import Scale
from pages.kit.classes import are_organoids
from pages.kit.components.media import address, png
from pages.kit.jobs import ask, finished
from pages.kit.lab import dataset as open_again

# Asked once at a low threshold; the slider then only hides boxes, without asking again.
FLOOR = 0.05
# Screens are not wider; zooming in shows every pixel of micrographs up to this size.
_LONGEST = 2048


def find(
    source: ModelOf, data: Dataset, record: ImageRecord, *, imgsz: int, place: str
) -> list[Detection] | None:
    """All detections above FLOOR, best first; None while the job still works."""
    question = _question(source, data, record, imgsz)
    label = t("Look for organoids") if are_organoids(data.classes) else t("Look for objects")
    found = ask(question, label=label, place=place, auto=True)
    return None if found is None else list(found.images[0].detections)


def _question(source: ModelOf, data: Dataset, record: ImageRecord, imgsz: int) -> Predict:
    image = DatasetImage(dataset=data.name, image=record.id)
    return Predict(model=source, images=(image,), imgsz=imgsz, conf=FLOOR)


def size_warnings(
    sources: Sequence[ModelOf], data: Dataset, record: ImageRecord, *, imgsz: int
) -> None:
    """How a large field was cut, and objects of another size than a model was trained on: what it
    finds there is not to be trusted.

    Said once, though both models may have learned from the same images.
    """
    answers = [finished(_question(one, data, record, imgsz)) for one in sources]
    images = [answer.images[0] for answer in answers if answer]
    for sentence in dict.fromkeys(image.tiles for image in images):
        if sentence:
            st.caption(md(told(sentence)))
    for sentence in dict.fromkeys(image.size_warning for image in images):
        if sentence:
            st.warning(md(told(sentence)), icon=":material/zoom_out_map:")


def above(found: Sequence[Detection], confidence: float) -> list[Detection]:
    """Those at or above the threshold; numbers stay, since they count from the best score."""
    return [detection for detection in found if detection.score >= confidence]


def nothing_found(everything: Sequence[Detection], confidence: float) -> None:
    """Why there is no box, and what the models came closest to."""
    best = max((found.score for found in everything), default=None)
    sentence = t("Nothing was found above {confidence:.2f}.", confidence=confidence)
    highest = (
        t("The highest score is {best:.2f}.", best=best)
        if best is not None
        else t("Nothing scores {floor} or more.", floor=FLOOR)
    )
    st.info(md(f"{sentence} {highest}"), icon=":material/search_off:")


@st.cache_data(max_entries=32, show_spinner=False)
def _pixels(name: str, sha256: str, image_id: str) -> NDArray[np.uint8]:
    data = open_again(name)
    return data.pixels(data.image(image_id))


def pixels_of(data: Dataset, record: ImageRecord) -> NDArray[np.uint8]:
    """The micrograph, 8-bit RGB; read once per content of its file."""
    return _pixels(data.name, record.sha256, record.id)


@st.cache_data(max_entries=64, show_spinner=False)
def _png(name: str, sha256: str, image_id: str) -> bytes:
    data = open_again(name)
    return png(shrink(data.pixels(data.image(image_id)), _LONGEST))


def micrograph_url(data: Dataset, record: ImageRecord, place: str) -> str:
    """Address of the plain micrograph, for own components."""
    return address(_png(data.name, record.sha256, record.id), f"micrograph:{place}")


def scale_of(data: Dataset, records: Sequence[ImageRecord]) -> Scale:
    """Micrometres per pixel of these images: their own, else the dataset's."""
    return Scale({record.id: record.pixel_size_um or data.pixel_size_um for record in records})
