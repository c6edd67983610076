"""A dataset of the workspace, for reading. Importing makes it; afterwards only its pixel
size can be entered.

datasets/<name>/
  images/        8-bit files, flat
  labels/        YOLO text, one file an image
  masks/         <id>.json: object outlines and crypt contours, where they are known
  splits/        train.txt, val.txt, test.txt
  data.yaml      opens in Ultralytics, wherever the folder lies
  dataset.json   every image, the recipe, the report
  summary.json   the few numbers that lists show
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from msip_core.boxes import Box
from msip_core.config import ImageRecipe
from msip_core.data.manifest import (
    DatasetDocument,
    DatasetSummary,
    ImageRecord,
    ImportReport,
)
from msip_core.data.readiness import Readiness, concerns_of, objects_of, readiness_of
from msip_core.errors import DatasetError, NotFoundError
from msip_core.workspace import Workspace

__all__ = [
    "Dataset",
    "DatasetSummary",
    "ImageRecord",
    "ImportReport",
    "Readiness",
    "list_datasets",
    "open_dataset",
]


@dataclass(frozen=True)
class Dataset:
    """One imported dataset. Everything but pixels, boxes and outlines is in memory."""

    root: Path
    document: DatasetDocument = field(repr=False)

    @property
    def name(self) -> str:
        return self.document.name

    @property
    def classes(self) -> tuple[str, ...]:
        return self.document.classes

    @property
    def recipe(self) -> ImageRecipe:
        """How pixels were scaled; models trained here must see new images scaled likewise."""
        return self.document.recipe

    @property
    def pixel_size_um(self) -> float | None:
        return self.document.pixel_size_um

    @property
    def images(self) -> tuple[ImageRecord, ...]:
        return self.document.images

    @property
    def report(self) -> ImportReport:
        return self.document.report

    @property
    def content_hash(self) -> str:
        """SHA-256 over images, labels, classes, split and recipe; equal hash, equal data."""
        return self.document.content_hash

    @property
    def created(self) -> str:
        return self.document.created

    @property
    def drawn(self) -> bool:
        """True if the images were drawn by computer."""
        return self.document.drawn

    @property
    def yaml_path(self) -> Path:
        return self.root / "data.yaml"

    @cached_property
    def _by_id(self) -> dict[str, ImageRecord]:
        return {record.id: record for record in self.images}

    def split(self, name: str) -> tuple[ImageRecord, ...]:
        """The images of "train", "val" or "test", in file order."""
        return tuple(record for record in self.images if record.split == name)

    def image(self, image_id: str) -> ImageRecord:
        """One image by id."""
        try:
            return self._by_id[image_id]
        except KeyError:
            raise NotFoundError(
                f"Dataset '{self.name}' has no image '{image_id}'; it has {len(self.images)} "
                "images, listed on the Data page."
            ) from None

    def path(self, record: ImageRecord) -> Path:
        return self.root / record.file

    def label_path(self, record: ImageRecord) -> Path:
        return self.root / "labels" / f"{record.id}.txt"

    def pixels(self, record: ImageRecord) -> NDArray[np.uint8]:
        """The image as (height, width, 3) RGB, the very pixels that training sees."""
        path = self.path(record)
        data = _read(path)
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
        if image is None:
            raise DatasetError(
                f"{path} cannot be read any more: import dataset '{self.name}' again."
            )
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def boxes(self, record: ImageRecord) -> tuple[Box, ...]:
        """Labelled boxes in pixels, in the order of the label file."""
        boxes = []
        for line in _read(self.label_path(record)).decode("utf-8").splitlines():
            cls, x, y, w, h = line.split()
            cx, cy = float(x) * record.width, float(y) * record.height
            dx, dy = float(w) * record.width / 2, float(h) * record.height / 2
            boxes.append(Box(cls=int(cls), x1=cx - dx, y1=cy - dy, x2=cx + dx, y2=cy + dy))
        return tuple(boxes)

    def contours(self, record: ImageRecord) -> tuple[NDArray[np.float64], ...] | None:
        """Outline polygons (n, 2) in pixels, x before y, one for each of `boxes(record)`.

        A box whose outline is not known has an empty (0, 2) array; None if no outline of this
        image is known.
        """
        outlines = self._masks(record).get("outlines")
        return None if outlines is None else tuple(_polygon(points) for points in outlines)

    def crypts(self, record: ImageRecord) -> tuple[tuple[NDArray[np.float64], ...], ...] | None:
        """Crypt (bud) contours, for each of `boxes(record)` a tuple of polygons (n, 2).

        A box without crypts has an empty tuple; None if crypts of this image are not known.
        """
        crypts = self._masks(record).get("crypts")
        if crypts is None:
            return None
        return tuple(tuple(_polygon(points) for points in buds) for buds in crypts)

    def readiness(self) -> Readiness:
        """Whether this dataset can be trained on, or the one thing that is missing."""
        return readiness_of(self.images, self.classes)

    def objects(self) -> dict[str, dict[str, int]]:
        """Labelled objects by class and part."""
        return objects_of(self.images, self.classes)

    def concerns(self) -> tuple[str, ...]:
        """What is too few or too rare to be learned or judged, a sentence each."""
        return concerns_of(self.objects())

    def _masks(self, record: ImageRecord) -> dict[str, Any]:
        path = self.root / "masks" / f"{record.id}.json"
        if not path.is_file():
            return {}
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return value


def _polygon(points: list[list[float]]) -> NDArray[np.float64]:
    return np.asarray(points, dtype=np.float64).reshape(-1, 2)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DatasetError(
            f"{path} is gone from the workspace: import the dataset again."
        ) from None


def open_dataset(workspace: Workspace, name: str) -> Dataset:
    """Open one dataset.

    Raises:
        NotFoundError: there is none of that name; the message lists those there are.
        DatasetError: dataset.json is damaged.
    """
    root = workspace.dataset_dir(name)
    path = root / "dataset.json"
    if not path.is_file():
        there = ", ".join(summary.name for summary in list_datasets(workspace)) or "none yet"
        raise NotFoundError(f"There is no dataset '{name}' in {workspace.root} (there: {there}).")
    try:
        document = DatasetDocument.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DatasetError(
            f"{path} is damaged ({error.error_count()} errors): import the dataset again."
        ) from error
    return Dataset(root=root, document=document)


def list_datasets(workspace: Workspace) -> list[DatasetSummary]:
    """All datasets, newest first. Reads only the small summary files."""
    summaries = []
    for path in workspace.datasets.glob("[!.]*/summary.json"):
        try:
            summaries.append(DatasetSummary.model_validate_json(path.read_bytes()))
        except ValidationError:
            summaries.append(_damaged(path.parent.name))
    return sorted(summaries, key=lambda summary: (summary.created, summary.name), reverse=True)


def _damaged(name: str) -> DatasetSummary:
    """Stands for a dataset whose summary cannot be read, so that the others still show."""
    return DatasetSummary(
        name=name,
        images=0,
        boxes={},
        splits={},
        classes=(),
        ready=False,
        missing="Its summary.json is damaged: delete this dataset and import it again.",
        pixel_size_um=None,
        created="",
    )
