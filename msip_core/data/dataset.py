"""A dataset of the workspace, for reading. Importing makes it; afterwards its pixel size can be
entered, and its labels can be corrected (`correcting`), each time as a new version.

datasets/<name>/
  images/        8-bit files, flat
  labels/        YOLO text, one file an image: the newest version
  masks/         <id>.json: object outlines and crypt contours, where they are known
  versions/      what was corrected, and the labels of older versions (`label_files`)
  splits/        train.txt, val.txt, test.txt
  data.yaml      opens in Ultralytics, wherever the folder lies
  dataset.json   every image, the recipe, the report
  summary.json   the few numbers that lists show
  .title         what people call it, where that is not its name
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from msip_core.boxes import Box
from msip_core.config import ImageRecipe
from msip_core.data.label_files import (
    damaged_label,
    label_path,
    mask_path,
    parse_label,
    read_label,
    read_masks,
)
from msip_core.data.manifest import (
    DatasetDocument,
    DatasetSummary,
    ImageRecord,
    ImportReport,
    summarise,
)
from msip_core.data.readiness import Readiness, objects_of, readiness_of
from msip_core.data.versions import at_version, newest_document
from msip_core.errors import DatasetError, NotFoundError
from msip_core.messages import msg
from msip_core.titles import title_in
from msip_core.workspace import Workspace, folders_in, holds_something, plain_bytes

Mask = TypeVar("Mask")


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
    def labels_version(self) -> int:
        """Of the labels that are read here: 1 is what was imported."""
        return self.document.labels_version

    @property
    def created(self) -> str:
        return self.document.created

    @property
    def drawn(self) -> bool:
        """True if the images were drawn by computer."""
        return self.document.drawn

    @cached_property
    def _by_id(self) -> dict[str, ImageRecord]:
        return {record.id: record for record in self.images}

    def split(self, name: str) -> tuple[ImageRecord, ...]:
        """The images of "train", "val" or "test", in file order; see `DatasetDocument.labelled`."""
        return tuple(record for record in self.document.labelled if record.split == name)

    def image(self, image_id: str) -> ImageRecord:
        """One image by id."""
        try:
            return self._by_id[image_id]
        except KeyError:
            raise NotFoundError(
                "Dataset '{name}' has no image '{image_id}'; it has {n} "
                "images, listed on the Data page.",
                name=self.name,
                image_id=image_id,
                n=len(self.images),
            ) from None

    def path(self, record: ImageRecord) -> Path:
        return self.root / record.file

    def label_path(self, record: ImageRecord) -> Path:
        return label_path(self.root, record)

    def pixels(self, record: ImageRecord) -> NDArray[np.uint8]:
        """The image as (height, width, 3) RGB, the very pixels that training sees."""
        path = self.path(record)
        data = _read(path)
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
        if image is None:
            raise DatasetError(
                "{path} cannot be read any more: import dataset '{name}' again.",
                path=path,
                name=self.name,
            )
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def boxes(self, record: ImageRecord) -> tuple[Box, ...]:
        """Labelled boxes in pixels, in the order of the label file."""
        try:
            text = read_label(self._labelled_in(record), record).decode("utf-8")
            boxes = parse_label(text, record.width, record.height)
        except FileNotFoundError as error:
            raise gone(self.label_path(record)) from error
        except ValueError as error:
            raise damaged_label(self.label_path(record)) from error
        if any(box.cls >= len(self.classes) for box in boxes):
            raise damaged_label(self.label_path(record))
        return boxes

    def contours(self, record: ImageRecord) -> tuple[NDArray[np.float64], ...] | None:
        """Outline polygons (n, 2) in pixels, x before y, one for each of `boxes(record)`.

        A box whose outline is not known has an empty (0, 2) array; None if no outline of this
        image is known.
        """
        return self._known(record, "outlines", _polygon)

    def crypts(self, record: ImageRecord) -> tuple[tuple[NDArray[np.float64], ...], ...] | None:
        """Crypt (bud) contours, for each of `boxes(record)` a tuple of polygons (n, 2).

        A box without crypts has an empty tuple; None if crypts of this image are not known.
        """
        return self._known(record, "crypts", lambda buds: tuple(map(_polygon, buds)))

    def readiness(self) -> Readiness:
        """Whether this dataset can be trained on, or the one thing that is missing."""
        return readiness_of(self.document.labelled, self.classes, unlabelled=self.unlabelled)

    @property
    def unlabelled(self) -> bool:
        """New images without any label: to be counted, not to be learned from."""
        return self.document.unlabelled

    def objects(self) -> dict[str, dict[str, int]]:
        """Labelled objects by class and part."""
        return objects_of(self.images, self.classes)

    def concerns(self) -> tuple[str, ...]:
        """What is unsure, too few or too rare to be learned or judged, a sentence each."""
        return self.document.concerns()

    def _labelled_in(self, record: ImageRecord) -> Path:
        """The folder that holds the labels of an image."""
        return self.root

    def _known(
        self, record: ImageRecord, what: str, read: Callable[[Any], Mask]
    ) -> tuple[Mask, ...] | None:
        """What masks tell of each box; None if they do not."""
        place = self._labelled_in(record)
        found = read_masks(place, record).get(what)
        try:
            return None if found is None else tuple(map(read, found))
        except (ValueError, TypeError) as error:
            raise damaged_label(mask_path(place, record)) from error


def _polygon(points: list[list[float]]) -> NDArray[np.float64]:
    return np.asarray(points, dtype=np.float64).reshape(-1, 2)


def _read(path: Path) -> bytes:
    try:
        return plain_bytes(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise gone(path) from error


def gone(path: Path) -> DatasetError:
    return DatasetError("{path} is gone from the workspace: import the dataset again.", path=path)


def open_dataset(workspace: Workspace, name: str, version: int | None = None) -> Dataset:
    """Open one dataset.

    Args:
        version: of its labels; None is the newest.

    Raises:
        NotFoundError: there is none of that name, or no such version; the message lists those
            there are.
        DatasetError: dataset.json is damaged.
    """
    root = workspace.dataset_dir(name)
    path = root / "dataset.json"
    if not path.is_file():
        there = ", ".join(summary.name for summary in list_datasets(workspace)) or msg("none yet")
        raise NotFoundError(
            "There is no dataset '{name}' in {root} (there: {there}).",
            name=name,
            root=workspace.root,
            there=there,
        )
    document = newest_document(root).model_copy(update={"name": name})
    if version is not None:
        document = at_version(root, document, version)
    return Dataset(root=root, document=document)


def ensure_ready(dataset: Dataset) -> Dataset:
    """The dataset, if it can be trained on; the one question of training, pruning and studies.

    Raises:
        DatasetError: something is missing, named.
    """
    ready = dataset.readiness()
    if not ready.ready:
        raise DatasetError(
            "Dataset '{name}' cannot be used yet. {missing}",
            name=dataset.name,
            missing=ready.missing,
        )
    return dataset


def over_groups(records: Sequence[ImageRecord], limit: int) -> list[ImageRecord]:
    """At most `limit` of the records, in their order: one of each group (well, field, series) in
    turn, and of groups that are not reached evenly spaced ones. The first images of a plate are
    often all of one well.
    """
    rounds: dict[int, list[ImageRecord]] = {}
    seen: Counter[str] = Counter()
    for record in records:
        rounds.setdefault(seen[record.group], []).append(record)
        seen[record.group] += 1
    chosen: set[str] = set()
    for some in rounds.values():
        room = min(limit - len(chosen), len(some))
        chosen.update(some[n * len(some) // room].id for n in range(room))
    return [record for record in records if record.id in chosen]


def list_datasets(workspace: Workspace) -> list[DatasetSummary]:
    """All datasets, newest first. Reads only the small summary files."""
    summaries = []
    for folder in folders_in(workspace.datasets):
        try:
            summary = _summary(folder)
        except NotFoundError:
            if not holds_something(folder):  # just deleted
                continue
            summary = _damaged(folder.name)
        except (OSError, DatasetError):
            summary = _damaged(folder.name)
        # A folder that was copied or renamed has the name that it lies under.
        own = {"name": folder.name, "title": title_in(folder)}
        summaries.append(summary.model_copy(update=own))
    return sorted(summaries, key=lambda summary: (summary.created, summary.name), reverse=True)


def _summary(folder: Path) -> DatasetSummary:
    """As it was written down; where that is damaged, of the dataset itself.

    Raises:
        NotFoundError, DatasetError: dataset.json is gone, or was cut off by a full disk or a power
            cut (more of it is not read here).
    """
    if not _ends_well(folder / "dataset.json"):
        return summarise(newest_document(folder))
    try:
        return DatasetSummary.model_validate_json(plain_bytes(folder / "summary.json"))
    except (OSError, ValidationError):
        return summarise(newest_document(folder))


def _ends_well(path: Path) -> bool:
    """Whether a file ends as a JSON object does."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        return file.read().rstrip().endswith(b"}")


def _damaged(name: str) -> DatasetSummary:
    """Stands for a dataset that cannot be read, so that the others still show."""
    return DatasetSummary(
        name=name,
        images=0,
        boxes={},
        splits={},
        classes=(),
        ready=False,
        missing=msg("It is damaged or cannot be read: restore its dataset.json, or import anew."),
        pixel_size_um=None,
        created="",
    )
