"""Border scores over many images: does the pruned model keep its attention on the border?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msip_core.data.dataset import Dataset, ImageRecord, open_dataset, over_groups
from msip_core.detector.devices import resolve_device
from msip_core.detector.library import DetectionModel
from msip_core.detector.memory import memory_errors_named
from msip_core.detector.sources import ModelFacts, load_source_model
from msip_core.errors import DatasetError
from msip_core.explain import cam
from msip_core.explain.boundary import boundary_scores
from msip_core.explain.subject import labelled_subjects
from msip_core.intervals import PairedDifference, mean_defined, paired_bootstrap
from msip_core.messages import msg
from msip_core.questions.base import Job
from msip_core.questions.looking import (
    BorderScores,
    Boundary,
    ScoredImage,
    ScoredObject,
    ScoresOfMap,
)
from msip_core.spreadsheet import write_rows
from msip_core.workspace import write_text

METRICS = tuple(ScoresOfMap.model_fields)
_TABLE = "boundary.csv"

Sides = Mapping[str, tuple[DetectionModel, ModelFacts]]


def boundary(question: Boundary, at: Job) -> BorderScores:
    """Border scores of labelled objects, by one model ("model") or by two on the same boxes
    ("baseline" and "pruned")."""
    at.progress(0.0, msg("Opening the models"))
    sides = _sides(question, at)
    dataset = open_dataset(at.workspace, question.dataset)
    records = _records(dataset, question)
    objects: list[ScoredObject] = []
    for n, record in enumerate(records):
        at.progress(n / len(records), msg("{n} of {records} images", n=n + 1, records=len(records)))
        objects += _objects_of(dataset, record, sides, question)
    if not objects:
        raise DatasetError(
            "None of these images of '{name}' has a labelled object to look at.", name=dataset.name
        )
    images = _image_means(objects, tuple(sides))
    write_text(at.out / _TABLE, _table(objects, tuple(sides)))
    return BorderScores(
        models={side: facts.name for side, (_, facts) in sides.items()},
        objects=tuple(objects),
        images=tuple(images),
        summary={side: _mean([image.scores[side] for image in images]) for side in sides},
        paired=_paired(images, {one.id: one.group for one in records}) if len(sides) == 2 else None,
        without_objects=len(records) - len(images),
        table=_TABLE,
    )


def _sides(question: Boundary, at: Job) -> Sides:
    device = resolve_device(question.device)
    asked = {"model": question.model}
    if question.pruned is not None:
        asked = {"baseline": question.model, "pruned": question.pruned}
    found = {}
    for side, source in asked.items():
        model, facts = load_source_model(at.workspace, source)
        found[side] = (model.to(device), facts)
    return found


def _records(dataset: Dataset, question: Boundary) -> Sequence[ImageRecord]:
    if question.images:
        return [dataset.image(name) for name in question.images]
    records = dataset.split(question.split)
    if not records:
        raise DatasetError(
            "Dataset '{name}' has no {split} images.", name=dataset.name, split=question.split
        )
    return over_groups(records, question.limit)


def _objects_of(
    dataset: Dataset, record: ImageRecord, sides: Sides, question: Boundary
) -> list[ScoredObject]:
    found: list[ScoredObject] = []
    for side, (model, facts) in sides.items():
        imgsz = question.imgsz or facts.imgsz
        for n, subject in enumerate(labelled_subjects(dataset, record, facts, question.objects)):
            with memory_errors_named(batch=1, imgsz=imgsz):
                heat = cam.explain_detection(
                    model,
                    subject.pixels,
                    subject.box,
                    imgsz=imgsz,
                    method=question.method,
                    layers=question.layers,
                ).heat
            scores = boundary_scores(heat, subject.border, subject.box)
            if n == len(found):
                found.append(ScoredObject(
                    image=record.id, object=n + 1, label=facts.classes[subject.box.cls],
                    contour=scores.contour, scores={},
                ))  # fmt: skip
            kept = ScoresOfMap(**scores.model_dump(include=set(METRICS)))
            found[n] = found[n].model_copy(update={"scores": {**found[n].scores, side: kept}})
    return found


def _mean(scores: Sequence[ScoresOfMap]) -> ScoresOfMap:
    """Of each number over those where it is defined."""
    return ScoresOfMap(**{m: mean_defined([getattr(one, m) for one in scores]) for m in METRICS})


def _image_means(objects: Sequence[ScoredObject], sides: Sequence[str]) -> list[ScoredImage]:
    """Mean over the objects of each image, undefined ones left out."""
    by_image: dict[str, list[ScoredObject]] = {}
    for one in objects:
        by_image.setdefault(one.image, []).append(one)
    return [
        ScoredImage(
            image=name, scores={side: _mean([one.scores[side] for one in some]) for side in sides}
        )
        for name, some in by_image.items()
    ]


def _paired(
    images: Sequence[ScoredImage], groups: Mapping[str, str]
) -> dict[str, PairedDifference]:
    return {
        m: paired_bootstrap(
            [getattr(image.scores["baseline"], m) for image in images],
            [getattr(image.scores["pruned"], m) for image in images],
            groups=[groups[image.image] for image in images],
        )
        for m in METRICS
    }


def _table(objects: Sequence[ScoredObject], sides: Sequence[str]) -> str:
    """One line an object; an undefined score is an empty cell."""
    scores = {f"{side} {m}": (side, m) for side in sides for m in METRICS}
    rows = []
    for one in objects:
        values = {c: getattr(one.scores[side], m) for c, (side, m) in scores.items()}
        cells = {c: "" if v is None else round(v, 6) for c, v in values.items()}
        about = {
            "image": one.image,
            "object": one.object,
            "class": one.label,
            "contour": one.contour,
        }
        rows.append({**about, **cells})
    return write_rows(list(rows[0]), rows)
