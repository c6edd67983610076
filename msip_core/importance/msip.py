"""MSIP: gradient, geometry, activation sparsity and information gain in one score.

Four terms per channel c of a group (method sheet, section 3), on the current model:

    G  gradient     mean over batches of sum over members of (w*g)^2            loss units squared
    E  geometry     sum_j ||W_c - W_j||_2 / its mean, over conv-out members     no unit
    S  sparsity     share of activations above .1 * rms of the layer            [0, 1]
    N  information  mutual information of response and cell label               bits

Terms of different units are made comparable inside a group by x~ = x / (x + median(x)), which is
in [0, 1), .5 at the median, and does not change when the term is scaled.

Source: Fang, "YOLOv8 optimisation for crypt classification of intestinal organoids: multi-strategy
importance pruning"; the definitions where the paper is silent are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from msip_core.config import MsipOptions, MsipWeights
from msip_core.importance.fpgm import distance_sums
from msip_core.importance.members import (
    GroupImportance,
    Member,
    gather_members,
    members,
    width,
)

SPARSITY_EPS = 0.1  # share of a layer's rms below which a response or weight counts as none


@dataclass(frozen=True)
class Terms:
    """The four terms of one group, (channels,) float64 each, not normalised."""

    gradient: Tensor
    geometry: Tensor
    sparsity: Tensor
    information: Tensor

    def as_tuple(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return (self.gradient, self.geometry, self.sparsity, self.information)


class _Msip(GroupImportance):
    """What both schemes share: the four terms of a group."""

    @classmethod
    def required(cls, options: MsipOptions) -> frozenset[str]:
        needs = {
            "taylor" if options.gradient == "taylor" else "grad2",
            "information" if options.information == "label" else "loss-information",
        }
        return frozenset(needs | ({"sparsity"} if options.sparsity == "activation" else set()))

    def with_weights(self, weights: MsipWeights) -> _Msip:
        """The same statistics, other weights: one calibration pass serves every trial."""
        options = self.options.model_copy(update={"weights": weights})
        return type(self)(self.statistics, options, self.seed)

    @torch.no_grad()
    def terms(self, group: Any) -> Terms:
        """The four terms of a group, from the statistics and the current weights."""
        every = list(members(group))
        filters = [m for m in every if m.filters]
        stats, options, n = self.statistics, self.options, width(group)
        gradient = stats.gradient["taylor" if options.gradient == "taylor" else "grad2"]
        label = "information" if options.information == "label" else "loss-information"
        information = stats.response[label]

        def reduce(parts: list[tuple[Tensor, Tensor]], how: Any = "mean") -> Tensor:
            return gather_members(parts, n, how)

        return Terms(
            gradient=reduce([(m.positions, m.rows(gradient[m.name]).sum(1)) for m in every], "sum"),
            geometry=reduce([(m.positions, _geometry(m, options)) for m in filters]),
            sparsity=reduce(
                [
                    (m.positions, stats.response["sparsity"][m.name][m.indices])
                    if options.sparsity == "activation"
                    else (m.positions, _weight_sparsity(m))
                    for m in filters
                    if options.sparsity == "weight" or m.name in stats.response["sparsity"]
                ]
            ),
            information=reduce(
                [
                    (m.positions, information[m.name][m.indices])
                    for m in filters
                    if m.name in information
                ]
            ),
        )

    def fuse(self, terms: Terms) -> Tensor:
        """One score per channel from the four terms."""
        raise NotImplementedError

    @torch.no_grad()
    def __call__(self, group: Any) -> Tensor:
        return self.fuse(self.terms(group))


class MsipImportance(_Msip):
    """`msip`, loss per MAC: the loss term keeps its unit, so all groups compare.

    product  I = B * (1 + (1 - w_g) * (2 A - 1)),  A = sum w_k x~_k / sum w_k over E, S, N
             B = G; for w_g = 0, B = mean(G) over the group. The factor is in [w_g, 2 - w_g),
             so w_g = 1 is pure Taylor.
    pool     I = G * prod x~_k^(w_k / w_g)
    share    I = mean(G) * sum_k w_k x_k / mean(x_k)
    """

    def fuse(self, terms: Terms) -> Tensor:
        return fuse(terms, self.options.weights, self.options.fusion)


class MsipLiteralImportance(_Msip):
    """`msip-literal`, as the paper writes it: I = sum_k w_k x~_k, terms compared per group."""

    def fuse(self, terms: Terms) -> Tensor:
        weights = self.options.weights.as_tuple()
        parts = [w * relative(x) for w, x in zip(weights, terms.as_tuple(), strict=True)]
        return torch.stack(parts).sum(0)


def relative(x: Tensor) -> Tensor:
    """x / (x + median(x)) with the lower middle value as median and 0/0 = 0: (n,) -> (n,).

    In [0, 1) for x >= 0; .5 at the median; unchanged when x is scaled.
    """
    total = x + x.median()
    return torch.where(total > 0, x / total.clamp_min(1e-300), torch.zeros_like(x))


def fuse(terms: Terms, weights: MsipWeights, fusion: str) -> Tensor:
    """The fused score of `msip`; see MsipImportance for the formulas."""
    loss = terms.gradient
    others = (terms.geometry, terms.sparsity, terms.information)
    w_loss, *w_others = weights.as_tuple()
    # With no weight on the loss term the group keeps its sensitivity, the channel does not.
    base = loss if w_loss > 0 else loss.mean().expand_as(loss)
    if fusion == "share":
        parts = [
            w * x / x.mean().clamp_min(1e-300)
            for w, x in zip(weights.as_tuple(), (loss, *others), strict=True)
        ]
        return loss.mean() * torch.stack(parts).sum(0)
    if fusion == "pool":
        score = base.clone()
        for w, x in zip(w_others, others, strict=True):
            score *= relative(x) ** (w / w_loss if w_loss > 0 else w)
        return score
    total = sum(w_others)
    if total == 0:
        return base.clone()
    mean = torch.stack([w * relative(x) for w, x in zip(w_others, others, strict=True)]).sum(0)
    return base * (1 + (1 - w_loss) * (2 * mean / total - 1))


def _geometry(member: Member, options: MsipOptions) -> Tensor:
    """Distances (or norms) of a member's filters, divided by their mean: (m,)."""
    rows = member.rows(member.weight)
    value = distance_sums(rows) if options.geometry == "distance" else rows.double().norm(dim=1)
    return value / value.mean().clamp_min(1e-300)


def _weight_sparsity(member: Member) -> Tensor:
    """Share of a filter's weights above SPARSITY_EPS times the layer's rms: (m,)."""
    weight = member.weight
    rms = weight.double().square().mean().sqrt()
    return 1 - (member.rows(weight).abs() <= SPARSITY_EPS * rms).double().mean(1)
