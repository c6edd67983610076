"""What one model finds on one micrograph: asked from the compute process, kept by content."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from msip_core.boxes import Detection
from msip_core.data.dataset import Dataset, ImageRecord
from msip_core.language import say, t
from msip_core.markdown import md
from msip_core.views.pictures import shrink
from msip_core.views.tables import Scale
from pages.shared.components.media import address, png
from pages.shared.jobs import finished, job_panel
from pages.shared.lab import dataset as open_again
from pages.shared.pair import Source

# Asked once at a low threshold; the slider then only hides boxes, without asking again.
FLOOR = 0.05
# Screens are not wider; zooming in shows every pixel of micrographs up to this size.
_LONGEST = 2048


def find(
    source: Source, data: Dataset, record: ImageRecord, *, imgsz: int, place: str
) -> list[Detection] | None:
    """All detections above FLOOR, best first; None while the job still works."""
    params = _question(source, data, record, imgsz)
    result = job_panel("predict", params, label=t("Look for organoids"), place=place, auto=True)
    if result is None:
        return None
    return [Detection.model_validate(value) for value in result["images"][0]["detections"]]


def _question(source: Source, data: Dataset, record: ImageRecord, imgsz: int) -> dict[str, Any]:
    return {
        **source,
        "images": [{"dataset": data.name, "image": record.id, "sha256": record.sha256}],
        "imgsz": imgsz,
        "conf": FLOOR,
    }


def size_warnings(
    sources: Sequence[Source], data: Dataset, record: ImageRecord, *, imgsz: int
) -> None:
    """Objects of another size than a model was trained on: what it finds here is not to be trusted.

    Said once, though both models may have learned from the same images.
    """
    answers = [finished("predict", _question(one, data, record, imgsz)) for one in sources]
    found = [str(answer["images"][0].get("size_warning") or "") for answer in answers if answer]
    for sentence in dict.fromkeys(filter(None, found)):
        st.warning(md(say(sentence)), icon=":material/zoom_out_map:")


def above(found: Sequence[Detection], confidence: float) -> list[Detection]:
    """Those at or above the threshold; numbers stay, since they count from the best score."""
    return [detection for detection in found if detection.score >= confidence]


def nothing_found(everything: Sequence[Detection], confidence: float) -> None:
    """Why there is no box, and what the models came closest to."""
    best = max((found.score for found in everything), default=None)
    sentence = t("No organoid above {confidence:.2f}.", confidence=confidence)
    highest = (
        t("The highest score is {best:.2f}.", best=best)
        if best is not None
        else t("Nothing scores {floor} or more.", floor=FLOOR)
    )
    st.info(md(f"{sentence} {highest}"), icon=":material/search_off:")


@st.cache_data(max_entries=32, show_spinner=False)
def _pixels(name: str, content_hash: str, image_id: str) -> NDArray[np.uint8]:
    data = open_again(name)
    return data.pixels(data.image(image_id))


def pixels_of(data: Dataset, record: ImageRecord) -> NDArray[np.uint8]:
    """The micrograph, 8-bit RGB; read once per content of the dataset."""
    return _pixels(data.name, data.content_hash, record.id)


@st.cache_data(max_entries=64, show_spinner=False)
def _png(name: str, content_hash: str, image_id: str) -> bytes:
    data = open_again(name)
    return png(shrink(data.pixels(data.image(image_id)), _LONGEST))


def micrograph_url(data: Dataset, record: ImageRecord, place: str) -> str:
    """Address of the plain micrograph, for own components."""
    return address(_png(data.name, data.content_hash, record.id), f"micrograph:{place}")


def scale_of(data: Dataset, records: Sequence[ImageRecord]) -> Scale:
    """Micrometres per pixel of these images: their own, else the dataset's."""
    return Scale({record.id: record.pixel_size_um or data.pixel_size_um for record in records})
