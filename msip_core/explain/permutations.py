"""Shapley values by permutations in pairs, until two independent estimates agree.

Players come in one by one in a random order, and again in the reverse of that order; what each adds
when it comes is averaged (Castro et al. 2009, doi:10.1016/j.cor.2008.04.004; the pairs: Mitchell et
al. 2022, JMLR 23:43). A pair costs 2 (M - 1) evaluations and is exact for every game in which
players interact two by two. A player that changes nothing gets exactly 0, whatever the others do:
a regression on drawn coalitions (KernelSHAP) spreads its noise over all players instead, so that
how concentrated the values look depends on how many coalitions were drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msip_core.explain.boundary import concentration

Floats = NDArray[np.float64]
Game = Callable[[Floats], Floats]
CORRELATION = 0.9  # of two estimates, from which on they agree
SHARE = 0.03  # and how much their C@10 may differ


@dataclass(frozen=True, slots=True)
class Estimate:
    """Shapley values, and how sure they are.

    Attributes:
        values: (M,), the mean of both estimates; they sum to score - base.
        base, score: of the game with nobody and with everybody.
        evaluations: of the game, in all.
        converged: the two estimates agree (correlation >= .9, C@10 within .03), or both are zero.
        correlation: of the two; None where there was one, or it is undefined.
        shares: C@10 of each; None where there was one, or it is undefined.
    """

    values: Floats
    base: float
    score: float
    evaluations: int
    converged: bool
    correlation: float | None = None
    shares: tuple[float, float] | None = None


class _Sampler:
    """One estimate: a mean over pairs of permutations that can be added to."""

    def __init__(self, game: Game, features: int, ends: Floats, seed: list[int]) -> None:
        self._game, self._features, self._ends = game, features, ends
        self._rng = np.random.default_rng(seed)
        self._sum = np.zeros(features)
        self.pairs = 0

    @property
    def values(self) -> Floats:
        """(M,) so far."""
        return self._sum / max(1, self.pairs)

    def add(self, pairs: int) -> None:
        """Draw so many pairs more."""
        base, score = self._ends
        for _ in range(pairs):
            order = self._rng.permutation(self._features)
            place = np.argsort(order)
            forward = (place < np.arange(1, self._features)[:, None]).astype(np.float64)
            # The complements are the same order read from its end.
            seen = self._game(np.concatenate([forward, 1 - forward]))
            up, down = np.split(seen, 2)
            gained = np.diff(np.concatenate([[base], up, [score]]))
            lost = -np.diff(np.concatenate([[score], down, [base]]))
            self._sum[order] += (gained + lost) / 2
            self.pairs += 1


def kernel_shap(f: Game, features: int, samples: int, seed: int) -> tuple[Floats, float, float]:
    """SHAP values of a game over on/off masks, from about so many evaluations.

    Args:
        f: masks (n, M) of zeros and ones -> (n,).
        samples: as many pairs of permutations as fit in, at least one.

    Returns:
        phi (M,), f(all off), f(all on); phi sums to the difference.
    """
    ends = _ends(f, features)
    sampler = _Sampler(f, features, ends, [seed, 0])
    sampler.add(max(1, samples // pair_cost(features)))
    return sampler.values, float(ends[0]), float(ends[1])


def converge(f: Game, features: int, most: int, seed: int) -> Estimate:
    """SHAP values from two estimates, each doubled until they agree or `most` is spent.

    Args:
        f: masks (n, M) of zeros and ones -> (n,).
        most: evaluations, beside the two of nobody and everybody.
    """
    ends, cost = _ends(f, features), pair_cost(features)
    first, second = (_Sampler(f, features, ends, [seed, half]) for half in (0, 1))
    fit = most // (2 * cost)
    if fit < 1:
        first.add(1)
        return Estimate(first.values, float(ends[0]), float(ends[1]), cost + 2, False)
    while True:
        more = min(max(1, first.pairs), fit - first.pairs)
        first.add(more)
        second.add(more)
        found = _compared(first, second, ends, cost)
        if found.converged or first.pairs == fit:
            return found


def pair_cost(features: int) -> int:
    """Evaluations of one pair of permutations; nobody and everybody are known."""
    return 2 * max(1, features - 1)


def _ends(f: Game, features: int) -> Floats:
    return np.asarray(f(np.stack([np.zeros(features), np.ones(features)])), np.float64)


def _compared(first: _Sampler, second: _Sampler, ends: Floats, cost: int) -> Estimate:
    one, other = first.values, second.values
    spent = 2 * first.pairs * cost + 2
    both = (one + other) / 2
    base, score = float(ends[0]), float(ends[1])
    a, b = concentration(one), concentration(other)
    if a is None or b is None:  # one estimate says that nothing matters
        return Estimate(both, base, score, spent, a is b)
    varies = np.ptp(one) > 0 and np.ptp(other) > 0
    correlation = float(np.corrcoef(one, other)[0, 1]) if varies else None
    # Where all patches matter alike there is nothing to correlate: the values themselves agree.
    alike = correlation >= CORRELATION if correlation is not None else np.allclose(one, other)
    agree = bool(alike and abs(a - b) <= SHARE)
    return Estimate(both, base, score, spent, agree, correlation, (a, b))
