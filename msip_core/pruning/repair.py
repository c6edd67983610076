"""What is done to a network right after a cut, before any training: nothing, fresh batch-norm
statistics, what lost channels gave at rest (absorb.py), a refit of the weights, or whichever of
these validation likes best.

Each helps in some cuts and hurts in others (recalibration can add .1 mAP50 early and cost some
late; a refit with too little ridge overfits the calibration images), so "auto" measures all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from msip_core.config import RIDGES, Repair
from msip_core.detector.library import DetectionModel
from msip_core.events import Metrics, RunContext
from msip_core.importance.calibration import CalibrationSet
from msip_core.messages import msg
from msip_core.pruning.absorb import absorbed
from msip_core.pruning.bn import recalibrated
from msip_core.pruning.refit import POSITIONS, refitted

AS_CUT, RECALIBRATED, ABSORBED = "as cut", "recalibrated", "betas absorbed"


def refit_name(ridge: float) -> str:
    """What a refit is called in records."""
    return f"refitted, ridge {ridge:g}"


@dataclass(frozen=True)
class Repaired:
    """A network after a cut and its repair.

    Attributes:
        name: of the repair that was kept.
        metrics: on validation, of `model`.
        map50: what was tried -> mAP50 on validation.
    """

    model: DetectionModel
    name: str
    metrics: Metrics
    map50: dict[str, float]


def repair(
    cut: DetectionModel,
    how: Repair,
    calibration: CalibrationSet,
    evaluate: Callable[[DetectionModel], Metrics],
    before: Callable[[], tuple[DetectionModel, Mapping[str, Tensor]]],
    *,
    ctx: RunContext | None = None,
) -> Repaired:
    """Try what `how` allows; the best by mAP50, then mAP50-95, and the first of equals, is kept.

    Args:
        cut: after surgery, on the device to work on; left as it was.
        evaluate: on validation.
        before: the network before this cut and the filters that stayed; asked only for a repair
            that looks at it.
    """
    best: Repaired | None = None
    map50: dict[str, float] = {}
    for name, make in _attempts(cut, how, calibration, before, ctx):
        model = make()
        metrics = evaluate(model)
        map50[name] = metrics.map50
        if best is None or _rank(metrics) > _rank(best.metrics):
            best = Repaired(model, name, metrics, map50)
    assert best is not None, msg("no repair is called {how}", how=how)
    return best


def tried(
    cut: DetectionModel,
    how: Repair,
    calibration: CalibrationSet,
    before: tuple[DetectionModel, Mapping[str, Tensor]],
    *,
    ctx: RunContext | None = None,
) -> DetectionModel:
    """The one repair that a network gets which is only tried out: a refit with the middle ridge on
    a quarter of the positions where `how` may refit, else what `how` says."""
    if how == "none":
        return cut
    if how == "recalibrate":
        return recalibrated(cut, calibration, ctx)
    if how == "absorb":
        return absorbed(cut, *before)
    return refitted(cut, *before, calibration, sorted(RIDGES)[1], ctx=ctx, positions=POSITIONS // 4)


def _rank(metrics: Metrics) -> tuple[float, float]:
    return metrics.map50, metrics.map50_95


def _attempts(
    cut: DetectionModel,
    how: Repair,
    calibration: CalibrationSet,
    before: Callable[[], tuple[DetectionModel, Mapping[str, Tensor]]],
    ctx: RunContext | None,
) -> Iterator[tuple[str, Callable[[], DetectionModel]]]:
    if how in ("none", "auto"):
        yield AS_CUT, lambda: cut
    if how in ("recalibrate", "auto"):
        yield RECALIBRATED, partial(recalibrated, cut, calibration, ctx)
    if how not in ("absorb", "refit", "auto"):
        return
    teacher, kept = before()
    if how != "refit":
        yield ABSORBED, partial(absorbed, cut, teacher, kept)
    if how != "absorb":
        for ridge in RIDGES:
            make = partial(refitted, cut, teacher, kept, calibration, ridge, ctx=ctx)
            yield refit_name(ridge), make
