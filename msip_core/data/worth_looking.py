"""Which images are worth a look first: where labels or models are most likely to be wrong.

For each image, objects are counted for four reasons:

  disagree   two models see them differently: found by one of them alone, or as another class
  unsure     their score lies within MARGIN of the threshold
  crowded    they overlap another one (IoU >= OVERLAP): labels, or what is found where none are
  differ     labels and what the first model finds differ, as above

score = 1 * disagree + 1 * differ + 1/2 * unsure + 1/4 * crowded

A likely mistake counts whole; an unsure score is one in two by its meaning; crowded objects are
right more often than not. The weights order images and mean nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from msip_core.boxes import Box, Detection, iou_matrix, match_detections

Reason = Literal["disagree", "differ", "unsure", "crowded"]
WEIGHTS: Mapping[Reason, float] = MappingProxyType(
    {"disagree": 1.0, "differ": 1.0, "unsure": 0.5, "crowded": 0.25}
)
MARGIN = 0.1
OVERLAP = 0.3


@dataclass(frozen=True, slots=True)
class Doubt:
    """How many objects of an image are worth a look, by reason."""

    image: str
    disagree: int = 0
    differ: int = 0
    unsure: int = 0
    crowded: int = 0

    @property
    def score(self) -> float:
        """See the text on top of this file."""
        return sum(weight * self.of(reason) for reason, weight in WEIGHTS.items())

    def of(self, reason: Reason) -> int:
        return int(getattr(self, reason))


def doubt_of(
    image: str,
    labels: Sequence[Box],
    first: Sequence[Detection] | None = None,
    second: Sequence[Detection] | None = None,
    *,
    threshold: float = 0.25,
) -> Doubt:
    """Count the objects of one image.

    Args:
        first, second: what one or two models find, from a score of `threshold` - MARGIN on; None
            where a model was not asked. Classes count as the labels' do.
        threshold: score from which a detection is an object.
    """
    found = [d for d in first or () if d.score >= threshold]
    other = [d for d in second or () if d.score >= threshold]
    return Doubt(
        image,
        disagree=_unlike(found, other) if first is not None and second is not None else 0,
        differ=_unlike(labels, found) if first is not None else 0,
        # A score on the very edge of the margin counts, whatever its last binary digit.
        unsure=sum(abs(d.score - threshold) <= MARGIN + 1e-9 for d in first or ()),
        crowded=_crowded(labels or found),
    )


def in_order(doubts: Iterable[Doubt], reason: Reason | None = None) -> list[Doubt]:
    """Most doubtful first, for one reason or all; of equal ones the one that came first."""
    return sorted(doubts, key=lambda d: -(d.of(reason) if reason else d.score))


def _unlike(one: Sequence[Box], other: Sequence[Box]) -> int:
    return sum(pair.kind != "both" for pair in match_detections(one, other))


def _crowded(boxes: Sequence[Box]) -> int:
    """Boxes that overlap at least one other."""
    corners = np.array([box.xyxy for box in boxes], float)
    iou = iou_matrix(corners, corners)
    np.fill_diagonal(iou, 0)
    return int((iou >= OVERLAP).any(axis=1).sum())
