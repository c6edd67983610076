"""Taylor: how much the loss would change without a channel.

Removing weight w changes the loss by dL = -w*g + w^2*H/2 + ..., with gradient g and curvature H.

    taylor      score[c] = mean over batches of sum over members of sum (w*g)^2 over the slice
    taylor-abs  the same with |w*g|, torch-pruning's form
    taylor-2    score[c] = sum over members of sum w^2 * F / 2,   F = mean over images i of g_i^2

and (gamma*dgamma + beta*dbeta) in place of w*g for batch norm. The first two are first order,
scored per batch and then averaged: the averaged gradient is about 0 at a minimum and says nothing.
There the second-order term is what is left; its curvature is taken as the diagonal of the
(empirical) Fisher information, which needs the gradient g_i of every image on its own.

All are summed per weight, with batch norm in eval mode: in train mode batch norm makes a filter
scale-free and the joint sum of w*g is 0. torch-pruning 1.6.1 never counts batch norm in its Taylor
score (it compares with the group-norm handler), knows one gradient only, and its Hessian score
keeps the last sample instead of the mean (it looks parameters up by name that it stores by object);
the calibration pass mends these.
Source: Molchanov et al. 2019, arXiv:1906.10771; second order: LeCun et al. 1989 (Optimal Brain
Damage), with the Fisher information as in Theis et al. 2018, arXiv:1801.05787.
"""

from __future__ import annotations

from torch import Tensor

from msip_core.groups.members import Member
from msip_core.importance.members import GroupImportance


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


class TaylorSecondImportance(TaylorImportance):
    """Second order, w^2 * F / 2: the expected rise of the loss at a minimum."""

    needs = frozenset({"taylor-2"})
