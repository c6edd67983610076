"""Network Slimming: one percentile over the |gamma| of the whole network.

    score[c] = mean over the group's batch norms of |gamma_c|, as it stands

`bnscale` divides by the group's mean, as torch-pruning does, so that every layer loses about the
same share; slimming must not: sparse training has driven the gammas of layers that are not needed
towards 0 as a whole, and one threshold over the raw values finds exactly these. Without an L1 term
on gamma in training, raw gammas of different layers say little about each other.
Source: Liu et al. 2017, arXiv:1708.06519.
"""

from __future__ import annotations

from msip_core.importance.bnscale import BnScaleImportance


class SlimImportance(BnScaleImportance):
    """|gamma|, comparable across layers because it is not normalised."""

    normalise = False
