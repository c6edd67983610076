"""Channels of many groups in one ranking; the lowest go.

global      all groups together. Only meaningful for scores that compare across groups (LAMP,
            Taylor, scores divided by their group's mean).
isomorphic  groups of the same structure together (the same layers coupled in the same way: the
            insides of bottlenecks, say); every structure loses the same share of its channels.
            Scores need to compare only among layers that are built alike. As torch-pruning's
            `isomorphic=True`, with the same tag for a structure.

torch-pruning's rankings let a layer fall from 16 channels to 1 in one step and skip a layer that
lies entirely below the threshold; here the caps hold and MACs are met.
Source: Liu et al. 2017, arXiv:1708.06519; isomorphic: Fang et al. 2024, arXiv:2407.04616.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msip_core.allocation.base import Allocation
from msip_core.allocation.msip import step_sums
from msip_core.allocation.table import GroupTable
from msip_core.allocation.window import Steps


class GlobalAllocation(Allocation):
    """Scalar x = share of all channels that lie below the threshold."""

    def wanted(self, table: GroupTable, x: float) -> NDArray[np.float64]:
        pooled = np.sort(np.concatenate(table.scores))
        index = int(x * len(pooled))
        if index >= len(pooled):
            return np.zeros(len(table.names))
        return np.array([(s >= pooled[index]).sum() for s in table.scores], float)

    def worth(self, table: GroupTable, x: float, steps: Steps) -> NDArray[np.float64]:
        return step_sums(table, steps) / (steps.many - steps.few)


class IsomorphicAllocation(Allocation):
    """Scalar x = share of the channels of each structure that lie below its threshold."""

    def wanted(self, table: GroupTable, x: float) -> NDArray[np.float64]:
        return np.array([(p >= x).sum() for p in places(table)], float)

    def worth(self, table: GroupTable, x: float, steps: Steps) -> NDArray[np.float64]:
        # Scores of different structures do not compare, places in their rankings do.
        found = places(table)
        out = np.empty(len(steps.groups))
        for i, (g, few, many) in enumerate(zip(steps.groups, steps.few, steps.many, strict=True)):
            from_below = np.sort(found[g])
            width = len(from_below)
            out[i] = from_below[width - many : width - few].mean()
        return out


def places(table: GroupTable) -> list[NDArray[np.float64]]:
    """Per group (channels,): share of the channels of its structure that score lower, in [0, 1)."""
    pools: dict[str, list[NDArray[np.float64]]] = {}
    for structure, scores in zip(table.budget.structures, table.scores, strict=True):
        pools.setdefault(structure, []).append(scores)
    ranked = {structure: np.sort(np.concatenate(scores)) for structure, scores in pools.items()}
    return [
        np.searchsorted(ranked[structure], scores, side="left") / len(ranked[structure])
        for structure, scores in zip(table.budget.structures, table.scores, strict=True)
    ]
