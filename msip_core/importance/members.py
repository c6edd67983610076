"""What the criteria share: a group's members, and how their vectors become one score a channel.

A torch-pruning group is a set of coupled channels. Its members are slices of layers:

    out        filter c of a convolution          W[c]      (in, k, k)
    depthwise  filter c of a depthwise one        W[c]      (1, k, k)
    in         what a later convolution reads     W[:, c]   (out, k, k)
    norm       entry c of a batch norm            gamma[c], beta[c]

torch-pruning's own magnitude and Taylor scores never see depthwise filters (1.6.1 compares with
the ordinary conv-out handler), so depthwise members are listed here beside the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch_pruning.pruner import function

from msip_core.config import MsipOptions
from msip_core.errors import ConfigError

Kind = Literal["out", "depthwise", "in", "norm"]


@dataclass(frozen=True)
class Member:
    """One layer's part in a group.

    Attributes:
        layer: the convolution or batch norm.
        name: its name in the model ("model.0.conv").
        indices: (m,) channels of the layer that belong to the group.
        positions: (m,) place of each among the group's channels; a group channel may own
            several of a layer's channels (a concatenation), or none.
        norm: the batch norm with factors that directly follows the convolution, if any.
    """

    kind: Kind
    layer: nn.Module
    name: str
    indices: Tensor
    positions: Tensor
    norm: nn.Module | None = None

    @property
    def filters(self) -> bool:
        """Whether these are filters, which make a channel, not slices that read or scale it."""
        return self.kind in ("out", "depthwise")

    @property
    def weight(self) -> Tensor:
        """The layer's weights, outside any gradient."""
        tensor: Tensor = self.layer.weight  # type: ignore[assignment]
        return tensor.detach()

    def rows(self, weight: Tensor) -> Tensor:
        """The slices of `weight` that this member owns, one flat row a channel: (m, d).

        `weight` is (out, in, ...) for convolutions and (c,) for batch norms.
        """
        if self.kind == "norm":
            return weight[self.indices].reshape(len(self.indices), 1)
        if self.kind == "in":
            weight = weight.transpose(0, 1)
        return weight.flatten(1)[self.indices]


def members(group: Any) -> Iterator[Member]:
    """Every convolution and batch norm of a torch-pruning group that holds weights."""
    place = {index: i for i, index in enumerate(group[0].idxs)}
    for item in group.items:
        kind = _member_kind(item.dep)
        if kind is None:
            continue
        keep = [i for i, root in enumerate(item.root_idxs) if root in place]
        yield Member(
            kind=kind,
            layer=item.dep.layer,
            name=item.dep.target._name or str(item.dep.layer),
            indices=torch.tensor([item.idxs[i] for i in keep], dtype=torch.long),
            positions=torch.tensor([place[item.root_idxs[i]] for i in keep], dtype=torch.long),
            norm=None if kind == "norm" else _own_norm(item.dep.target),
        )


def _own_norm(node: Any) -> nn.Module | None:
    """The batch norm that reads a convolution's output in torch-pruning's graph and scales it.

    One without factors (affine=False) only standardises: it scales no channel more than another.
    """
    follows = (after.module for after in node.outputs)
    norms = (m for m in follows if isinstance(m, nn.modules.batchnorm._BatchNorm))
    return next((norm for norm in norms if norm.affine), None)


def _member_kind(dep: Any) -> Kind | None:
    layer, handler = dep.layer, dep.pruning_fn
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):
        return "norm" if layer.affine else None
    if not isinstance(layer, nn.Conv2d):
        return None
    if handler in (
        function.prune_depthwise_conv_out_channels,
        function.prune_depthwise_conv_in_channels,
    ):
        return "depthwise"
    if handler == function.prune_conv_out_channels:
        return "out"
    if layer.groups != 1:
        raise ConfigError(
            "This network has grouped convolutions, which pruning cannot score yet; "
            "use a YOLOv8 detector."
        )
    return "in"


def width(group: Any) -> int:
    """Channels of a group: the length of its score."""
    return len(group[0].idxs)


def group_name(group: Any) -> str:
    """Name of the convolution at the root of a group; the same in every copy of the model."""
    return str(group[0].dep.target._name)


def group_structure(group: Any) -> str:
    """The pattern of couplings of a group: alike for groups of isomorphic sub-networks.

    The types along every edge and the side that is cut, in torch-pruning's order; with
    `isomorphic=True` it tells groups apart in the same way.
    """
    reads = (function.prune_conv_in_channels, function.prune_linear_in_channels)
    return " ".join(
        f"{type(item.dep.source.module).__name__}>{type(item.dep.target.module).__name__}"
        f".{'in' if item.dep.pruning_fn in reads else 'out'}"
        for item in group.items
    )


def gather_members(
    parts: list[tuple[Tensor, Tensor]], channels: int, reduction: Literal["mean", "sum"]
) -> Tensor:
    """Scatter member vectors onto the group's channels and reduce over the members.

    Args:
        parts: (positions (m,), values (m,)) of each member.

    Returns:
        (channels,) float64. The mean divides by the number of members, as torch-pruning does.
    """
    total = torch.zeros(channels, dtype=torch.float64)
    for positions, values in parts:
        total.index_add_(0, positions, values.detach().double().cpu())
    return total / max(1, len(parts)) if reduction == "mean" else total


def reading_strength(group: Any) -> Tensor:
    """Norm of the weights that read each channel, as batch norm scales them: (channels,) float64.

    r_c = sqrt(sum over readers of sum_o (gamma_o / sigma_o)^2 * ||W_o,c||^2); a reader without
    batch norm counts as it is.
    """
    total = torch.zeros(width(group), dtype=torch.float64)
    for member in members(group):
        if member.kind != "in":
            continue
        squares = member.weight.double().square().flatten(2).sum(2)  # (out, in)
        if member.norm is not None:
            norm: Any = member.norm
            variance = (norm.running_var + norm.eps).double()
            gain = variance.reciprocal() if norm.weight is None else norm.weight**2 / variance
            squares = squares * gain.detach()[:, None]
        total.index_add_(0, member.positions, squares.sum(0).cpu()[member.indices])
    return total.sqrt()


class GroupImportance(tp.importance.Importance):
    """Base of the criteria: a subclass scores one member, this class reduces over members.

    Attributes:
        needs: what the calibration pass must gather before the criterion can score.
        reduction: "mean" over members (method sheet, section 2), or "sum".
        normalise: divide by the group's mean, so that groups compare in one ranking. It does
            not change the order inside a group.
    """

    needs: frozenset[str] = frozenset()
    reduction: Literal["mean", "sum"] = "mean"
    normalise: bool = False

    def __init__(
        self, statistics: Any = None, options: MsipOptions | None = None, seed: int = 0
    ) -> None:
        self.statistics = statistics
        self.options = options or MsipOptions()
        self.seed = seed
        missing = self.required(self.options) - (statistics.gathered if statistics else frozenset())
        if missing:
            raise ConfigError(
                f"{type(self).__name__} needs a calibration pass that gathers "
                f"{', '.join(sorted(missing))}."
            )

    @classmethod
    def required(cls, options: MsipOptions) -> frozenset[str]:
        """What `statistics.gather` must collect for these options."""
        return cls.needs

    def member_score(self, member: Member) -> Tensor | None:
        """(m,) score of each channel of one member, or None where it does not count."""
        raise NotImplementedError(f"{type(self).__name__} must score its members")

    @torch.no_grad()
    def __call__(self, group: Any) -> Tensor:
        """(channels,) float64 score of a group; higher = keep."""
        parts = []
        for member in members(group):
            values = self.member_score(member)
            if values is not None:
                parts.append((member.positions, values))
        score = gather_members(parts, width(group), self.reduction)
        return score / score.mean().clamp_min(1e-300) if self.normalise else score

    def scores(self, groups: Mapping[str, Any]) -> dict[str, Tensor]:
        """Scores of every group of a network by name, for criteria that look at all of them."""
        return {name: self(group) for name, group in groups.items()}


class ResponseImportance(GroupImportance):
    """Base of the criteria that score a channel by its response: one kind of response statistics,
    looked up for every filter; mean over the group's filters."""

    def member_score(self, member: Member) -> Tensor | None:
        if not member.filters:
            return None
        (kind,) = self.needs
        scores: Tensor = self.statistics.response[kind][member.name]
        return scores[member.indices]
