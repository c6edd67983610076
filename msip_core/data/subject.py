"""One object of one micrograph with its borders: what is explained, scored and drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msip_core.borders import Border, Contour
from msip_core.boxes import Box, match_detections
from msip_core.data.dataset import Dataset
from msip_core.data.manifest import ImageRecord


@dataclass(frozen=True, slots=True)
class Subject:
    """One object of one micrograph.

    Attributes:
        pixels: uint8 (H, W, 3) RGB.
        box: reference box and class, in pixels.
        chosen: how it was chosen, in words.
        outline: its drawn outline (n, 2) as x, y, where one is known.
        crypts: outlines of its crypts, where they are known; may be empty.
    """

    pixels: NDArray[np.uint8]
    box: Box
    chosen: str
    outline: Contour | None = None
    crypts: tuple[Contour, ...] = ()

    @property
    def border(self) -> Border:
        """What the border scores are measured on: the outline, else the box edge."""
        return self.box if self.outline is None else self.outline


def drawn_borders(
    dataset: Dataset, record: ImageRecord, box: Box
) -> tuple[Contour | None, tuple[Contour, ...]]:
    """Outline and crypts of the labelled object that `box` overlaps most (IoU >= .5)."""
    outlines, crypts = dataset.contours(record), dataset.crypts(record)
    if outlines is None and crypts is None:
        return None, ()
    for pair in match_detections([box], dataset.boxes(record)):
        index = pair.pruned
        if pair.baseline is None or index is None:
            continue
        outline = outlines[index] if outlines is not None and len(outlines[index]) else None
        inner = crypts[index] if crypts is not None else ()
        return outline, tuple(crypt for crypt in inner if len(crypt))
    return None, ()
