"""Explanations of one object: ask for them, draw them, put the border scores into words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, TypedDict

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from msip_core.arrays import read_arrays
from msip_core.borders import Border, Contour
from msip_core.boxes import Box
from msip_core.data.dataset import Dataset, ImageRecord
from msip_core.data.subject import drawn_borders
from msip_core.language import t
from msip_core.markdown import md
from msip_core.questions.looking import HeatMap, ShapValues
from msip_core.questions.sources import DatasetImage, ModelOf
from msip_core.views import pictures
from msip_core.views.evidence import score_words
from pages.kit.detections import pixels_of

Pixels = NDArray[np.uint8]
# Of SHAP, as pages offer them: evaluations at most, and patches.
SHAP_SAMPLES = (256, 512, 1024, 2048, 4096)
SHAP_PATCHES = (25, 50, 100, 200)


class _OfOneObject(TypedDict):
    model: ModelOf
    image: DatasetImage
    box: Box
    imgsz: int


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
    def outline(self) -> Contour | None:
        """The drawn outline of the labelled object that this box overlaps most (IoU >= .5)."""
        return drawn_borders(self.data, self.record, self.box)[0]

    @property
    def border(self) -> Border:
        """What is scored and drawn: the outline, else the box edge."""
        return self.box if self.outline is None else self.outline

    def asked_of(self, model: ModelOf) -> _OfOneObject:
        """What every question about this object begins with (`questions.looking`)."""
        image = DatasetImage(dataset=self.data.name, image=self.record.id)
        return {"model": model, "image": image, "box": self.box, "imgsz": self.imgsz}

    def picture(self, folder: Path, result: HeatMap | ShapValues) -> Pixels:
        """An answer over the micrograph with the object's border."""
        draw = pictures.heat_over if isinstance(result, HeatMap) else pictures.shap_over
        return draw(self.pixels, map_of(folder, result), self.border, self.box)


def map_of(folder: Path, result: HeatMap | ShapValues) -> NDArray[np.floating]:
    """(height, width): heat, or the contribution of the patch that each pixel lies in.

    Args:
        folder: of the answer's files.
    """
    if isinstance(result, HeatMap):
        return np.asarray(read_arrays(folder / result.heat)["heat"])
    segments = read_arrays(folder / result.segments)["segments"].astype(np.intp)
    return np.asarray(result.values, dtype=np.float64)[segments]


def score_rows(results: Mapping[str, HeatMap | ShapValues]) -> list[dict[str, str]]:
    """Border numbers of several maps: one row a number, one column a map."""
    words = {name: dict(score_words(result)) for name, result in results.items()}
    rows = dict.fromkeys(word for column in words.values() for word in column)
    return [
        {"": t(row), **{name: t(column.get(row, "—")) for name, column in words.items()}}
        for row in rows
    ]


def honesty(contour: Literal["mask", "box"]) -> None:
    """What a heat map is and is not, and which border the numbers use (`BoundaryScores`)."""
    border = (
        t("Border: the drawn outline of the object.")
        if contour == "mask"
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
