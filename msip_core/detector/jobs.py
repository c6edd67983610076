"""Interactive work with one detector: what it finds, and it as a file; weights brought in."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from msip_core.data.object_sizes import SeenImage
from msip_core.data.regions import Field
from msip_core.detector.build import add_upload
from msip_core.detector.devices import resolve_device
from msip_core.detector.export import check_format, export_module
from msip_core.detector.prediction import Predictor, one_class_each
from msip_core.detector.sources import load_source_model, open_source_field
from msip_core.detector.tiles import TileChoice, look_at
from msip_core.messages import msg
from msip_core.models import ModelCard
from msip_core.questions.base import Job, Progress
from msip_core.questions.detecting import (
    Export,
    Exported,
    Predict,
    PredictedImage,
    Predictions,
    Upload,
)

# How the file that is exported ends, where it is not as its format is called.
_SUFFIXES = {"ultralytics": ".pt", "tensorrt": ".engine", "openvino": "_openvino_model"}


def predict(question: Predict, at: Job) -> Predictions:
    """Objects on images, in the order asked.

    Raises:
        DatasetError: an image cannot be read.
    """
    at.progress(0.0, msg("Opening the model"))
    model, facts = load_source_model(at.workspace, question.model)
    choice = TileChoice.of(question.tiles, question.overlap, facts.trained, facts.imgsz)
    predictor = Predictor(
        model, imgsz=question.imgsz or facts.imgsz, device=resolve_device(question.device)
    )
    asked = question.images
    images: list[PredictedImage] = []
    for n, source in enumerate(asked):
        tick = _part_of(at.progress, n, len(asked))
        with open_source_field(at.workspace, source, facts.recipe) as field:
            images.append(_predicted(source.name, field, choice, predictor, question, tick=tick))
        at.progress((n + 1) / len(asked), msg("{n} of {asked} images", n=n + 1, asked=len(asked)))
    return Predictions(
        classes=facts.classes,
        imgsz=predictor.imgsz,
        recipe=facts.recipe,
        sizes_known=facts.trained is not None,
        images=tuple(images),
    )


def _part_of(progress: Progress, number: int, count: int) -> Callable[[float], None]:
    """Progress inside one image of several."""
    return lambda done: progress(
        (number + done) / count,
        msg(
            "{number} of {count} images, {done:.0%} of the next",
            number=number,
            count=count,
            done=done,
        ),
    )


def _predicted(
    name: str, field: Field, choice: TileChoice, predictor: Predictor, question: Predict, *,
    tick: Callable[[float], None],
) -> PredictedImage:  # fmt: skip
    """One image: what was found, and what must be known of it."""
    size = question.pixel_size_um or field.pixel_size_um
    seen = SeenImage(field.width, field.height, predictor.imgsz, size)
    tiling = choice.tiling(seen)
    found = look_at(field, tiling, predictor, conf=question.conf, iou=question.iou, tick=tick)
    found = one_class_each(found, question.iou)
    return PredictedImage(
        id=name,
        height=field.height,
        width=field.width,
        detections=tuple(found),
        tiles=tiling.words(field.width, field.height) if tiling else None,
        size_warning=choice.warning(seen, tiling, found),
        note=field.note,
        doubt=field.doubt,
    )


def export(question: Export, at: Job) -> Exported:
    """A model in another format."""
    form = question.format
    check_format(form)
    at.progress(0.0, msg("Opening the model"))
    model, facts = load_source_model(at.workspace, question.model)
    imgsz = question.imgsz or facts.imgsz
    at.progress(0.1, msg("Writing the {form} file", form=form))
    target = at.out / f"model{_SUFFIXES.get(form, f'.{form}')}"
    made = export_module(model, form, target, imgsz)
    if made.is_dir():
        made = Path(shutil.make_archive(str(made), "zip", root_dir=at.out, base_dir=made.name))
    return Exported(path=made.name, format=form, imgsz=imgsz)


def upload(question: Upload, at: Job) -> ModelCard:
    """Weights from elsewhere as a model of the workspace."""
    at.progress(0.0, msg("Reading the weights"))
    card = add_upload(at.workspace, question.path, question.name)
    at.workspace.clear_upload(question.path)
    return card
