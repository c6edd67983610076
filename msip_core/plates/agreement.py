"""How sure a count is: against people's labels, and of a lighter model against the baseline.

Two numbers of each unit (an image, a well) are compared as Bland and Altman (1986, 1999) do: the
mean of the differences is the bias, and 95 % of single differences lie within bias ± 1.96 SD, the
limits of agreement. Images of one well resemble each other, so that the intervals of bias and slope
take wells as clusters. Whether two models give the same biology is a question of equivalence, not
of a p above 0.05: two one-sided t tests (Schuirmann 1987) ask whether the mean difference lies
within a margin that the reader sets.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import atanh, isfinite, sqrt, tanh
from typing import Literal, NamedTuple

import numpy as np

from msip_core.intervals import ALPHA, LEAST_UNITS, Floats
from msip_core.messages import msg

Verdict = Literal["same", "different", "unclear"]
_REACH = 1.96  # SDs that hold 95 % of normal differences


class Pair(NamedTuple):
    """One unit by two ways of counting.

    Attributes:
        cluster: such as its well; units of one cluster are not independent.
    """

    name: str
    reference: float
    other: float
    cluster: Hashable = None

    @property
    def difference(self) -> float:
        """Other minus reference: above zero where the other finds more."""
        return self.other - self.reference

    @property
    def mean(self) -> float:
        return (self.reference + self.other) / 2


class Bounds(NamedTuple):
    """A number with its 95 % interval; no bounds where too few units could tell."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Limits:
    """Bland and Altman's numbers.

    Attributes:
        bias: mean difference; `sd` of single differences.
        lower, upper: limits of agreement.
        units, clusters: what they rest on.
        slope: of the regression of the other on the reference; 1 where it neither shrinks nor
            stretches, None where the reference does not vary.
    """

    pairs: tuple[Pair, ...]
    bias: Bounds
    sd: float
    lower: Bounds
    upper: Bounds
    clusters: int
    slope: Bounds | None

    @property
    def units(self) -> int:
        return len(self.pairs)


def limits_of(pairs: Sequence[Pair]) -> Limits | None:
    """Bias and limits of agreement; None with fewer than three units."""
    if len(pairs) < LEAST_UNITS:
        return None
    gaps = np.array([pair.difference for pair in pairs])
    clusters = _clusters(pairs)
    count, bias, sd = int(clusters.max()) + 1, float(gaps.mean()), float(gaps.std(ddof=1))
    if count < LEAST_UNITS:
        return Limits(
            tuple(pairs), Bounds(bias), sd, Bounds(bias - _REACH * sd), Bounds(bias + _REACH * sd),
            count, _slope(pairs, clusters),
        )  # fmt: skip
    reach = _t(count - 1)
    error = _clustered(gaps - bias, clusters, len(gaps))
    # Bland & Altman 1999, section 2.4: the variance of bias ± 1.96 SD.
    outer = sqrt(error**2 + _REACH**2 * sd**2 / (2 * (count - 1)))
    lower, upper = bias - _REACH * sd, bias + _REACH * sd
    return Limits(
        tuple(pairs),
        Bounds(bias, bias - reach * error, bias + reach * error),
        sd,
        Bounds(lower, lower - reach * outer, lower + reach * outer),
        Bounds(upper, upper - reach * outer, upper + reach * outer),
        count,
        _slope(pairs, clusters),
    )


def _clusters(pairs: Sequence[Pair]) -> Floats:
    """Number of the cluster of each pair; a pair without one is its own."""
    names = [pair.cluster if pair.cluster is not None else ("", n) for n, pair in enumerate(pairs)]
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return np.array([places[name] for name in names])


def _clustered(parts: Floats, clusters: Floats, below: float) -> float:
    """Standard error of a sum of `parts` over `below`, whole clusters at a time."""
    sums = np.bincount(clusters, weights=parts)
    count = sums.size
    return sqrt(float((sums**2).sum()) * count / (count - 1)) / below


def _slope(pairs: Sequence[Pair], clusters: Floats) -> Bounds | None:
    x = np.array([pair.reference for pair in pairs])
    y = np.array([pair.other for pair in pairs])
    spread = float(((x - x.mean()) ** 2).sum())
    if spread == 0:
        return None
    slope = float(((x - x.mean()) * y).sum()) / spread
    count = int(clusters.max()) + 1
    if count < LEAST_UNITS:
        return Bounds(slope)
    left = y - y.mean() - slope * (x - x.mean())
    reach = _t(count - 1) * _clustered((x - x.mean()) * left, clusters, spread)
    return Bounds(slope, slope - reach, slope + reach)


def _t(degrees: int, tail: float = ALPHA / 2) -> float:
    from scipy.stats import t

    return float(t.isf(tail, degrees))


# --- counts against labels ----------------------------------------------------


@dataclass(frozen=True)
class Calibration:
    """Counts of one class on labelled images.

    Attributes:
        found, labelled: objects over all images.
    """

    name: str
    found: int
    labelled: int
    limits: Limits | None

    @property
    def ratio(self) -> float | None:
        """Objects counted for each one that is labelled; None where none is."""
        return self.found / self.labelled if self.labelled else None


ALL = "all"  # the name of all classes together


def calibrate(
    truth: Mapping[str, Mapping[str, int]],
    counted: Mapping[str, Mapping[str, int]],
    classes: Sequence[str],
    wells: Mapping[str, Hashable] | None = None,
) -> list[Calibration]:
    """Counts against labels, class by class and all together, over images that have both.

    Args:
        truth, counted: image -> class -> objects.
        wells: image -> its well, where names show one.
    """
    images = [image for image in truth if image in counted]
    found = []
    for name in (ALL, *classes):
        chosen = classes if name == ALL else (name,)
        pairs = [
            Pair(
                image,
                _objects(truth[image], chosen),
                _objects(counted[image], chosen),
                (wells or {}).get(image),
            )
            for image in images
        ]
        total = [sum(int(getattr(pair, side)) for pair in pairs) for side in ("other", "reference")]
        found.append(Calibration(name, total[0], total[1], limits_of(pairs)))
    return found


def _objects(counts: Mapping[str, int], chosen: Sequence[str]) -> int:
    return sum(counts.get(name, 0) for name in chosen)


# --- one model against another ------------------------------------------------


@dataclass(frozen=True)
class Equivalence:
    """Whether the mean difference lies within ± `margin`.

    Attributes:
        low, high: 90 % interval of the mean difference; equivalent where it lies in the margin.
        p: the larger of the two one-sided tests.
        outside: single units that differ by more than the margin.
    """

    margin: float
    low: float
    high: float
    p: float
    outside: int
    verdict: Verdict


def equivalence(limits: Limits, margin: float) -> Equivalence | None:
    """Two one-sided t tests of the mean difference; None with fewer than three units.

    Raises:
        ValueError: the margin is not above zero.
    """
    if not margin > 0:
        raise ValueError(msg("a margin must be above zero, got {margin}", margin=margin))
    if limits.clusters < LEAST_UNITS or limits.bias.low is None:
        return None
    from scipy.stats import t

    gaps = np.array([pair.difference for pair in limits.pairs])
    degrees, bias = limits.clusters - 1, limits.bias.value
    error = _clustered(gaps - bias, _clusters(limits.pairs), len(gaps))
    if error == 0:  # every unit differs by the same
        p = 0.0 if abs(bias) < margin else 1.0
        low = high = bias
    else:
        p = float(
            max(t.sf((bias + margin) / error, degrees), t.cdf((bias - margin) / error, degrees))
        )
        reach = _t(degrees, ALPHA) * error
        low, high = bias - reach, bias + reach
    verdict: Verdict = "same" if p < ALPHA else "unclear"
    beyond = limits.bias.low > margin or (limits.bias.high or 0) < -margin
    if verdict != "same" and beyond:
        verdict = "different"
    outside = int((np.abs(gaps) > margin).sum())
    return Equivalence(margin, low, high, p, outside, verdict)


def concordance(pairs: Sequence[Pair]) -> Bounds | None:
    """Lin's concordance correlation (1989; corrected 2000) with its interval by Fisher's z.

    2 s_xy / (s_x² + s_y² + (m_x − m_y)²); 1 where all pairs are equal. None with fewer than four
    units, or where nothing varies. Units of one cluster tell no more than one of them would: no
    bounds with fewer than four clusters.
    """
    if len(pairs) < LEAST_UNITS + 1:
        return None
    x = np.array([pair.reference for pair in pairs])
    y = np.array([pair.other for pair in pairs])
    below = float(x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    if below == 0:
        return None
    both = float(((x - x.mean()) * (y - y.mean())).mean())
    value = 2 * both / below
    count = int(_clusters(pairs).max()) + 1
    if both == 0 or abs(value) >= 1 - 1e-12 or count <= LEAST_UNITS:
        return Bounds(value)
    spread = sqrt(float(x.std() * y.std()))
    r, u = both / spread**2, float(x.mean() - y.mean()) / spread
    square, rest = value**2, 1 - value**2
    variance = (
        (1 - r**2) * square / (rest * r**2)
        + 2 * value**3 * (1 - value) * u**2 / (r * rest**2)
        - value**4 * u**4 / (2 * r**2 * rest**2)
    ) / (count - 2)
    if not isfinite(variance) or variance < 0:
        return Bounds(value)
    reach = _REACH * sqrt(variance)
    return Bounds(value, tanh(atanh(value) - reach), tanh(atanh(value) + reach))


def intraclass(pairs: Sequence[Pair]) -> float | None:
    """ICC(A,1): absolute agreement of single values, two-way (McGraw & Wong 1996, case 3A).

    (MS_units − MS_error) / (MS_units + MS_error + 2 (MS_ways − MS_error) / n). None with fewer
    than three units, or where nothing varies.
    """
    if len(pairs) < LEAST_UNITS:
        return None
    values = np.array([(pair.reference, pair.other) for pair in pairs])
    units, ways = values.shape
    total = values.mean()
    by_unit = ways * float(((values.mean(axis=1) - total) ** 2).sum()) / (units - 1)
    by_way = units * float(((values.mean(axis=0) - total) ** 2).sum()) / (ways - 1)
    rest = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + total
    error = float((rest**2).sum()) / ((units - 1) * (ways - 1))
    below = by_unit + (ways - 1) * error + ways * (by_way - error) / units
    return (by_unit - error) / below if below > 0 else None
