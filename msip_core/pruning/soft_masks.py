"""Soft masks of Pruned-YOLO: the weakest channels are silenced every epoch, and may come back.

At the first optimizer step of each epoch the batch-norm factors and shifts of the lowest
floor(share * width) channels of every group, by BN x weight, are set to zero: the channel lets
nothing through. It goes on being trained, so that one that is needed grows again before the next
epoch; what stays weak is weak when the cut comes, and the others have learned to do without it.

Source: Pruned-YOLO, ICANN 2021 (soft masks, BN x weight); He et al. 2018, arXiv:1808.06866 (soft
filter pruning, whose rule this is).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from msip_core.detector.library import DetectionModel
from msip_core.groups.coupling import prunable_groups
from msip_core.groups.members import members, width
from msip_core.importance.bnweight import BnWeightImportance


@dataclass
class SoftMasks:
    """The masks of all prunable groups of the module that is trained.

    Attributes:
        share: of each group's channels that is silenced.
    """

    share: float
    _groups: list[Any] = field(default_factory=list)
    _epoch: float | None = None

    def bind(self, model: DetectionModel) -> None:
        self._groups = list(prunable_groups(model).groups.values())

    @torch.no_grad()
    def add(self, progress: float) -> None:
        if progress == self._epoch:  # once an epoch
            return
        self._epoch = progress
        score = BnWeightImportance()
        # All scores first: silencing one group changes what others would score.
        weak = [
            score(group).argsort(stable=True)[: int(self.share * width(group))]
            for group in self._groups
        ]
        for group, channels in zip(self._groups, weak, strict=True):
            for member in members(group):
                if member.kind != "norm":
                    continue
                norm: Any = member.layer
                silent = member.indices[torch.isin(member.positions, channels)]
                norm.weight[silent.to(norm.weight.device)] = 0
                norm.bias[silent.to(norm.bias.device)] = 0
