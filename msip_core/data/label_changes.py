"""What a person did to the boxes of one image: added, moved, removed, given another class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from msip_core.boxes import Box, best_pairs, iou_matrix

LEAST_OVERLAP = 0.1  # IoU from which a box counts as the same one, moved


class LabelChanges(NamedTuple):
    """Counts of boxes.

    Attributes:
        moved: moved or resized, whatever became of their class.
        renamed: another class at the same place.
        kept: for each box afterwards the index of the box before that has the very same corners,
            else None.
    """

    added: int
    moved: int
    removed: int
    renamed: int
    kept: tuple[int | None, ...]

    @property
    def any(self) -> bool:
        return bool(self.added or self.moved or self.removed or self.renamed)


def label_changes(before: Sequence[Box], after: Sequence[Box], within: float) -> LabelChanges:
    """Compare the boxes of one image.

    A box with the same corners is the same box; of the others, those pairs that overlap most are
    taken for one that was moved, down to an IoU of `LEAST_OVERLAP`.

    Args:
        within: pixels that corners may differ by and still be the same (labels are rounded).
    """
    old = np.array([box.xyxy for box in before], float).reshape(-1, 4)
    new = np.array([box.xyxy for box in after], float).reshape(-1, 4)
    apart = np.abs(old[:, None] - new[None]).max(axis=2, initial=0.0)
    kept: list[int | None] = [None] * len(after)
    free = set(range(len(before)))
    # First the same class at the same place, so that of two boxes there the right one is kept.
    for same_class in (True, False):
        for j, box in enumerate(after):
            at = [
                i
                for i in sorted(free)
                if apart[i, j] <= within and (before[i].cls == box.cls) is same_class
            ]
            if kept[j] is None and at:
                kept[j] = at[0]
                free.discard(at[0])
    renamed = sum(i is not None and before[i].cls != b.cls for i, b in zip(kept, after))
    left = [j for j, i in enumerate(kept) if i is None]
    moved = len(best_pairs(iou_matrix(old[sorted(free)], new[left]), LEAST_OVERLAP))
    return LabelChanges(len(left) - moved, moved, len(free) - moved, renamed, tuple(kept))
