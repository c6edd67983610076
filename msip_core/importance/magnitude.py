"""Magnitude: the energy of a channel's weights. No data.

    score[c] = mean over members of sum |w|^p,   p = 1 (L1) or 2 (L2 squared)

Members are the channel's filters, its batch-norm factors and the slices that later layers read.
Source: Li et al. 2017, arXiv:1608.08710; members and reduction as in torch-pruning.
"""

from __future__ import annotations

from torch import Tensor

from msip_core.groups.members import Member
from msip_core.importance.members import GroupImportance


class MagnitudeImportance(GroupImportance):
    """sum |w|^p over each member, mean over members, divided by the group's mean."""

    p: int = 2
    normalise = True

    def member_score(self, member: Member) -> Tensor:
        return member.rows(member.weight).abs().pow(self.p).sum(1)


class L1Importance(MagnitudeImportance):
    """Sum of absolute weights."""

    p = 1


class L2Importance(MagnitudeImportance):
    """Sum of squared weights (no root, as everywhere in this field's code)."""

    p = 2
