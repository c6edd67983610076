"""BN x weight (Pruned-YOLO): a channel counts as much as its filter, times what scales it.

    score[c] = mean over filters of |gamma_c| * sum |W_c|

with gamma of the batch norm that directly follows the filter's convolution; a convolution without
one passes its output on unscaled and counts with gamma 1. No data. A strong filter behind a small
gamma, and a large gamma behind an empty filter, are both nearly silent; neither L1 nor BN scale
alone sees that. Published together with sparse training (a decaying L1 term on gamma); how
exactly the two factors are combined is not said in a source that we could read.
Source: Pruned-YOLO, ICANN 2021.
"""

from __future__ import annotations

from torch import Tensor

from msip_core.groups.members import Member
from msip_core.importance.members import GroupImportance


class BnWeightImportance(GroupImportance):
    """|gamma| times L1 of the filter, divided by the group's mean."""

    normalise = True

    def member_score(self, member: Member) -> Tensor | None:
        if not member.filters:
            return None
        strength = member.rows(member.weight).abs().sum(1)
        gamma: Tensor | None = getattr(member.norm, "weight", None)
        if gamma is None:
            return strength
        return strength * gamma.detach()[member.indices].abs()
