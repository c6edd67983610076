"""Boxes, detections and how two models' detections are matched. NumPy only.

Pixels, origin top left, x to the right; corners (x1, y1, x2, y2) with x2, y2 exclusive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict


class Box(BaseModel):
    """One labelled object."""

    model_config = ConfigDict(frozen=True)

    cls: int
    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        return (self.x1, self.y1, self.x2, self.y2)

    def scaled(self, factor: float) -> Self:
        """In pixels of a picture `factor` times as large."""
        corners = {key: getattr(self, key) * factor for key in ("x1", "y1", "x2", "y2")}
        return self.model_copy(update=corners)


class Detection(Box):
    """One predicted object. `number` counts from 1 in its image, highest score first; the same
    number is drawn on the picture and written in the CSV."""

    score: float
    number: int = 0


PairKind = Literal["both", "class changed", "lost", "new"]


class Pair(BaseModel):
    """One row of the comparison of two models on one image; indices into the two lists."""

    model_config = ConfigDict(frozen=True)

    kind: PairKind
    baseline: int | None
    pruned: int | None
    iou: float = 0.0


def iou_matrix(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of every box in `a` (n, 4) with every box in `b` (m, 4): (n, m)."""
    a, b = a.reshape(-1, 4), b.reshape(-1, 4)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(axis=2)
    area_a = (a[:, 2:] - a[:, :2]).prod(axis=1)
    area_b = (b[:, 2:] - b[:, :2]).prod(axis=1)
    union = area_a[:, None] + area_b[None] - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def match_detections(
    baseline: Sequence[Box], pruned: Sequence[Box], min_iou: float = 0.5
) -> list[Pair]:
    """Pair two models' boxes, best overlap first, each used once; class does not matter for the
    pairing, so that a changed class is seen as such.

    Returns:
        Pairs in the order: found by both, class changed, lost (baseline only), new (pruned only).
    """
    iou = iou_matrix(
        np.array([b.xyxy for b in baseline], float), np.array([b.xyxy for b in pruned], float)
    )
    pairs: list[Pair] = []
    free_a, free_b = set(range(len(baseline))), set(range(len(pruned)))
    for i, j in best_pairs(iou, min_iou):
        free_a.remove(i)
        free_b.remove(j)
        kind: PairKind = "both" if baseline[i].cls == pruned[j].cls else "class changed"
        pairs.append(Pair(kind=kind, baseline=i, pruned=j, iou=float(iou[i, j])))
    pairs.sort(key=lambda pair: pair.kind)
    pairs += [Pair(kind="lost", baseline=i, pruned=None) for i in sorted(free_a)]
    pairs += [Pair(kind="new", baseline=None, pruned=j) for j in sorted(free_b)]
    return pairs


def best_pairs(iou: NDArray[np.float64], least: float) -> list[tuple[int, int]]:
    """Places in a matrix (n, m) of overlaps from `least` on, the best first, each row and column
    once; of equal ones the first."""
    rows: set[int] = set()
    columns: set[int] = set()
    found = []
    for flat in np.argsort(-iou, axis=None, kind="stable"):
        i, j = divmod(int(flat), iou.shape[1])
        if iou[i, j] < least:
            break
        if i not in rows and j not in columns:
            rows.add(i)
            columns.add(j)
            found.append((i, j))
    return found
