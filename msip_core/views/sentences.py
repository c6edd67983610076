"""Results as sentences. Every number in them was measured; what was not measured is not said.

"Faster" is said only where the 95 % intervals of the two medians do not overlap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from msip_core.boxes import PairKind
from msip_core.config import PruneConfig
from msip_core.events import BaselineRecord, Cost, FinalRecord, Metrics
from msip_core.questions.looking import BoundaryScores
from msip_core.views import wording
from msip_core.views.tables import latency_pairs
from msip_core.ways import Latency

SMALL_SAMPLE = 100  # below this many images a result needs an interval (UX, honesty rules)
# mAP50 below which a detector has not learned its task: most of what it marks is wrong or missed.
# A network fresh from its first epochs reaches .1, published organoid detectors .7 to .9.
LEARNED = 0.3
_GOAL_TOLERANCE = 0.01  # of the goal: 4.78 ± 0.05 GMACs
_NEAR_MILLISECONDS = 0.05  # of the goal: measured twice, milliseconds never agree exactly

Verdict = Literal["faster", "slower", "no difference"]


def result_sentence(
    baseline: BaselineRecord, final: FinalRecord, latency: Sequence[Latency] = ()
) -> str:
    """The result of a pruning run in one line: work, accuracy, speed where it was measured."""
    parts = [work_clause(baseline.cost, final.cost), accuracy_clause(*best_pair(baseline, final))]
    text = f"{parts[0]}; {parts[1]}."
    return f"{text} {latency_sentence(latency)}" if latency else text


def best_pair(baseline: BaselineRecord, final: FinalRecord) -> tuple[Metrics, Metrics]:
    """Metrics of both models on the same split: test where both were tested, else validation."""
    if final.test is not None and final.baseline_test is not None:
        return final.baseline_test, final.test
    return baseline.metrics, final.metrics


def work_clause(before: Cost, after: Cost) -> str:
    """'67 % less work per image (4.06 G → 1.35 G MACs)'."""
    saved = 1 - after.macs / before.macs
    word = f"{wording.percent(saved)} less work" if saved >= 0 else "more work"
    return f"{word} per image ({wording.macs(before.macs)} → {wording.macs(after.macs)} MACs)"


def accuracy_clause(before: Metrics, after: Metrics) -> str:
    """'accuracy (mAP50) on 80 test images 0.889 → 0.871 (−0.018), mAP50-95 0.650 → 0.612 (−0.038)'.

    Both, since a lighter network may find every object and place its boxes worse.
    """
    split = wording.SPLITS[after.split]
    where = f"on {wording.plural(after.images, split + ' image')} " if after.images else ""
    found = wording.change(before.map50, after.map50)
    placed = wording.change(before.map50_95, after.map50_95)
    return f"accuracy (mAP50) {where}{found}, mAP50-95 {placed}"


def verdict(baseline: Latency, pruned: Latency) -> Verdict:
    """Compare two measured latencies; "no difference" where their intervals overlap."""
    if pruned.high_ms < baseline.low_ms:
        return "faster"
    return "slower" if pruned.low_ms > baseline.high_ms else "no difference"


def latency_sentence(latency: Sequence[Latency]) -> str:
    """Measured speed per way to run; needs both models in a way."""
    parts = []
    for way, pair in latency_pairs(latency).items():
        if "baseline" not in pair or "pruned" not in pair:
            continue
        first, second = pair["baseline"], pair["pruned"]
        ratio = first.median_ms / second.median_ms
        times = (
            f"{wording.milliseconds(first.median_ms)} → {wording.milliseconds(second.median_ms)}"
        )
        word = {
            "faster": f"{ratio:.2f} × faster ({times})",
            "slower": f"{1 / ratio:.2f} × slower ({times})",
            "no difference": f"no measurable difference ({times}, intervals overlap)",
        }[verdict(first, second)]
        parts.append(f"{wording.way_name(way)}: {word}")
    if not parts:
        return "Speed was not measured on this computer."
    return f"On this computer: {'; '.join(parts)}."


def goal_sentence(config: PruneConfig, final: FinalRecord) -> str:
    """Whether the goal was met; a missed goal is said in words, with the reason."""
    kind, keep = config.goal
    left = final.macs_ratio if kind == "macs" else final.goal_ratio
    if left is None:
        return final.stopped_by or ""
    near = _NEAR_MILLISECONDS if kind == "latency" else _GOAL_TOLERANCE
    met = "met" if left <= keep * (1 + near) else "missed"
    how = f" ({wording.goal_way(config, final.latency_way)})" if kind == "latency" else ""
    text = (
        f"The goal was {met}: {wording.percent(left, 1)} of the {wording.GOALS[kind]} "
        f"are left, {wording.percent(keep, 1)} were asked for{how}."
    )
    return f"{text} {final.stopped_by}" if final.stopped_by else text


def agreement_sentence(agreement: Mapping[PairKind, int]) -> str:
    """How many of the baseline's objects the pruned model still finds."""
    both, changed = agreement.get("both", 0), agreement.get("class changed", 0)
    lost, new = agreement.get("lost", 0), agreement.get("new", 0)
    total = both + changed + lost
    if not total:
        return f"The baseline found no object; the pruned model found {new}."
    return (
        f"Of {wording.plural(total, 'object')} that the baseline found, the pruned model finds "
        f"{both} with the same class ({wording.percent(both / total)}); {changed} changed class, "
        f"{lost} lost, {new} new."
    )


def attention_sentence(baseline: BoundaryScores, pruned: BoundaryScores) -> str:
    """Share of the heat in the border band of one object, both models; no claim beyond it."""
    first, second = baseline.ber, pruned.ber
    if first is None or second is None:
        return "The heat of one of the models is zero here, so border shares cannot be compared."
    border = "outline" if pruned.contour == "mask" else "box edge"
    return (
        f"{wording.percent(second)} of the pruned model's heat lies on the {border} of this "
        f"object, {wording.percent(first)} of the baseline's."
    )


def has_learned(baseline: Metrics) -> bool:
    """Whether a baseline is good enough for a comparison with it to say anything."""
    return baseline.map50 >= LEARNED


def unlearned_sentence(baseline: Metrics) -> str | None:
    """The warning that stands before any comparison with a baseline that has not learned yet."""
    if has_learned(baseline):
        return None
    split = wording.SPLITS[baseline.split]
    return (
        f"The baseline has not learned its task yet: its mAP50 is {baseline.map50:.3f} on the "
        f"{split} images, below {LEARNED:.2f}. What is better or worse than it says nothing: train "
        "the baseline longer or on more images first."
    )


def sample_sentence(metrics: Metrics) -> str | None:
    """A warning where few images carry the result; None for 100 images and more."""
    if not 0 < metrics.images < SMALL_SAMPLE:
        return None
    return (
        f"Accuracy was measured on only {wording.plural(metrics.images, 'image')}: "
        "small differences may be chance."
    )
