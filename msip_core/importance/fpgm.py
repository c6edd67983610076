"""FPGM: a filter near the geometric median of its layer can be replaced by the others.

    score[c] = sum over j of ||W_c - W_j||_2,   per conv-out member, mean over members

torch-pruning 1.6.1 takes |w|^p before the distances (two opposite filters then look equal) and
adds the slices that later layers read; the method uses neither, so only filters count here, with
their sign.
Source: He et al. 2019, arXiv:1811.00250.
"""

from __future__ import annotations

from torch import Tensor

from msip_core.groups.members import Member
from msip_core.importance.members import GroupImportance


class FpgmImportance(GroupImportance):
    """Sum of distances to all filters of the layer, divided by the group's mean."""

    normalise = True

    def member_score(self, member: Member) -> Tensor | None:
        if not member.filters:
            return None
        return distance_sums(member.rows(member.weight))


def distance_sums(rows: Tensor) -> Tensor:
    """Sum over j of the Euclidean distance from row c to row j: (n, d) -> (n,)."""
    rows = rows.double()
    # |a - b|^2 = |a|^2 + |b|^2 - 2ab is ten times as fast as the differences; it would lose digits
    # where rows are alike but far from 0, so they are moved to their mean first.
    rows = rows - rows.mean(0)
    products = rows @ rows.t()
    squares = products.diagonal()
    return (squares[:, None] + squares - 2 * products).clamp_min(0).sqrt().sum(1)
