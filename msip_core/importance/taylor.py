"""Taylor: how much the loss would change without a channel, to first order, squared.

    score[c] = mean over batches of sum over members of
               sum (w * dL/dw)^2 over the slice,  (gamma*dgamma + beta*dbeta)^2 for batch norm

Scored per batch and then averaged: the averaged gradient is about 0 at a minimum and says
nothing. Summed per weight, with batch norm in eval mode: in train mode batch norm makes a filter
scale-free and the joint sum of w*g is 0. torch-pruning 1.6.1 never counts batch norm (it compares
with the group-norm handler) and needs one gradient for all; the calibration pass mends both.
Source: Molchanov et al. 2019, arXiv:1906.10771.
"""

from __future__ import annotations

from torch import Tensor

from msip_core.importance.members import GroupImportance, Member


class TaylorImportance(GroupImportance):
    """Squared per-weight form, in loss units, so all groups compare in one ranking."""

    needs = frozenset({"taylor"})
    reduction = "sum"

    def member_score(self, member: Member) -> Tensor:
        (key,) = self.needs
        return member.rows(self.statistics.gradient[key][member.name]).sum(1)


class TaylorAbsImportance(TaylorImportance):
    """The same with sum |w * g|, torch-pruning's default form."""

    needs = frozenset({"taylor-abs"})
