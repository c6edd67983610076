"""Intervals of mean average precision: a hierarchical bootstrap over trainings, groups and images.

Images of one well, field or series resemble each other, so whole groups (those that the split kept
together) are drawn with replacement, and images within each group drawn (Saravanan et al. 2020,
doi:10.51628/001c.13927). All models see the same resamples, so that the difference of two models on
one resample is free of what the images have in common. Above the images stand the trainings: seeds
are drawn with replacement too, pairwise where two rows were trained with the same seeds. With k
seeds the drawn mean scatters too little, so its deviation is stretched by sqrt(k / (k - 1)) and by
sqrt((k - 1) / chi2(k - 1)): what Student's t does to a normal mean. The same holds of k groups.

A difference is called clear with at least three seeds, where its 95 % interval excludes zero and
still does after Holm's correction (1979) over the rows of its table; of images of one or two groups
(wells, say) never, since nothing tells how groups differ.
Average precision is Ultralytics': 101 points under the envelope of precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from msip_core.errors import InputError
from msip_core.intervals import ALPHA, LEAST_UNITS, Floats, holm_adjusted, middle, stretch
from msip_core.matches import IOUS, Matches

RESAMPLES = 1000  # of the images, each a pass over all detections
LEAST_SEEDS = 3
DRAWS = 10_000  # of seeds and images together; resamples of the images take turns
_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True, slots=True)
class Interval:
    """A number and the middle 95 % of its resamples.

    Attributes:
        p: two-sided: how often a resample falls on the other side of zero; None if undefined.
        seeds: trainings that it rests on; None where it is not about trainings.
        adjusted: `p` after Holm's correction over the rows of a table.
        groups: of images that it rests on; None where that is not known.
    """

    value: float
    low: float
    high: float
    p: float | None = None
    seeds: int | None = None
    adjusted: float | None = None
    groups: int | None = None

    @property
    def is_known(self) -> bool:
        """It rests on enough trainings for a verdict."""
        return self.seeds is None or self.seeds >= LEAST_SEEDS

    @property
    def is_clear(self) -> bool:
        """Enough trainings, zero lies outside, after the correction too."""
        outside = self.low > 0 or self.high < 0  # False where a bound is not a number
        corrected = self.adjusted is None or self.adjusted <= ALPHA
        enough = self.groups is None or self.groups >= LEAST_UNITS
        return self.is_known and enough and outside and corrected

    @property
    def words(self) -> str:
        """ "0.912 [0.903, 0.921]"."""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def as_dict(self) -> dict[str, object]:
        """As it stands in table.json."""
        return asdict(self)


def resampled_counts(
    images: int, resamples: int = RESAMPLES, seed: int = 0, groups: Sequence[str] | None = None
) -> NDArray[np.int64]:
    """How often each resample draws each image: (resamples, images).

    Args:
        groups: of each image, in its order: as many groups as there are are drawn with
            replacement, then in each as many images as it has. None: every image is its own.
    """
    rng = np.random.default_rng(seed)
    if groups is None:
        return rng.multinomial(images, np.full(images, 1 / images), size=resamples)
    names, of_image = np.unique(np.array(groups, np.str_), return_inverse=True)
    times = rng.multinomial(names.size, np.full(names.size, 1 / names.size), size=resamples)
    counts = np.zeros((resamples, images), np.int64)
    for group in range(names.size):
        members = np.flatnonzero(of_image == group)
        share = np.full(members.size, 1 / members.size)
        counts[:, members] = rng.multinomial(times[:, group] * members.size, share)
    return counts


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

    def draws(
        self, resamples: int = RESAMPLES, seed: int = 0, groups: Mapping[str, str] | None = None
    ) -> Floats:
        """mAP50 and mAP50-95 of every resample: (resamples, 2).

        Args:
            groups: image -> the group that is drawn as one; None draws images.
        """
        of_image = None if groups is None else [groups[name] for name in self.images]
        counts = resampled_counts(len(self.images), resamples, seed, of_image)
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


@dataclass(frozen=True, slots=True)
class Sample:
    """One number of every training of a row, and its resamples over images.

    Attributes:
        values: (k,) of each training.
        draws: (k, R) its resamples; resample r draws the same images in every row.
        seeds: of each training; None where there is one model that all rows share.
        groups: how many were drawn; None where that is not known.
    """

    values: Floats
    draws: Floats
    seeds: tuple[int, ...] | None = None
    groups: int | None = None

    @property
    def value(self) -> float:
        """Mean over the trainings."""
        return float(self.values.mean())

    @property
    def interval(self) -> Interval:
        """The mean, with the middle 95 % over trainings and images."""
        found = interval(self.value, self.resampled())
        return replace(found, seeds=len(self.values), groups=self.groups)

    def resampled(self) -> Floats:
        """The mean over drawn trainings and images: (max(DRAWS, R),)."""
        trainings, resamples = self.draws.shape
        count = max(DRAWS, resamples)
        column = np.arange(count) % resamples
        wider: Floats | float = 1.0
        if self.groups is not None and self.groups > 1:
            wider = stretch(np.random.default_rng([self.groups, 1]), self.groups, count)
        if trainings == 1:
            only: Floats = self.value + (self.draws[0, column] - self.value) * wider
            return only
        rng = np.random.default_rng(trainings)
        chosen = rng.integers(0, trainings, (count, trainings))
        away = (self.draws - self.values[:, None])[chosen, column[:, None]]
        by_images = away.mean(axis=1) * wider
        few = stretch(rng, trainings, count)
        by_seeds = (self.values[chosen].mean(axis=1) - self.value) * few
        drawn: Floats = self.value + by_seeds + by_images
        return drawn

    def of(self, seeds: Sequence[int]) -> Sample:
        """The trainings with these seeds, in their order."""
        places = [(self.seeds or ()).index(seed) for seed in seeds]
        return replace(
            self, values=self.values[places], draws=self.draws[places], seeds=tuple(seeds)
        )


def interval(value: float, draws: Floats) -> Interval:
    """A value and the middle 95 % of its resamples (those that are numbers)."""
    bounds = middle(draws)
    if bounds is None:
        return Interval(value, float("nan"), float("nan"))
    known = draws[np.isfinite(draws)]
    beyond = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return Interval(value, *bounds, min(1.0, 2 * (beyond + 1) / (known.size + 1)))


def mean_over_seeds(
    values: Sequence[float],
    draws: Sequence[Floats],
    seeds: Sequence[int] | None = None,
    groups: int | None = None,
) -> Sample:
    """The trainings of one row: values, and the resamples over images of each."""
    return Sample(
        np.asarray(values, np.float64),
        np.stack([np.asarray(one, np.float64) for one in draws]),
        None if seeds is None else tuple(seeds),
        groups,
    )


def difference(a: Sample, b: Sample) -> Interval:
    """b - a, paired resample by resample, and seed by seed where both have seeds in common.

    Raises:
        InputError: the two were resampled differently often, or share no seed.
    """
    if a.draws.shape[1] != b.draws.shape[1]:
        raise InputError(
            "Two models were resampled {one} and {other} times: measure both again.",
            one=a.draws.shape[1],
            other=b.draws.shape[1],
        )
    if a.seeds is not None and b.seeds is not None:
        both = [seed for seed in a.seeds if seed in b.seeds]
        a, b = a.of(both), b.of(both)
    trainings = {len(a.values), len(b.values)} - {1}
    if len(trainings) > 1 or 0 in trainings:
        raise InputError(
            "Two models share no seed, so they cannot be compared: repeat both with the same seeds."
        )
    return Sample(b.values - a.values, b.draws - a.draws, groups=b.groups or a.groups).interval


def holm(intervals: Sequence[Interval | None]) -> list[Interval | None]:
    """The same with `adjusted`: Holm's step-down correction over all that have a `p`."""
    adjusted = holm_adjusted([one.p if one else None for one in intervals])
    return [
        replace(one, adjusted=p) if one and p is not None else one
        for one, p in zip(intervals, adjusted)
    ]


def ratio_of_medians(a: Sequence[float], b: Sequence[float], seed: int = 0) -> Floats:
    """median(a) / median(b) of rounds drawn with replacement: (RESAMPLES,).

    Args:
        a, b: milliseconds of two models, timed in turn: round n of both was under the same load.
    """
    drawn = np.random.default_rng(seed).integers(0, len(a), (RESAMPLES, len(a)))
    times = np.array([a, b], np.float64)
    above, below = np.median(times[0, drawn], axis=1), np.median(times[1, drawn], axis=1)
    found: Floats = above / below
    return found
