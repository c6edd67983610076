"""What intervals from few units share: the tails, the stretch that few units need, many tests.

A bootstrap over k units scatters by too little, the less the fewer they are: its deviations are
stretched by sqrt(k / (k - 1)) against that bias, and by sqrt((k - 1) / chi2(k - 1)) for the tails,
which is what Student's t does to a normal mean. From two units that is not enough: half of their
draws are the units themselves (95 % intervals held the truth 91 to 93 times of 100). Three are the
least.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ALPHA = 0.05
TAILS = (0.025, 0.975)
LEAST_UNITS = 3
Floats = NDArray[np.float64]


def stretch(rng: np.random.Generator, units: int, count: int) -> Floats:
    """Factors for `count` deviations of a bootstrap over `units` (at least 2): (count,)."""
    few = units - 1
    factors: Floats = np.sqrt(units / few) * np.sqrt(few / rng.chisquare(few, count))
    return factors


def middle(draws: Floats) -> tuple[float, float] | None:
    """The middle 95 % of those draws that are numbers; None where none is."""
    known = draws[np.isfinite(draws)]
    if not known.size:
        return None
    low, high = np.quantile(known, TAILS)
    return float(low), float(high)


def holm_adjusted(ps: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction (1979) over all that are numbers, in the order given."""
    known = sorted((p, n) for n, p in enumerate(ps) if p is not None and not np.isnan(p))
    found: list[float | None] = [None] * len(ps)
    least = 0.0
    for rank, (p, place) in enumerate(known):
        least = max(least, min(1.0, (len(known) - rank) * p))
        found[place] = least
    return found
