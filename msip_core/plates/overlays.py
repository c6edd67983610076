"""Micrographs of a count with their objects, each under the number that it has in the tables."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msip_core.boxes import Detection
from msip_core.config import ImageRecipe
from msip_core.data.dataset import open_dataset
from msip_core.data.regions import Field, shrunk
from msip_core.errors import DatasetError, NotFoundError
from msip_core.models import open_card
from msip_core.plates import folder
from msip_core.plates.pictures import source_of
from msip_core.plates.reading import reading_ahead
from msip_core.plates.rows import ImageRow, ObjectRow
from msip_core.views.pictures import draw_boxes
from msip_core.workspace import Workspace

_LONGEST = 4000  # pixels of a picture; larger fields are drawn smaller


def detections(objects: Sequence[ObjectRow], classes: Sequence[str]) -> list[Detection]:
    """Rows of one image as boxes that can be drawn, with their numbers."""
    return [
        Detection(
            cls=classes.index(row.class_name), x1=row.x1, y1=row.y1, x2=row.x2, y2=row.y2,
            score=row.score, number=row.object,
        )
        for row in objects
    ]  # fmt: skip


def pictures_again(
    workspace: Workspace, run_dir: Path, images: Sequence[ImageRow]
) -> Iterator[tuple[ImageRow, Field | DatasetError]]:
    """Micrographs as the model saw them, one after the other; each until the next is asked for,
    or why its file cannot be read (any more).

    Raises:
        NotFoundError: the count has no such image.
    """
    plan, config = folder.read_plan(run_dir), folder.read_config(run_dir)
    # A file of which some scenes cannot be read has an item for these beside that of a picture.
    both = sorted(plan.items if plan else (), key=lambda item: item.problem is None)
    items = {item.name: item for item in both}
    for image in images:
        if image.image not in items:
            raise NotFoundError(
                "The count {name} has no image '{image}'.", name=run_dir.name, image=image.image
            )
    recipe = None if config.source is None else recipe_of(workspace, config.model)
    source = source_of(workspace, config, [recipe])
    asked = [(number, items[image.image]) for number, image in enumerate(images)]
    with (
        tempfile.TemporaryDirectory(prefix="pictures-", dir=workspace.cache) as place,
        reading_ahead(source, asked, Path(place) / "ahead", lambda: None) as ahead,
    ):
        for number, image in enumerate(images):
            read, fields = ahead.take(number)
            if read.problem is None:
                yield image, fields[0]
            else:
                problem = "{image} {problem}."
                yield image, DatasetError(problem, image=image.image, problem=read.problem)
            ahead.done(number)


def numbered(
    workspace: Workspace, run_dir: Path, image: ImageRow, objects: Sequence[ObjectRow]
) -> NDArray[np.uint8]:
    """One micrograph, drawn.

    Args:
        objects: of this image; of either model.

    Raises:
        DatasetError: the file cannot be read (any more).
        NotFoundError: the count has no such image.
    """
    classes = folder.read_facts(run_dir).models["model"].classes
    [drawn] = [
        drawn_on(field, objects, classes)
        for _, field in pictures_again(workspace, run_dir, [image])
    ]
    return drawn


def drawn_on(
    field: Field | DatasetError, objects: Sequence[ObjectRow], classes: Sequence[str]
) -> NDArray[np.uint8]:
    """The objects and their numbers on their micrograph.

    Returns:
        (height, width, 3) uint8 RGB; a field of more than 4000 px smaller by a whole number.

    Raises:
        DatasetError: in place of the micrograph.
    """
    if isinstance(field, DatasetError):
        raise field
    pixels, factor = shrunk(field, _LONGEST)
    boxes = [box.scaled(1 / factor) for box in detections(objects, classes)]
    return draw_boxes(pixels, boxes, classes)


def objects_by_image(objects: Sequence[ObjectRow]) -> dict[str, list[ObjectRow]]:
    """Rows of every image that has any."""
    found: dict[str, list[ObjectRow]] = {}
    for row in objects:
        found.setdefault(row.image, []).append(row)
    return found


def recipe_of(workspace: Workspace, model: str) -> ImageRecipe | None:
    """How grey values are scaled for a model, told without torch; None for weights of others."""
    if model.endswith(".pt"):
        return None
    run, slash, _ = model.partition("/")
    if not slash:
        return open_card(workspace, model).recipe
    trained = folder.read_any_config(workspace.run_dir(run))
    return open_dataset(workspace, trained.dataset).recipe
