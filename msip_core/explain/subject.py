"""Which object is explained, on which micrograph: the same for every model that is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msip_core.boxes import Box
from msip_core.data.dataset import Dataset, ImageRecord, open_dataset
from msip_core.data.subject import Subject, drawn_borders
from msip_core.detector.library import DetectionModel
from msip_core.detector.prediction import predict
from msip_core.detector.sources import ModelFacts, load_source_image, load_source_model
from msip_core.errors import ConfigError, NotFoundError
from msip_core.messages import msg
from msip_core.questions.looking import OfOneObject
from msip_core.questions.sources import DatasetImage, ImageOf
from msip_core.workspace import Workspace

CRYPT = "crypt"
_LEAST_SCORE = 0.01


def find_subject(
    workspace: Workspace,
    question: OfOneObject[Any],
    model: DetectionModel,
    facts: ModelFacts,
    *,
    imgsz: int,
    device: str,
) -> Subject:
    """The object that a question names, or a sensible one where it names none.

    Without a box it is the largest crypt that a person labelled, else the detection with the
    highest score of the question's `reference`; without that, of `model` itself.

    Raises:
        NotFoundError: no such image, or the model finds nothing on it.
        ConfigError: the box's class is unknown to the model.
    """
    pixels = load_source_image(workspace, question.image, facts.recipe)
    labelled = _labelled(workspace, question.image)
    if question.box is not None:
        box, chosen = question.box, msg("chosen by hand")
    elif labelled and labelled[0].boxes(labelled[1]):
        box, chosen = _largest(*labelled, facts)
    else:
        if question.reference is not None:
            model, facts = load_source_model(workspace, question.reference)
        box, chosen = _best_detection(model, facts, pixels, imgsz, device)
    if labelled is None:
        return Subject(pixels, box, chosen)
    outline, crypts = drawn_borders(*labelled, box)
    return Subject(pixels, box, chosen, outline, crypts)


def labelled_subjects(
    dataset: Dataset, record: ImageRecord, facts: ModelFacts, most: int
) -> list[Subject]:
    """The largest labelled objects of one image, crypts first, at most `most`."""
    pixels = dataset.pixels(record)
    boxes = sorted(dataset.boxes(record), key=lambda b: _rank(b, dataset.classes), reverse=True)
    found = []
    for box in boxes[:most]:
        outline, crypts = drawn_borders(dataset, record, box)
        asked = _in_classes_of(facts, dataset.classes, box)
        found.append(Subject(pixels, asked, msg("labelled by a person"), outline, crypts))
    return found


def _labelled(workspace: Workspace, image: ImageOf) -> tuple[Dataset, ImageRecord] | None:
    if not isinstance(image, DatasetImage):
        return None
    dataset = open_dataset(workspace, image.dataset)
    return dataset, dataset.image(image.image)


def _largest(dataset: Dataset, record: ImageRecord, facts: ModelFacts) -> tuple[Box, str]:
    box = max(dataset.boxes(record), key=lambda b: _rank(b, dataset.classes))
    words = msg("largest {classes} labelled by a person", classes=dataset.classes[box.cls])
    return _in_classes_of(facts, dataset.classes, box), words


def _rank(box: Box, classes: Sequence[str]) -> tuple[bool, float]:
    """Crypts before others, then by area."""
    return classes[box.cls] == CRYPT, (box.x2 - box.x1) * (box.y2 - box.y1)


def _in_classes_of(facts: ModelFacts, classes: Sequence[str], box: Box) -> Box:
    """The box with the model's number for its class: two models may count classes differently."""
    name = classes[box.cls]
    if name not in facts.classes:
        raise ConfigError(
            "The model '{name}' does not know the class '{cls}'; it knows {classes}.",
            name=facts.name,
            cls=name,
            classes=", ".join(facts.classes),
        )
    return box.model_copy(update={"cls": facts.classes.index(name)})


def _best_detection(
    model: DetectionModel, facts: ModelFacts, pixels: NDArray[np.uint8], imgsz: int, device: str
) -> tuple[Box, str]:
    found = predict(model, [pixels], imgsz=imgsz, conf=_LEAST_SCORE, device=device)[0]
    if not found:
        raise NotFoundError(
            "The model '{name}' finds no object on this micrograph: "
            "choose another one, or one of a dataset that has labelled objects.",
            name=facts.name,
        )
    best = found[0]
    words = msg(
        "detection with the highest score ({score:.2f}) of {name}",
        score=best.score,
        name=facts.name,
    )
    return Box(cls=best.cls, x1=best.x1, y1=best.y1, x2=best.x2, y2=best.y2), words
