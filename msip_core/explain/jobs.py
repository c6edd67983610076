"""Explanations as jobs of the compute process: Grad-CAM and SHAP.

All answers are deterministic for their questions, so whoever asks may keep them by content.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from msip_core.arrays import write_arrays
from msip_core.borders import Border
from msip_core.boxes import Box
from msip_core.data.subject import Subject
from msip_core.detector.devices import resolve_device
from msip_core.detector.library import DetectionModel
from msip_core.detector.memory import memory_errors_named
from msip_core.detector.sources import ModelFacts, lend_source_model
from msip_core.explain import cam, shapley
from msip_core.explain.boundary import boundary_scores
from msip_core.explain.robustness import randomised_check
from msip_core.explain.subject import find_subject
from msip_core.messages import msg
from msip_core.questions.base import Job
from msip_core.questions.looking import (
    BoundaryScores,
    Explained,
    GradCam,
    HeatMap,
    OfOneObject,
    RandomisedCheck,
    Shap,
    ShapTime,
    ShapValues,
    SkippedLayer,
    TimeShap,
)
from msip_core.views.pictures import heat_over, save_png, shap_over

_HEAT, _SEGMENTS, _OVERLAY = "heat.npz", "segments.npz", "overlay.png"


class _Opened(NamedTuple):
    """What a question names."""

    model: DetectionModel
    facts: ModelFacts
    subject: Subject
    imgsz: int


class _About(TypedDict):
    """What all explanations say of their object, and of the map on its borders."""

    box: Box
    label: str
    reference: str
    imgsz: int
    scores: BoundaryScores
    crypt_scores: BoundaryScores | None


def gradcam(question: GradCam, at: Job) -> HeatMap:
    """Heat map of one detection, with its scores and the check with shuffled weights."""
    opened = _open(question, at)
    subject = opened.subject
    at.progress(0.2, msg("Following the score back through the network"))
    with memory_errors_named(batch=1, imgsz=opened.imgsz):
        found = cam.explain_detection(
            opened.model,
            subject.pixels,
            subject.box,
            imgsz=opened.imgsz,
            method=question.method,
            layers=question.layers,
        )
        check = _checked(question, opened, found, at) if question.randomised else None
    at.progress(0.9, msg("Drawing"))
    write_arrays(at.out / _HEAT, {"heat": found.heat, **found.maps})
    drawn = heat_over(subject.pixels, found.heat, subject.border, subject.box)
    save_png(at.out / _OVERLAY, drawn)
    target = found.target
    return HeatMap(
        heat=_HEAT,
        overlay=_OVERLAY,
        **_about(opened, found.heat),
        method=question.method,
        layers=found.layers,
        skipped=tuple(SkippedLayer(layer=n, reason=why) for n, why in found.skipped.items()),
        target=Explained(score=target.score, best_iou=target.best_iou, anchors=len(target.anchors)),
        randomised=check,
        note=found.note,
    )


def _checked(question: GradCam, opened: _Opened, found: cam.CamResult, at: Job) -> RandomisedCheck:
    at.progress(0.5, msg("Asking the same of shuffled weights"))
    return randomised_check(
        opened.model, opened.subject.pixels, found, seed=question.seed,
        imgsz=opened.imgsz, method=question.method, layers=question.layers,
    )  # fmt: skip


def shap(question: Shap, at: Job) -> ShapValues:
    """SHAP values of one detection on patches of the micrograph."""
    opened = _open(question, at)
    subject = opened.subject
    with memory_errors_named(batch=1, imgsz=opened.imgsz):
        found = shapley.explain_detection(
            opened.model,
            subject.pixels,
            subject.box,
            imgsz=opened.imgsz,
            features=question.features,
            samples=question.samples,
            segments=question.patches,
            seed=question.seed,
            progress=at.progress,
        )
    write_arrays(
        at.out / _SEGMENTS, {"segments": found.segments, "values": found.values, "heat": found.heat}
    )
    added = found.values[found.segments]
    save_png(at.out / _OVERLAY, shap_over(subject.pixels, added, subject.border, subject.box))
    return ShapValues(
        values=tuple(found.values.tolist()),
        segments=_SEGMENTS,
        overlay=_OVERLAY,
        **_about(opened, found.heat),
        c_at_10=found.c_at_10,
        converged=found.converged,
        correlation=found.correlation,
        score=found.score,
        base=found.base,
        evaluations=found.evaluations,
        seconds=found.seconds,
        note=found.note,
    )


def shap_time(question: TimeShap, at: Job) -> ShapTime:
    """How long `shap` would take: a few forward passes are timed."""
    opened = _open(question, at)
    with memory_errors_named(batch=1, imgsz=opened.imgsz):
        return shapley.estimate_time(
            opened.model, opened.subject.pixels, imgsz=opened.imgsz, samples=question.samples
        )


def _open(question: OfOneObject[Any], at: Job) -> _Opened:
    at.progress(0.0, msg("Opening model and micrograph"))
    device = resolve_device(question.device)
    model, facts = lend_source_model(at.workspace, question.model, device=device)
    imgsz = question.imgsz or facts.imgsz
    subject = find_subject(at.workspace, question, model, facts, imgsz=imgsz, device=device)
    return _Opened(model, facts, subject, imgsz)


def _about(opened: _Opened, heat: NDArray[np.float32]) -> _About:
    subject, classes = opened.subject, opened.facts.classes
    box = subject.box

    def scores(border: Border) -> BoundaryScores:
        return boundary_scores(heat, border, box)

    return {
        "box": box,
        "label": classes[box.cls] if 0 <= box.cls < len(classes) else str(box.cls),
        "reference": subject.chosen,
        "imgsz": opened.imgsz,
        "scores": scores(subject.border),
        "crypt_scores": scores(subject.crypts) if subject.crypts else None,
    }
