"""Terms of different units in one score, so that every weight decides something.

Inside one group of coupled channels each term x (n,) is put on a common scale,

    z = (log x - median) / (1.4826 * median of |log x - median|),   clipped to [-4, 4]

which does not change when the term is scaled, and has about the same spread whether its values
differ by percents or by powers of ten. (x / (x + median), which stood here before, makes .5 of
every term that differs by percents: then only the gradient, which differs by powers, decided.)

`mixed` adds the terms times their weights. `weighted_sum` takes factors f_k > 0 instead, such that
term k's part of the variance of the sum is its weight w_k:

    f_k * cov(f_k z_k + sum of the others) / var = w_k          (risk budgets)

Terms that say the same (activity and information do) share the weight they have together. A term
that says nothing in a group (all channels alike) leaves its weight to the others.

Source of the budgets: Maillard, Roncalli & Teïletche 2010; Bruder & Roncalli 2012 (unequal
budgets; the solution is unique); the method of coordinates: Griveau-Billion et al. 2013,
arXiv:1311.4057.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_NORMAL = 1.4826  # median absolute deviation -> standard deviation of a normal distribution
_CLIP = 4.0
_FLOOR = 1e-3  # of the median: a term that is 0 for a channel is that much below, not endlessly
_ROUNDS = 100
_TINY = 1e-300


def standard(x: Tensor) -> Tensor:
    """Robust z of log x, clipped: (n,) -> (n,), 0 where all values are alike."""
    level, spread = log_scale(x)
    if spread == 0:
        return torch.zeros_like(x)
    return ((_log(x) - level) / spread).clamp(-_CLIP, _CLIP)


def log_scale(x: Tensor) -> tuple[Tensor, Tensor]:
    """Median and robust standard deviation of log x; the plain one where half are alike."""
    log = _log(x)
    level = log.median()
    spread = _NORMAL * (log - level).abs().median()
    if spread == 0:
        spread = log.std(correction=0)
    return level, spread


def _log(x: Tensor) -> Tensor:
    return x.clamp_min(max(_FLOOR * float(x.median()), _TINY)).log()


def mixed(parts: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Sum of the parts times their weights, with the mean variance of the parts that count: (n,).

    A weight acts more sharply than as a share of the variance (which grows with its square).
    """
    stacked = torch.stack(list(parts))
    weight = torch.tensor(list(weights), dtype=stacked.dtype)
    variances = stacked.var(1, correction=0)
    used = (weight > 0) & (variances > 0)
    total = weight @ stacked
    variance = total.var(correction=0)
    if not bool(used.any()) or variance == 0:
        return torch.zeros_like(stacked[0])
    return (variances[used].mean() / variance).sqrt() * total


def weighted_sum(parts: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Sum of the parts in which the part of each in the variance is its weight.

    Args:
        parts: (n,) each, on one scale.
        weights: not negative; their sum is taken as 1.

    Returns:
        (n,) sum with the spread of a single part: factors scaled to a variance that is the mean
        of the parts'.
    """
    stacked = torch.stack(list(parts))
    centred = stacked - stacked.mean(1, keepdim=True)
    covariance = centred @ centred.t() / centred.shape[1]
    factors = budget_factors(covariance, torch.tensor(list(weights), dtype=covariance.dtype))
    used = factors > 0
    if not bool(used.any()):
        # No channel stands out: all at their common level, which a threshold at a share of the
        # median then keeps. (At 0 they would be the cheapest of the whole network.)
        weight = torch.tensor(list(weights), dtype=stacked.dtype)
        return weight @ stacked / weight.sum()
    spread = (covariance.diagonal()[used].mean() / (factors @ covariance @ factors)).sqrt()
    return spread * factors @ stacked


def budget_factors(covariance: Tensor, weights: Tensor) -> Tensor:
    """(k,) factors f >= 0 with f_k (C f)_k in proportion to w_k; 0 where weight or variance is 0.

    Coordinate descent on f'Cf / 2 - sum w log f, whose one minimum that is: each step solves
    C_kk f_k^2 + b f_k = w_k with b = sum of C_kj f_j over the others.
    """
    count = len(weights)
    used = [k for k in range(count) if weights[k] > 0 and covariance[k, k] > 0]
    factors = torch.zeros(count, dtype=covariance.dtype)
    for k in used:
        factors[k] = (weights[k] / covariance[k, k]).sqrt()
    for _ in range(_ROUNDS if len(used) > 1 else 0):
        before = factors.clone()
        for k in used:
            a = covariance[k, k]
            b = covariance[k] @ factors - a * factors[k]
            factors[k] = ((b * b + 4 * a * weights[k]).sqrt() - b) / (2 * a)
        if float((factors - before).abs().max()) < 1e-10 * float(factors.max()):
            break
    return factors


def relative(x: Tensor) -> Tensor:
    """x / (x + median(x)) with the lower middle value as median and 0/0 = 0: (n,) -> (n,).

    In [0, 1) for x >= 0; .5 at the median; unchanged when x is scaled. Ranks break ties with it.
    """
    total = x + x.median()
    return torch.where(total > 0, x / total.clamp_min(_TINY), torch.zeros_like(x))


def mean_ranks(x: Tensor) -> Tensor:
    """Rank of each value from 0 on, ties with their mean rank: (n,) -> (n,)."""
    ordered = x.sort().values
    first = torch.searchsorted(ordered, x, side="left")
    last = torch.searchsorted(ordered, x, side="right")
    return (first + last - 1).double() / 2
