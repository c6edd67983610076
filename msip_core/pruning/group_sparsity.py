"""DepGraph's sparse regularisation: coupled channels shrink together, the weakest most.

    added to the gradient of every weight of group channel c, once per optimizer step:

        reg * gamma_c * w,   gamma_c = 2 ** (4 (I_max - I_c) / (I_max - I_min))  in [1, 16]

    I_c = Euclidean norm of all weights of channel c: filters, batch-norm factors, and what later
    convolutions read of it. Where all channels of a group are equally strong, gamma_c = 1.

torch-pruning 1.6.1 has this as `GroupNormPruner.regularize`. It is not called, because
- equal norms divide 0 by 0, and the gradients of the whole group become NaN (only the norms
  themselves are checked for NaN)
- depthwise filters are left out, in the norm and in the gradient
- it belongs to a pruner with ratios and an importance of its own.
Where neither matters, ours adds exactly what it adds (a test).

Source: Fang et al. 2023, arXiv:2301.12900.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from msip_core.detector.extras import add_gradient
from msip_core.detector.library import DetectionModel
from msip_core.groups.coupling import prunable_groups
from msip_core.groups.members import Member, members, width

_EXPONENT = 4.0  # the weakest channel shrinks 2**4 times as fast as the strongest


@dataclass
class GroupDecay:
    """The term for all prunable groups of the module that is trained.

    Attributes:
        reg: strength; DepGraph's own experiments use 1e-4 to 1e-3.
        groups: (channels, members) of each group, found by `bind`.
    """

    reg: float
    groups: list[tuple[int, list[Member]]] = field(default_factory=list)

    def bind(self, model: DetectionModel) -> None:
        self.watch(list(prunable_groups(model).groups.values()))

    def watch(self, groups: list[object]) -> None:
        """Take these groups of torch-pruning."""
        self.groups = [(width(g), [_placed(m) for m in members(g)]) for g in groups]

    @torch.no_grad()
    def add(self, progress: float) -> None:
        # All terms first: a weight may lie in two groups, and both see it as it was.
        for channels, parts in self.groups:
            gamma = strengths(_norms(channels, parts))
            for member in parts:
                _add(member, self.reg * gamma[member.positions])


def strengths(norms: Tensor) -> Tensor:
    """gamma of each channel, (channels,) in [1, 16]."""
    spread = norms.max() - norms.min()
    share = (norms.max() - norms) / torch.where(spread > 0, spread, torch.ones_like(spread))
    return torch.pow(2.0, _EXPONENT * share)


def _norms(channels: int, parts: list[Member]) -> Tensor:
    total = torch.zeros(channels, device=parts[0].weight.device)
    for member in parts:
        energy = member.rows(member.weight).square().sum(1).float()
        total.index_add_(0, member.positions, energy)
    return total.sqrt()


def _add(member: Member, factors: Tensor) -> None:
    """Add factor * w to the gradients of the member's slices; factors is (m,)."""
    layer: nn.Module = member.layer
    weight: nn.Parameter = layer.weight  # type: ignore[assignment]
    scale = torch.zeros(weight.shape[1 if member.kind == "in" else 0], device=weight.device)
    scale.index_add_(0, member.indices, factors)
    shape = [1] * weight.ndim
    shape[1 if member.kind == "in" else 0] = -1
    add_gradient(weight, weight.detach() * scale.view(shape), 1.0)


def _placed(member: Member) -> Member:
    """The member with its indices on the device of its weights."""
    device = member.weight.device
    return Member(
        member.kind,
        member.layer,
        member.name,
        member.indices.to(device),
        member.positions.to(device),
    )
