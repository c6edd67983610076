"""What the criteria share: how the vectors of a group's members become one score a channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch_pruning as tp
from torch import Tensor

from msip_core.config import MsipOptions
from msip_core.errors import ConfigError
from msip_core.groups.members import Member, members, width
from msip_core.messages import msg


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
    batch norm counts as it is, one whose batch norm has no factors with gamma 1.
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
                "{name} needs a calibration pass that gathers {missing}.",
                name=type(self).__name__,
                missing=", ".join(sorted(missing)),
            )

    @classmethod
    def required(cls, options: MsipOptions) -> frozenset[str]:
        """What `statistics.gather` must collect for these options."""
        return cls.needs

    def member_score(self, member: Member) -> Tensor | None:
        """(m,) score of each channel of one member, or None where it does not count."""
        raise NotImplementedError(msg("{name} must score its members", name=type(self).__name__))

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
