"""Attention, noise and foreign images: every pruned model paired with the baseline.

Border scores and C@10 are paired over the same images, mAP over the same resamples of test images
as everywhere else; intervals are those of the table (seeds, groups, images, Holm's correction over
the models of one question). Images with an undefined score in any training of the two models (a map
without energy, SHAP that did not converge) are left out and counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from msip_core.intervals import mean_defined
from msip_core.messages import mark, msg
from msip_core.studies.plan import BASELINE
from msip_core.studies.statistics import (
    Interval,
    Sample,
    difference,
    holm,
    mean_over_seeds,
    resampled_counts,
)
from msip_core.studies.table import Measured, StudyTable, measured_rows, sample, seeds_of
from msip_core.studies.tasks import labels
from msip_core.studies.verdicts import change_words
from msip_core.workspace import Workspace

SCORES: Mapping[str, str] = {
    "ber": mark("boundary energy ratio"),
    "enrichment": mark("enrichment on the border"),
    "energy_in_box": mark("energy pointing game"),
    "hit": mark("pointing game"),
    "c_at_10": mark("C@10 (SHAP)"),
}


class Analysed(NamedTuple):
    """One number of one model beside the baseline's.

    Attributes:
        value: of this model, mean over seeds; with an interval where it is a mAP50.
        change: this model minus the baseline; None for the baseline itself.
        left_out: images without a defined value in one of the two.
    """

    key: str
    label: str
    what: str
    value: Interval | float | None
    change: Interval | None
    left_out: int = 0


def analyse(workspace: Workspace, table: StudyTable) -> list[Analysed]:
    """Every analysis that the study asked for and has measured, question by question."""
    plan, runs = table.plan, measured_rows(workspace, table.standing)
    whole = runs.get(BASELINE)
    found: list[Analysed] = []
    parts = {
        f"noise {sigma:g}": msg("mAP50 under noise of {sigma:g}", sigma=sigma)
        for sigma in plan.measure.noise
    }
    parts |= {
        f"dataset {name}": msg("mAP50 on {name}", name=name) for name in plan.measure.datasets
    }
    names = {key: label for key, label in labels(plan).items() if key in runs}
    for part, what in parts.items():
        known = {key: some for key, some in runs.items() if all(part in one.draws for one in some)}
        for key in (key for key in names if key in known):
            other = None if key == BASELINE else known.get(BASELINE)
            found.append(Analysed(key, names[key], what, *_accuracy(part, known[key], other)))
    for score, what in SCORES.items():
        for key, label in names.items():
            value, change, out = _scored(score, runs[key], None if key == BASELINE else whole)
            if value is not None:
                found.append(Analysed(key, label, what, value, change, out))
    return _corrected(found)


def _corrected(found: Sequence[Analysed]) -> list[Analysed]:
    """With Holm's correction over the models of each question."""
    done = list(found)
    for question in {one.what for one in found}:
        places = [n for n, one in enumerate(found) if one.what == question]
        for place, change in zip(places, holm([found[n].change for n in places])):
            done[place] = found[place]._replace(change=change)
    return done


def shap_sentence(workspace: Workspace, table: StudyTable) -> str:
    """How many SHAP values converged, and what that took; "" where none was asked for."""
    found = [
        (value, (run.numbers["shap"].get("evaluations") or {}).get(image))
        for runs in measured_rows(workspace, table.standing).values()
        for run in runs
        if run.numbers.get("shap")
        for image, value in run.numbers["shap"]["c_at_10"].items()
    ]
    spent = [count for value, count in found if value is not None and count is not None]
    if not spent:
        return ""
    return msg(
        "C@10 is given for {n} of {found} explanations: those of which two independent estimates "
        "agree, after {median} evaluations in the middle ({low} to {high}).",
        n=len(spent),
        found=len(found),
        median=int(np.median(spent)),
        low=min(spent),
        high=max(spent),
    )


def _accuracy(
    part: str, runs: Sequence[Measured], whole: Sequence[Measured] | None
) -> tuple[Interval, Interval | None]:
    here = sample(runs, part)
    return here.interval, difference(sample(whole, part), here) if whole else None


def _scored(
    score: str, runs: Sequence[Measured], whole: Sequence[Measured] | None
) -> tuple[float | None, Interval | None, int]:
    """Mean over trainings and images, and its difference from the baseline's on the same images."""
    own = [_scores(run.numbers, score) for run in runs]
    other = [_scores(run.numbers, score) for run in whole or ()]
    value = mean_defined([mean_defined(list(one.values())) for one in own])
    if not any(other):
        return value, None, 0
    shared = set.intersection(*(set(one) for one in (*own, *other)))
    both = sorted(i for i in shared if all(one[i] is not None for one in (*own, *other)))
    out = len(shared) - len(both)
    if len(both) < 2:
        return value, None, out
    groups = _groups((*runs, *(whole or ())), score)
    of_image = [groups.get(image, image) for image in both]
    counts, many = resampled_counts(len(both), groups=of_image), len(set(of_image))
    change = difference(
        _sample(other, both, counts, None, many), _sample(own, both, counts, runs, many)
    )
    return value, change, out


def _sample(
    scores: Sequence[Mapping[str, float | None]],
    images: Sequence[str],
    counts: NDArray[np.int64],
    runs: Sequence[Measured] | None,
    groups: int,
) -> Sample:
    """(k,) means over these images, and (k, R) means over each resample of them."""
    table = np.array([[one[image] for image in images] for one in scores], np.float64)
    drawn = table @ counts.T / counts.sum(axis=1)
    seeds = None if runs is None else seeds_of(runs)
    return mean_over_seeds(table.mean(axis=1).tolist(), list(drawn), seeds, groups)


def _groups(runs: Sequence[Measured], score: str) -> dict[str, str]:
    kind = "shap" if score == "c_at_10" else "attention"
    found: dict[str, str] = {}
    for run in runs:
        found |= (run.numbers.get(kind) or {}).get("groups", {})
    return found


def _scores(numbers: Mapping[str, Any], score: str) -> dict[str, float | None]:
    if score == "c_at_10":
        return dict((numbers.get("shap") or {}).get("c_at_10", {}))
    images = (numbers.get("attention") or {}).get("images", ())
    return {row["image"]: row["model"][score] for row in images}


def analysis_rows(found: Sequence[Analysed]) -> list[dict[str, object]]:
    """As a table prints them."""
    return [
        {
            "question": one.what,
            "model": one.label,
            "value": _value(one.value),
            "vs baseline": _change(one.change),
            "images left out": one.left_out,
        }
        for one in found
    ]


def _value(value: Interval | float | None) -> str:
    if isinstance(value, Interval):
        return value.words
    return "" if value is None else f"{value:.3f}"


def _change(change: Interval | None) -> str:
    if change is None:
        return ""
    if change.is_clear or not change.is_known:
        return change_words(change)
    return msg(
        "{value:+.3f} ({low:+.3f} to {high:+.3f}, not clear)",
        value=change.value,
        low=change.low,
        high=change.high,
    )
