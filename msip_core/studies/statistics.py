"""Intervals of mean average precision: a bootstrap over images, paired between models.

Of R resamples, each draws as many images as there are, with replacement (Efron 1979). All models
see the same resamples, so that the difference of two models on one resample is free of what the
images have in common; a difference is called clear where the middle 95 % of it exclude zero.
Average precision is Ultralytics': 101 points under the envelope of precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msip_core.errors import InputError
from msip_core.matches import IOUS, Matches

RESAMPLES = 1000
_RECALLS = np.linspace(0, 1, 101)
_TAILS = (0.025, 0.975)
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A number and the middle 95 % of its resamples."""

    value: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Zero lies outside."""
        return not self.low <= 0 <= self.high

    def as_dict(self) -> dict[str, Any]:
        """As it stands in table.json."""
        return asdict(self)


def resampled_counts(images: int, resamples: int = RESAMPLES, seed: int = 0) -> NDArray[np.int64]:
    """How often each resample draws each image: (resamples, images), every row sums to `images`."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(images, np.full(images, 1 / images), size=resamples)


class Precision:
    """Mean average precision of one model for any choice of images.

    Detections are ranked once; a choice is a count per image.
    """

    def __init__(self, matches: Matches) -> None:
        if not matches.images:
            raise InputError("There are no images to compute an average precision of.")
        # By name, so that models whose batches were ordered otherwise see the same resample.
        order = np.argsort(np.argsort(np.array(matches.images)))
        self.images = tuple(sorted(matches.images))
        self._classes = [_Ranked(matches, order, int(cls)) for cls in np.unique(matches.label_cls)]

    def __call__(self, counts: NDArray[np.int64] | None = None) -> tuple[float, float]:
        """mAP50 and mAP50-95 with each image counted so often; None counts each once.

        Classes without a label in the choice are left out, as Ultralytics does; nan if all are.
        """
        if counts is None:
            counts = np.ones(len(self.images), np.int64)
        found = [ap for ranked in self._classes if (ap := ranked.average(counts)) is not None]
        if not found:
            return float("nan"), float("nan")
        mean = np.mean(found, axis=0)
        return float(mean[0]), float(mean.mean())

    def draws(self, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
        """mAP50 and mAP50-95 of every resample: (resamples, 2)."""
        counts = resampled_counts(len(self.images), resamples, seed)
        return np.array([self(row) for row in counts])


class _Ranked:
    """Detections of one class, the most confident first, and where its labels are."""

    def __init__(self, matches: Matches, order: NDArray[np.int64], cls: int) -> None:
        mine = np.flatnonzero(matches.cls == cls)
        ranked = mine[np.argsort(-matches.conf[mine])]
        self._hit = matches.hit[ranked].astype(np.int64)
        self._image = order[matches.image[ranked]]
        labels = order[matches.label_image[matches.label_cls == cls]]
        self._labels = np.bincount(labels, minlength=len(matches.images))

    def average(self, counts: NDArray[np.int64]) -> Floats | None:
        """Average precision at each of the ten thresholds; None without a label."""
        total = int(self._labels @ counts)
        if not total:
            return None
        times = counts[self._image]
        there = times > 0
        if not there.any():
            return np.zeros(len(IOUS))
        times = times[there]
        hits = (self._hit[there] * times[:, None]).cumsum(axis=0)
        precision = hits / times.cumsum()[:, None]
        return _area(hits / (total + 1e-16), precision)


def _area(recall: Floats, precision: Floats) -> Floats:
    """Area under the envelope of each column's precision over recall, at 101 points."""
    ends = np.ones((1, recall.shape[1]))
    recall = np.concatenate((0 * ends, recall, recall[-1:], ends))
    precision = np.concatenate((ends, precision, 0 * ends, 0 * ends))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    curves = [np.interp(_RECALLS, recall[:, n], envelope[:, n]) for n in range(recall.shape[1])]
    return np.trapezoid(np.array(curves), _RECALLS, axis=1)


# --- intervals -----------------------------------------------------------------


def interval(value: float, draws: Floats) -> Interval:
    """A value and the middle 95 % of its resamples (those that are numbers)."""
    known = draws[np.isfinite(draws)]
    if not known.size:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(known, _TAILS)
    return Interval(value, float(low), float(high))


def mean_over_seeds(values: Sequence[float], draws: Sequence[Floats]) -> tuple[float, Floats]:
    """Mean of the seeds' values, and of their resamples one by one: images vary, seeds do not."""
    return float(np.mean(values)), np.mean(np.stack(list(draws)), axis=0)


def difference(a: tuple[float, Floats], b: tuple[float, Floats]) -> Interval:
    """b - a, paired resample by resample.

    Raises:
        InputError: the two were resampled differently often.
    """
    if a[1].shape != b[1].shape:
        raise InputError(
            f"Two models were resampled {a[1].size} and {b[1].size} times: measure both again."
        )
    return interval(b[0] - a[0], b[1] - a[1])
