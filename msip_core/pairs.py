"""Paired statistics: does the pruned model look at the border more than its baseline?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from msip_core.errors import InputError


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Mean of b - a over images, with a 95 % bootstrap interval.

    Attributes:
        mean_a, mean_b: means over the images that have both values.
        difference: mean of b - a.
        low, high: 2.5 % and 97.5 % quantiles of the resampled difference; None below two images.
        images: images that have both values.
        left_out: images where one value is undefined (an empty map).
    """

    mean_a: float | None
    mean_b: float | None
    difference: float | None
    low: float | None
    high: float | None
    images: int
    left_out: int

    def as_dict(self) -> dict[str, Any]:
        """As it stands in result.json."""
        return asdict(self)

    @property
    def is_clear(self) -> bool:
        """Zero lies outside the interval."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def paired_bootstrap(
    a: Sequence[float | None], b: Sequence[float | None], *, resamples: int = 5000, seed: int = 0
) -> PairedDifference:
    """Compare two models' scores on the same images; images are resampled as pairs.

    Args:
        a, b: one score per image, in the same order; None where it is undefined.

    Raises:
        InputError: the two lists differ in length.
    """
    if len(a) != len(b):
        raise InputError(f"Scores of {len(a)} and of {len(b)} images cannot be paired.")
    both = [(x, y) for x, y in zip(a, b) if x is not None and y is not None]
    left_out = len(a) - len(both)
    if not both:
        return PairedDifference(None, None, None, None, None, 0, left_out)
    values = np.array(both, np.float64)
    change = values[:, 1] - values[:, 0]
    low: float | None = None
    high: float | None = None
    if len(both) > 1:
        rng = np.random.default_rng(seed)
        drawn = change[rng.integers(0, len(change), (resamples, len(change)))].mean(axis=1)
        low, high = (float(q) for q in np.quantile(drawn, (0.025, 0.975)))
    mean_a, mean_b = (float(m) for m in values.mean(axis=0))
    return PairedDifference(mean_a, mean_b, float(change.mean()), low, high, len(both), left_out)


def mean_defined(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are defined, or None if none is."""
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None
