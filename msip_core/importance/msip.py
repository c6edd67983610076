"""MSIP: gradient, geometry, activation sparsity and information gain in one score.

Four terms per channel c of a group (method sheet, section 3), on the current model, and three
schemes that make one score of them:

    msip-published  the printed formulas and nothing else
    msip-literal    our reading of the terms, the paper's weighted sum
    msip            terms that predict what removing a channel costs, in loss per MAC

What a term is in each scheme:

                 msip-published        msip-literal             msip
    gradient     sum (dL/dW)^2         sum (w*g)^2              sum (w*g)^2
    geometry     ||W_c||_2             sum_j ||W_c - W_j||_2    r_c * sum_j ||a_c - a_j||
    sparsity     1 - mean(W_c = 0)     share of active cells    r_c * that share
    information  H(W) - H(W|L), bits   the same                 r_c * std(a_c) * the same

with a_c the response of a channel, and r_c the norm of the weights that read it, each times its
batch norm's factor gamma / sigma. The geometric median is looked for among responses as they arrive
at their readers: distances between filters say the opposite of what removing one costs, since
batch norm scales every filter anew (README, "Which terms predict"). With the switch geometry="obs"
it is how far a response is from all that the others can say together (obs.py), in loss.

Source: Fang, "YOLOv8 optimisation for crypt classification of intestinal organoids: multi-strategy
importance pruning"; where the paper is silent, and all of `msip`, the definitions are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from msip_core.config import TERMS, MsipOptions, MsipWeights
from msip_core.groups.members import Member, members, width
from msip_core.importance.activity import SPARSITY_EPS
from msip_core.importance.fpgm import distance_sums
from msip_core.importance.fusion import (
    log_scale,
    mean_ranks,
    mixed,
    relative,  # noqa: F401 - other programs ask for it here
    standard,
    weighted_sum,
)
from msip_core.importance.members import GroupImportance, gather_members, reading_strength
from msip_core.importance.obs import cost_of

_TINY = 1e-300
_TIE = 1e-6  # spread of scores where the loss tells no channels apart: order, and no more


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
    """What the schemes share: the four terms of a group.

    Attributes:
        own: switches that this scheme sets where the person has not.
    """

    own: ClassVar[dict[str, Any]] = {}

    def __init__(
        self, statistics: Any = None, options: MsipOptions | None = None, seed: int = 0
    ) -> None:
        super().__init__(statistics, options, seed)
        self.switches = self._switches(self.options)

    @classmethod
    def _switches(cls, options: MsipOptions) -> MsipOptions:
        """The options with what the person left open filled in."""
        left_open = {
            name: value for name, value in cls.own.items() if getattr(options, name) is None
        }
        return options.model_copy(update=left_open)

    @classmethod
    def required(cls, options: MsipOptions) -> frozenset[str]:
        used = cls._switches(options)
        needs = {
            used.gradient or "taylor",
            "loss-information" if used.information == "loss" else "information",
        }
        # One look at the responses finds activity, spreads and distances.
        if used.sparsity == "activation" or used.geometry == "response" or used.reach:
            needs.add("sparsity")
        if used.geometry == "obs":
            needs.add("obs")
        return frozenset(needs)

    def with_weights(self, weights: MsipWeights) -> _Msip:
        """The same statistics, other weights: one calibration pass serves every trial."""
        options = self.options.model_copy(update={"weights": weights})
        return type(self)(self.statistics, options, self.seed)

    @torch.no_grad()
    def terms(self, group: Any) -> Terms:
        """The four terms of a group, from the statistics and the current weights."""
        used, response = self.switches, self.statistics.response
        label = "loss-information" if used.information == "loss" else "information"
        geometry, activity = self._mean(group, self._geometry), self._mean(group, self._activity)
        information = self._mean(group, lambda m: _of(response[label], m))
        if used.reach:
            strength = reading_strength(group)
            geometry, activity = geometry * strength, activity * strength
            spread = self._mean(group, lambda m: _of(response["spread"], m))
            information = information * spread * strength
        if used.geometry == "obs":  # of what the readers make of it already
            geometry = cost_of(group, self.statistics)
        return Terms(self._gradient(group), geometry, activity, information)

    def _gradient(self, group: Any) -> Tensor:
        found = self.statistics.gradient[self.switches.gradient]
        parts = [(m.positions, m.rows(found[m.name]).sum(1)) for m in members(group)]
        return gather_members(parts, width(group), "sum")

    def _geometry(self, member: Member) -> Tensor | None:
        """Distances (or norms) of a member's filters or responses, in their own unit: (m,)."""
        how = self.switches.geometry
        if how == "obs":  # a matter of the group, not of a member
            return None
        if how == "response":
            return _of(self.statistics.response["distance"], member)
        rows = member.rows(member.weight)
        value = distance_sums(rows) if how == "distance" else rows.double().norm(dim=1)
        # Members of one group are layers of different sizes.
        return value if how == "norm" else value / value.mean().clamp_min(_TINY)

    def _activity(self, member: Member) -> Tensor | None:
        how = self.switches.sparsity
        if how == "activation":
            return _of(self.statistics.response["sparsity"], member)
        weight = member.weight
        limit = SPARSITY_EPS * weight.double().square().mean().sqrt() if how == "weight" else 0.0
        return 1 - (member.rows(weight).abs() <= limit).double().mean(1)

    def _mean(self, group: Any, of: Any) -> Tensor:
        """(channels,) mean over the group's filters of what `of` finds, where it finds any."""
        found = [(m.positions, of(m)) for m in members(group) if m.filters]
        parts = [(positions, values) for positions, values in found if values is not None]
        return gather_members(parts, width(group), "mean")

    def fuse(self, terms: Terms) -> Tensor:
        """One score per channel from the four terms of a group."""
        raise NotImplementedError

    def fuse_all(self, terms: Mapping[str, Terms]) -> dict[str, Tensor]:
        """Scores of every group of a network."""
        return {name: self.fuse(value) for name, value in terms.items()}

    @torch.no_grad()
    def __call__(self, group: Any) -> Tensor:
        return self.fuse(self.terms(group))

    @torch.no_grad()
    def scores(self, groups: Mapping[str, Any]) -> dict[str, Tensor]:
        return self.fuse_all({name: self.terms(group) for name, group in groups.items()})


class MsipImportance(_Msip):
    """`msip`, loss per MAC: scores keep the loss's unit, so all groups compare.

    product  log I = median(log G) + sd(log G) * S,   S = sum w_k z_k, spread as one z
             so I goes with a product of powers of the terms; a group keeps the level and the
             spread of its sensitivity, and the weights decide which of its channels stand where.
             w_g = 1 is G itself, Taylor; with w_g = 0 nothing of G is left in their order. Where G
             is the same for all (0, if no gradient came there), the other terms still order them.
    rank     I = the sorted values of G, given out in the order of sum w_k * rank(x_k): no channel
             can stand out further than the gradient's own channels do. Ties have their mean rank,
             and channels of equal places the mean of what they are given.
    """

    own: ClassVar[dict[str, Any]] = {
        "gradient": "taylor",
        "geometry": "response",
        "sparsity": "activation",
        "reach": True,
    }

    def fuse(self, terms: Terms) -> Tensor:
        return fuse(terms, self.options.weights, self.options.fusion)


class MsipLiteralImportance(_Msip):
    """`msip-literal`: I = sum_k f_k P(z_k), with P the normal distribution function.

    Every term is in (0, 1) with its median at .5, as the threshold alpha * median(I) wants it; the
    factors make a term's part of the variance inside a group its weight.
    """

    own: ClassVar[dict[str, Any]] = {
        "gradient": "taylor",
        "geometry": "distance",
        "sparsity": "activation",
        "reach": False,
    }

    def fuse(self, terms: Terms) -> Tensor:
        parts = [torch.special.ndtr(standard(x)) for x in terms.as_tuple()]
        weights = self.options.weights.as_tuple()
        return weighted_sum(parts, weights)


class MsipPublishedImportance(_Msip):
    """`msip-published`: I = w_g I_g + w_m I_m + w_s I_s + w_i I_i, the printed formulas.

    I_g = sum (dL/dW)^2 and I_m = ||W||_2 over a channel's filters, I_s = 1 - mean(W = 0), which is
    1 for a dense network, I_i = H(W) - H(W|L) in bits, W observed through its response and L the
    label. Each is divided by its mean over the network (a group on its own is its own network),
    since a weighted sum of different units says nothing. Only w_g follows validation (catalog).
    """

    @classmethod
    def _switches(cls, options: MsipOptions) -> MsipOptions:
        """What is printed, whatever the person set."""
        printed = {"gradient": "grad2", "geometry": "norm", "sparsity": "zero",
                   "information": "label", "reach": False}  # fmt: skip
        return options.model_copy(update=printed)

    def _gradient(self, group: Any) -> Tensor:
        """Of the channel's own filters: the paper scores W, not what reads it."""
        found = self.statistics.gradient["grad2"]
        return self._mean(group, lambda m: m.rows(found[m.name]).sum(1))

    def fuse(self, terms: Terms) -> Tensor:
        return self.fuse_all({"": terms})[""]

    def fuse_all(self, terms: Mapping[str, Terms]) -> dict[str, Tensor]:
        weights = dict(zip(TERMS, self.options.weights.as_tuple(), strict=True))
        means = {
            field.name: torch.cat([getattr(t, field.name) for t in terms.values()]).mean()
            for field in fields(Terms)
        }
        return {
            name: torch.stack(
                [weights[k] * getattr(t, k) / means[k].clamp_min(_TINY) for k in TERMS]
            ).sum(0)
            for name, t in terms.items()
        }


def fuse(terms: Terms, weights: MsipWeights, fusion: str) -> Tensor:
    """The fused score of `msip`; see MsipImportance for the formulas."""
    loss = terms.gradient
    if weights.gradient == sum(weights.as_tuple()):  # nothing else counts: not even clipped
        return loss.clone()
    if fusion == "rank":
        return _by_rank(terms, weights)
    total = mixed([standard(x) for x in terms.as_tuple()], weights.as_tuple())
    level, spread = log_scale(loss)
    return (level + (spread if spread > 0 else _TIE) * total).exp()


def _by_rank(terms: Terms, weights: MsipWeights) -> Tensor:
    parts = [w * mean_ranks(x) for w, x in zip(weights.as_tuple(), terms.as_tuple(), strict=True)]
    # Rounded, so that equal sums of ranks are equal whatever they were added up of.
    place = torch.stack(parts).sum(0).mul(1e6).round()
    _, which, many = place.unique(return_inverse=True, return_counts=True)
    given = terms.gradient.sort().values[place.argsort(stable=True).argsort()]
    # Equal places share what they are given, or the numbering of channels would decide.
    shared = torch.zeros(len(many), dtype=given.dtype).index_add_(0, which, given) / many
    if given.min() == given.max():  # the loss tells nothing apart, the places do
        shared = shared.clamp_min(_TINY) * (1 + _TIE * torch.linspace(0, 1, len(many)).to(shared))
    return shared[which]


def _of(response: Mapping[str, Tensor], member: Member) -> Tensor | None:
    """Values of a member's filters; None for a convolution without a response of its own."""
    return response[member.name][member.indices] if member.name in response else None
