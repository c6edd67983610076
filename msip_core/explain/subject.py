"""Which object is explained, on which micrograph: the same for every model that is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msip_core.boxes import Box, match_detections
from msip_core.data.dataset import Dataset, ImageRecord, open_dataset
from msip_core.detector.library import DetectionModel
from msip_core.detector.prediction import predict
from msip_core.detector.sources import ModelFacts, load_source_image, load_source_model
from msip_core.errors import ConfigError, NotFoundError
from msip_core.explain.boundary import BoundaryScores, Contour, boundary_scores
from msip_core.workspace import Workspace

CRYPT = "crypt"
_LEAST_SCORE = 0.01


@dataclass(frozen=True, slots=True)
class Subject:
    """One object of one micrograph.

    Attributes:
        pixels: uint8 (H, W, 3) RGB.
        box: reference box and class, in pixels.
        chosen: how it was chosen, in words.
        outline: its drawn outline (n, 2) as x, y, where one is known.
        crypts: outlines of its crypts, where they are known; may be empty.
    """

    pixels: NDArray[np.uint8]
    box: Box
    chosen: str
    outline: Contour | None = None
    crypts: tuple[Contour, ...] = ()

    @property
    def contour(self) -> Box | Contour:
        """What the border scores are measured on: the outline, else the box edge."""
        return self.box if self.outline is None else self.outline

    def scores(self, heat: NDArray[np.floating[Any]]) -> BoundaryScores:
        """Border scores of a map for this object."""
        return boundary_scores(heat, self.contour, self.box)

    def crypt_scores(self, heat: NDArray[np.floating[Any]]) -> BoundaryScores | None:
        """The same on the borders of its crypts alone; None where none is known."""
        return boundary_scores(heat, self.crypts, self.box) if self.crypts else None


def find_subject(
    workspace: Workspace,
    params: dict[str, Any],
    model: DetectionModel,
    facts: ModelFacts,
    *,
    imgsz: int,
    device: str,
) -> Subject:
    """The object that job params name, or a sensible one where they name none.

    Params: an image; box {cls, x1, y1, x2, y2}, or none: then the largest crypt that a person
    labelled, else the detection with the highest score. `reference_model` (or `reference_run`
    and `reference_iteration`) names the model whose detection it is; without it, `model` itself.

    Raises:
        NotFoundError: no such image, or the model finds nothing on it.
        ConfigError: the box's class is unknown to the model.
    """
    pixels = load_source_image(workspace, params, facts.recipe)
    labelled = _labelled(workspace, params)
    if params.get("box"):
        box, chosen = Box.model_validate(params["box"]), "chosen by hand"
    elif labelled and labelled[0].boxes(labelled[1]):
        box, chosen = _largest(*labelled, facts)
    else:
        if params.get("reference_model") or params.get("reference_run"):
            model, facts = load_source_model(workspace, params, "reference")
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
        found.append(Subject(pixels, asked, "labelled by a person", outline, crypts))
    return found


def drawn_borders(
    dataset: Dataset, record: ImageRecord, box: Box
) -> tuple[Contour | None, tuple[Contour, ...]]:
    """Outline and crypts of the labelled object that `box` overlaps most (IoU >= .5)."""
    outlines, crypts = dataset.contours(record), dataset.crypts(record)
    for pair in match_detections([box], dataset.boxes(record)):
        index = pair.pruned
        if pair.baseline is None or index is None:
            continue
        outline = outlines[index] if outlines is not None and len(outlines[index]) else None
        return outline, crypts[index] if crypts is not None else ()
    return None, ()


def _labelled(workspace: Workspace, params: dict[str, Any]) -> tuple[Dataset, ImageRecord] | None:
    if "dataset" not in params or "path" in params:
        return None
    dataset = open_dataset(workspace, str(params["dataset"]))
    return dataset, dataset.image(str(params["image"]))


def _largest(dataset: Dataset, record: ImageRecord, facts: ModelFacts) -> tuple[Box, str]:
    box = max(dataset.boxes(record), key=lambda b: _rank(b, dataset.classes))
    words = f"largest {dataset.classes[box.cls]} labelled by a person"
    return _in_classes_of(facts, dataset.classes, box), words


def _rank(box: Box, classes: Sequence[str]) -> tuple[bool, float]:
    """Crypts before others, then by area."""
    return classes[box.cls] == CRYPT, (box.x2 - box.x1) * (box.y2 - box.y1)


def _in_classes_of(facts: ModelFacts, classes: Sequence[str], box: Box) -> Box:
    """The box with the model's number for its class: two models may count classes differently."""
    name = classes[box.cls]
    if name not in facts.classes:
        raise ConfigError(
            f"The model '{facts.name}' does not know the class '{name}'; "
            f"it knows {', '.join(facts.classes)}."
        )
    return box.model_copy(update={"cls": facts.classes.index(name)})


def _best_detection(
    model: DetectionModel, facts: ModelFacts, pixels: NDArray[np.uint8], imgsz: int, device: str
) -> tuple[Box, str]:
    found = predict(model, [pixels], imgsz=imgsz, conf=_LEAST_SCORE, device=device)[0]
    if not found:
        raise NotFoundError(
            f"The model '{facts.name}' finds no object on this micrograph: "
            "choose another one, or one of a dataset that has labelled objects."
        )
    best = found[0]
    words = f"detection with the highest score ({best.score:.2f}) of {facts.name}"
    return Box(cls=best.cls, x1=best.x1, y1=best.y1, x2=best.x2, y2=best.y2), words


def image_file(workspace: Workspace, params: dict[str, Any]) -> Path:
    """The file behind the image that params name."""
    labelled = _labelled(workspace, params)
    return labelled[0].path(labelled[1]) if labelled else Path(str(params["path"]))
