"""BN scale (Network Slimming): a channel that batch norm scales to nothing is not needed.

    score[c] = mean over the group's batch norms of |gamma_c|

A group that no batch norm scales (none there, or without factors) passes on unscaled: gamma is 1.
Meant for networks trained with an L1 term on gamma; without one it is a weak signal.
Source: Liu et al. 2017, arXiv:1708.06519.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from msip_core.groups.members import Member, members, width
from msip_core.importance.members import GroupImportance


class BnScaleImportance(GroupImportance):
    """|gamma|, divided by the group's mean."""

    normalise = True

    def member_score(self, member: Member) -> Tensor | None:
        if member.kind != "norm":
            return None
        return member.rows(member.weight).abs().squeeze(1)

    def __call__(self, group: Any) -> Tensor:
        if all(member.kind != "norm" for member in members(group)):
            return torch.ones(width(group), dtype=torch.float64)
        scores: Tensor = super().__call__(group)
        return scores
