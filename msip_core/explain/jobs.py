"""Explanations as jobs of the compute process: Grad-CAM, SHAP, border scores, attention of a run.

Models and images are named as msip_core.detector.sources says. All results are deterministic for
their params, so whoever asks may keep them by content.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from msip_core.detector.devices import resolve_device
from msip_core.detector.library import DetectionModel
from msip_core.detector.memory import memory_errors_named
from msip_core.detector.sources import ModelFacts, lend_source_model, load_source_model
from msip_core.errors import ConfigError
from msip_core.explain import cam, overlay, shapley
from msip_core.explain.border_job import boundary
from msip_core.explain.boundary import BoundaryScores
from msip_core.explain.kept import kept
from msip_core.explain.robustness import randomised_check
from msip_core.explain.subject import Subject, find_subject, image_file
from msip_core.workspace import Workspace

__all__ = ["attention", "boundary", "gradcam", "shap"]

Progress = Callable[[float, str], None]
Json = dict[str, Any]
FIRST_LOOK = {"features": 40, "samples": 320}  # SHAP beside the curves: seconds, not minutes
ESTIMATE_ONLY = "estimate"


class _Asked(NamedTuple):
    """What params name, opened."""

    model: DetectionModel
    facts: ModelFacts
    subject: Subject
    imgsz: int


def gradcam(workspace: Workspace, params: Json, out: Path, progress: Progress) -> Json:
    """Heat map of one detection.

    Params: a model; an image; box {cls, x1, y1, x2, y2} (default: see `subject.find_subject`);
    method "gradcam", "layercam" or "eigencam"; layers ["P3", ...]; randomised (False leaves the
    check out); imgsz, device, seed.

    Returns:
        heat (npz: heat, and the raw map of each layer), overlay (png), box, class, reference,
        method, layers, skipped [{layer, reason}], target {score, best_iou, anchors}, scores,
        crypt_scores, randomised, note.
    """
    progress(0.0, "Opening model and micrograph")
    asked = _open(workspace, params)
    method: cam.Method = params.get("method") or "gradcam"
    options: Json = {"imgsz": asked.imgsz, "method": method, "layers": params.get("layers")}
    pixels, box = asked.subject.pixels, asked.subject.box
    progress(0.2, "Following the score back through the network")
    with memory_errors_named(batch=1, imgsz=asked.imgsz):
        found = cam.explain_detection(asked.model, pixels, box, **options)
        check = None
        if params.get("randomised", True):
            progress(0.5, "Asking the same of shuffled weights")
            seed = int(params.get("seed", 0))
            check = randomised_check(asked.model, pixels, found, seed=seed, **options)
    progress(0.9, "Drawing")
    arrays: dict[str, Any] = {"heat": found.heat, **found.maps}
    np.savez_compressed(out / "heat.npz", **arrays)
    drawn = overlay.heat_overlay(pixels, found.heat, box, asked.subject.contour)
    overlay.save_png(out / "overlay.png", drawn)
    return {
        "heat": "heat.npz",
        "overlay": "overlay.png",
        **_about(asked),
        "method": method,
        "layers": list(found.layers),
        "skipped": [{"layer": name, "reason": why} for name, why in found.skipped.items()],
        "target": {
            "score": found.target.score,
            "best_iou": found.target.best_iou,
            "anchors": len(found.target.anchors),
        },
        **_scores(asked.subject, found.heat),
        "randomised": check.as_dict() if check else None,
        "note": found.note,
    }


def shap(workspace: Workspace, params: Json, out: Path, progress: Progress) -> Json:
    """SHAP values of one detection on patches of the micrograph.

    Params: as `gradcam`; features (100), samples (2048 at most: it ends when two estimates agree),
    patches "slic" or "grid", seed.
    With estimate=True nothing is explained: a few forward passes are timed.

    Returns:
        values, segments (npz: segments, values, heat), overlay, c_at_10 (None where it has not
        converged), converged, correlation, score, base, scores, crypt_scores, evaluations,
        seconds, box, class, reference, note;
        or, for an estimate, seconds, per_evaluation, batch, samples.
    """
    progress(0.0, "Opening model and micrograph")
    asked = _open(workspace, params)
    samples = int(params.get("samples") or 2048)
    subject = asked.subject
    with memory_errors_named(batch=1, imgsz=asked.imgsz):
        if params.get(ESTIMATE_ONLY):
            guess = shapley.estimate_time(
                asked.model, subject.pixels, imgsz=asked.imgsz, samples=samples
            )
            return {
                "seconds": guess.seconds,
                "per_evaluation": guess.per_evaluation,
                "batch": guess.batch,
                "samples": samples,
            }
        found = shapley.explain_detection(
            asked.model,
            subject.pixels,
            subject.box,
            imgsz=asked.imgsz,
            features=int(params.get("features") or 100),
            samples=samples,
            segments=params.get("patches") or "slic",
            seed=int(params.get("seed", 0)),
            progress=progress,
        )
    np.savez_compressed(
        out / "segments.npz", segments=found.segments, values=found.values, heat=found.heat
    )
    drawn = overlay.shap_overlay(
        subject.pixels, found.values, found.segments, subject.box, subject.contour
    )
    overlay.save_png(out / "overlay.png", drawn)
    return {
        "values": found.values.tolist(),
        "segments": "segments.npz",
        "overlay": "overlay.png",
        **_about(asked),
        "c_at_10": found.c_at_10,
        "converged": found.converged,
        "correlation": found.correlation,
        "score": found.score,
        "base": found.base,
        **_scores(subject, found.heat),
        "evaluations": found.evaluations,
        "seconds": found.seconds,
        "note": found.note,
    }


def attention(workspace: Workspace, params: Json, out: Path, progress: Progress) -> Json:
    """Grad-CAM and SHAP of one object by the run's unpruned model and by one of its steps.

    Params: run, iteration; an image; box (default: as `gradcam`, by the unpruned model); method,
    features (40), samples (320), imgsz, device, seed.

    Returns:
        box, reference, and for "baseline" and "pruned" the results of `gradcam` and `shap`, with
        file names below the result's folder.
    """
    if not params.get("run"):
        raise ConfigError("Attention is asked of a run: name the run and one of its steps.")
    sides = {
        "baseline": {"run": params["run"], "iteration": 0},
        "pruned": {"run": params["run"], "iteration": params.get("iteration", 0)},
    }
    load_source_model(workspace, sides["pruned"])  # a step that is not there: say so at once
    first = _open(workspace, {**params, **sides["baseline"]})
    about = _about(first)
    common = {key: value for key, value in params.items() if key not in ("run", "iteration")}
    common = {**FIRST_LOOK, "randomised": False, **common, "box": about["box"]}
    result: Json = {**about, "run": params["run"], "iteration": sides["pruned"]["iteration"]}
    steps = [(side, kind) for side in sides for kind in ("gradcam", "shap")]
    for n, (side, kind) in enumerate(steps):
        part = _part_of(progress, n / len(steps), 1 / len(steps), f"{side}: ")
        answer = _kept_side(workspace, kind, {**common, **sides[side]}, out / side / kind, part)
        result.setdefault(side, {})[kind] = _below(answer, f"{side}/{kind}")
    return result


def _kept_side(
    workspace: Workspace, kind: str, question: Json, out: Path, progress: Progress
) -> Json:
    """One explanation of one model, from the cache where the same was asked before."""
    _, facts = load_source_model(workspace, question)
    files = (facts.path, image_file(workspace, question))
    job = {"gradcam": gradcam, "shap": shap}[kind]
    return kept(
        workspace,
        kind,
        question,
        files,
        make=lambda to: job(workspace, question, to, progress),
        out=out,
    )


def _open(workspace: Workspace, params: Json) -> _Asked:
    device = resolve_device(str(params.get("device") or "auto"))
    model, facts = lend_source_model(workspace, params, device=device)
    imgsz = int(params.get("imgsz") or facts.imgsz)
    subject = find_subject(workspace, params, model, facts, imgsz=imgsz, device=device)
    return _Asked(model, facts, subject, imgsz)


def _about(asked: _Asked) -> Json:
    box, classes = asked.subject.box, asked.facts.classes
    return {
        "box": box.model_dump(include={"cls", "x1", "y1", "x2", "y2"}),
        "class": classes[box.cls] if 0 <= box.cls < len(classes) else str(box.cls),
        "reference": asked.subject.chosen,
        "imgsz": asked.imgsz,
    }


def _scores(subject: Subject, heat: Any) -> Json:
    crypts: BoundaryScores | None = subject.crypt_scores(heat)
    return {
        "scores": subject.scores(heat).as_dict(),
        "crypt_scores": crypts.as_dict() if crypts else None,
    }


def _below(answer: Json, folder: str) -> Json:
    """The answer with its file names below the whole result's folder."""
    names = ("heat", "segments", "overlay")
    files = {key: f"{folder}/{answer[key]}" for key in names if key in answer}
    return {**answer, **files}


def _part_of(progress: Progress, start: float, share: float, prefix: str) -> Progress:
    return lambda done, message: progress(start + share * done, prefix + message)
