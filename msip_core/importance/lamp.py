"""LAMP: a channel's energy relative to the channels of its group that are at least as strong.

    score[c] = u_c / sum of u_j over all u_j >= u_c,   u = L2 energy of the group's channels

The strongest channel scores 1, so no group vanishes. Inside a group the order is that of L2; the
score means something only when all groups are ranked together.
Source: Lee et al. 2021, arXiv:2010.07611 (there per weight); channel form as in torch-pruning.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from msip_core.importance.magnitude import L2Importance


class LampImportance(L2Importance):
    """L2 energies, then LAMP's normalisation."""

    normalise = False

    @torch.no_grad()
    def __call__(self, group: Any) -> Tensor:
        return lamp(super().__call__(group))


def lamp(energy: Tensor) -> Tensor:
    """LAMP scores of non-negative energies (n,), in (0, 1]; equal energies score alike."""
    ordered, _ = energy.double().sort()
    # Summed from the top: subtracting a running sum from the total would cancel in floats.
    at_least = ordered.flip(0).cumsum(0).flip(0)
    first = torch.searchsorted(ordered, energy.double(), side="left")
    tail = at_least[first.clamp(max=len(ordered) - 1)]  # what is no number has no place in it
    return torch.where(tail == 0, torch.ones_like(tail), energy.double() / tail.clamp_min(1e-300))
