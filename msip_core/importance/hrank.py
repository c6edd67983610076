"""HRank: a channel whose feature maps have low rank carries little.

    score[c] = mean over images of rank(A_c) / min(H, W),   A_c = the map after the activation

Ranks are counted in ranks.py, with a tolerance and a tie-break of our own.
Source: Lin et al. 2020, arXiv:2002.10179 (there without tolerance, for ReLU, rates set by hand).
"""

from __future__ import annotations

from msip_core.importance.members import ResponseImportance


class HRankImportance(ResponseImportance):
    """Mean normalised rank of the maps that a channel's filters give."""

    needs = frozenset({"rank"})
