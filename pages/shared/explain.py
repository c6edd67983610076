"""Explanations of one object: ask for them, draw them, put the border scores into words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from msip_core.arrays import read_arrays
from msip_core.boxes import Box, match_detections
from msip_core.data.dataset import Dataset, ImageRecord
from msip_core.language import t
from msip_core.markdown import md
from msip_core.views import pictures
from msip_core.views.evidence import score_words
from pages.shared.detections import pixels_of
from pages.shared.pair import Source

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Subject:
    """The object that is explained, on its micrograph; the same for every model that is asked."""

    data: Dataset
    record: ImageRecord
    box: Box
    imgsz: int

    @cached_property
    def pixels(self) -> Pixels:
        return pixels_of(self.data, self.record)

    @cached_property
    def outline(self) -> NDArray[np.float64] | None:
        """The drawn outline of the labelled object that this box overlaps most (IoU >= .5)."""
        contours = self.data.contours(self.record)
        if contours is None:
            return None
        for pair in match_detections([self.box], self.data.boxes(self.record)):
            if pair.baseline is not None and pair.pruned is not None:
                outline = contours[pair.pruned]
                return outline if len(outline) else None
        return None

    def question(self, source: Source) -> dict[str, Any]:
        """Params of an explanation job for one model. The hash makes new pixels a new question."""
        return {
            **source,
            "dataset": self.data.name,
            "image": self.record.id,
            "sha256": self.record.sha256,
            "box": self.box.model_dump(include={"cls", "x1", "y1", "x2", "y2"}),
            "imgsz": self.imgsz,
        }

    def heat_picture(self, heat: NDArray[np.floating]) -> Pixels:
        """Heat over the micrograph with the object's border."""
        return self._with_border(pictures.overlay_heat(self.pixels, heat))

    def shap_picture(self, values: NDArray[np.floating]) -> Pixels:
        """Contributions of the patches over the micrograph with the object's border."""
        return self._with_border(pictures.overlay_signed(self.pixels, values))

    def _with_border(self, drawn: Pixels) -> Pixels:
        factor = drawn.shape[1] // self.pixels.shape[1]
        points = self.outline if self.outline is not None else pictures.box_outline(self.box)
        return pictures.draw_border(drawn, points, pictures.band_width(self.box), factor)


def load_map(path: Path, name: str) -> NDArray[np.float32]:
    """One array of a result's npz file."""
    return np.asarray(read_arrays(path)[name])


def shap_map(folder: Path, result: Mapping[str, Any]) -> NDArray[np.float64]:
    """Contribution of the patch that each pixel lies in, (height, width)."""
    segments = load_map(folder / str(result["segments"]), "segments").astype(np.intp)
    return np.asarray(result["values"], dtype=np.float64)[segments]


def score_rows(results: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Border numbers of several maps: one row a number, one column a map."""
    words = {name: dict(score_words(result)) for name, result in results.items()}
    rows = dict.fromkeys(word for column in words.values() for word in column)
    return [
        {"": t(row), **{name: t(column.get(row, "—")) for name, column in words.items()}}
        for row in rows
    ]


def honesty(scores: Mapping[str, Any]) -> None:
    """What a heat map is and is not, and which border the numbers use."""
    border = (
        t("Border: the drawn outline of the object.")
        if scores.get("contour") == "mask"
        else t("Border: the edge of the box, because no outline of this object is known.")
    )
    can = t(
        "A map can show where this score reacts when the picture changes, and whether two models "
        "react at the same places."
    )
    cannot = t(
        "It cannot show why, it is no outline of the object, and a hot place is no proof that the "
        "model understood it."
    )
    st.caption(md(f"{can} {cannot} {border}"))
