"""Group norm (DepGraph): the energy of everything that hangs on a channel.

    score[c] = I_c / max I,   I_c = sum over members of ||w[c]||_2^2

The same sum as torch-pruning's `GroupMagnitudeImportance(p=2, group_reduction="sum",
normalizer="max")`. Inside a group the order is that of L2, which divides the same sum by the
number of members; what differs is the scale on which groups are ranked together: here the
strongest channel of every group scores 1. The method is made for networks whose groups sparse
training has pushed apart (an L2 pull that is the stronger the weaker the group); without it, this
is L2 with another scale.
Source: Fang et al. 2023, arXiv:2301.12900.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from msip_core.importance.magnitude import L2Importance


class GroupNormImportance(L2Importance):
    """Sum of squared weights over all members, divided by the group's maximum."""

    reduction = "sum"
    normalise = False

    @torch.no_grad()
    def __call__(self, group: Any) -> Tensor:
        energy = super().__call__(group)
        return energy / energy.max().clamp_min(1e-300)
