"""The members of a group of coupled channels. A torch-pruning group holds slices of layers:

    out        filter c of a convolution          W[c]      (in, k, k)
    depthwise  filter c of a depthwise one        W[c]      (1, k, k)
    in         what a later convolution reads     W[:, c]   (out, k, k)
    norm       entry c of a batch norm            gamma[c], beta[c]

torch-pruning's own magnitude and Taylor scores never see depthwise filters (1.6.1 compares with
the ordinary conv-out handler), so depthwise members are listed here beside the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch_pruning.pruner import function

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
        norm: the batch norm that directly follows the convolution, if any; without factors
            (affine=False) it only standardises.
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
    """The batch norm that reads a convolution's output in torch-pruning's graph."""
    follows = (after.module for after in node.outputs)
    return next((m for m in follows if isinstance(m, nn.modules.batchnorm._BatchNorm)), None)


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
