"""Random: channels by lot, the floor that any method must beat.

score[c] ~ U(0, 1), drawn from (seed, name of the group)
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from msip_core.groups.members import group_name, width
from msip_core.importance.members import GroupImportance


class RandomImportance(GroupImportance):
    """The same seed gives the same order, whatever else was scored before."""

    def __call__(self, group: Any) -> Tensor:
        key = f"{self.seed}:{group_name(group)}".encode()
        lot = int.from_bytes(hashlib.sha256(key).digest()[:7], "big")
        generator = torch.Generator().manual_seed(lot)
        return torch.rand(width(group), dtype=torch.float64, generator=generator)
