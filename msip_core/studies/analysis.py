"""Attention, noise and foreign images: every pruned model paired with the baseline.

Border scores and C@10 are paired over images (bootstrap of the differences), mAP over the same
resamples of test images as everywhere else. Undefined scores (a map without energy) are left out of
both models and counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from msip_core.pairs import PairedDifference, mean_defined, paired_bootstrap
from msip_core.studies.plan import BASELINE
from msip_core.studies.statistics import Interval, difference, interval
from msip_core.studies.table import Measured, StudyTable, measured_rows, sample
from msip_core.studies.tasks import labels
from msip_core.workspace import Workspace

SCORES: Mapping[str, str] = {
    "ber": "boundary energy ratio",
    "enrichment": "enrichment on the border",
    "energy_in_box": "energy pointing game",
    "hit": "pointing game",
    "c_at_10": "C@10 (SHAP)",
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
    change: Interval | PairedDifference | None
    left_out: int = 0


def analyse(workspace: Workspace, table: StudyTable) -> list[Analysed]:
    """Every analysis that the study asked for and has measured, question by question."""
    plan, runs = table.plan, measured_rows(workspace, table.standing)
    whole = runs.get(BASELINE)
    found: list[Analysed] = []
    parts = {f"noise {sigma:g}": f"mAP50 under noise of {sigma:g}" for sigma in plan.measure.noise}
    parts |= {f"dataset {name}": f"mAP50 on {name}" for name in plan.measure.datasets}
    names = {key: label for key, label in labels(plan).items() if key in runs}
    for part, what in parts.items():
        for key, label in names.items():
            accuracy, gap = _accuracy(part, runs[key], None if key == BASELINE else whole)
            found.append(Analysed(key, label, what, accuracy, gap))
    for score, what in SCORES.items():
        for key, label in names.items():
            value, change, out = _scored(score, runs[key], None if key == BASELINE else whole)
            if value is not None:
                found.append(Analysed(key, label, what, value, change, out))
    return found


def _accuracy(
    part: str, runs: Sequence[Measured], whole: Sequence[Measured] | None
) -> tuple[Interval, Interval | None]:
    here = sample(runs, part)
    return interval(*here), difference(sample(whole, part), here) if whole else None


def _scored(
    score: str, runs: Sequence[Measured], whole: Sequence[Measured] | None
) -> tuple[float | None, PairedDifference | None, int]:
    """Per image the mean over seeds, then paired with the baseline's image by image."""
    own, other = _per_image(runs, score), _per_image(whole or (), score)
    value = mean_defined(list(own.values()))
    if not other:
        return value, None, 0
    both = sorted(set(own) & set(other))
    change = paired_bootstrap([other[i] for i in both], [own[i] for i in both])
    return value, change, change.left_out


def _per_image(runs: Sequence[Measured], score: str) -> dict[str, float | None]:
    values: dict[str, list[float | None]] = {}
    for run in runs:
        for image, value in _scores(run.numbers, score).items():
            values.setdefault(image, []).append(value)
    return {image: mean_defined(found) for image, found in values.items()}


def _scores(numbers: Mapping[str, Any], score: str) -> dict[str, float | None]:
    if score == "c_at_10":
        return dict((numbers.get("shap") or {}).get("c_at_10", {}))
    images = (numbers.get("attention") or {}).get("images", ())
    return {row["image"]: row["model"][score] for row in images}


def analysis_rows(found: Sequence[Analysed]) -> list[dict[str, Any]]:
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
        return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"
    return "" if value is None else f"{value:.3f}"


def _change(change: Interval | PairedDifference | None) -> str:
    if change is None:
        return ""
    value = change.value if isinstance(change, Interval) else change.difference
    if value is None:
        return ""
    if change.low is None or change.high is None:
        return f"{value:+.3f}"
    clear = "" if change.is_clear else ", not clear"
    return f"{value:+.3f} ({change.low:+.3f} to {change.high:+.3f}{clear})"
