"""Boxes in any of the formats people have, read image by image.

`find_labels` looks at a tree of files and returns the reader that labels most of its images.
Parsing of YOLO, COCO and VOC objects is supervision's, called one object at a time, so that one
bad line costs one box and not the file.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from msip_core import confined
from msip_core.bounded import MAX_CHARACTERS
from msip_core.data.archive import FileTree
from msip_core.data.encodings import decode_text
from msip_core.data.manifest import Problem, SplitName
from msip_core.data.references import ImageIndex
from msip_core.errors import DatasetError

if TYPE_CHECKING:
    from msip_core.data.outlines import MaskIndex


@dataclass(frozen=True, slots=True)
class LabelledObject:
    """One object as its label file has it: class name, corners in pixels, outline if known."""

    name: str
    xyxy: tuple[float, float, float, float]
    outline: NDArray[np.float64] | None = None
    crypts: tuple[NDArray[np.float64], ...] | None = None


@dataclass(slots=True)
class ImageLabels:
    """Objects of one image in the units of their label file; `fitting` brings them onto the image.

    Attributes:
        problems: what could not be read, one sentence for each object that is lost.
        notes: what was read in a way that a person should know of; nothing is lost by it.
        picture: width and height in pixels of the picture that the corners are for, as the label
            file states them; None if it does not.
        unit: of the corners; "yolo_pixels" are pixels where YOLO's fractions belong.
        one_based: pixels are counted from 1, both corners inside (Pascal VOC).
    """

    objects: list[LabelledObject] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    picture: tuple[float, float] | None = None
    unit: Literal["pixels", "fractions", "yolo_pixels"] = "pixels"
    one_based: bool = False


class LabelReader(Protocol):
    """One label format over one tree of files.

    Attributes:
        format: as a person calls it: "YOLO", "COCO", ...
        classes: names in the order of the source, if it lists them.
        orphans: labels without an image, and label files that cannot be read.
        notes: what the reader had to assume.
        used: label files and lists that were read; others of their kind were passed over.
        splits: the part that each image lies in, where the label files say so.
        drawn: the labels say that the images were drawn by computer.
    """

    format: str
    classes: list[str]
    orphans: list[Problem]
    notes: list[str]
    used: set[str]
    splits: dict[str, SplitName]
    drawn: bool

    @property
    def labelled(self) -> set[str]:
        """Images that have a label, an empty one included."""

    def read(self, image: str) -> ImageLabels:
        """Labels of one image, in the units that the label file states."""


Finder = Callable[[FileTree, ImageIndex], LabelReader | None]


class FoundLabels(NamedTuple):
    """The labels of a tree.

    Attributes:
        reader: the one that labels most images; None if there are no labels.
        notes: that other formats lie there too.
        used: all label files that a reader knew, whether it was the one that was taken or not.
    """

    reader: LabelReader | None
    notes: list[str]
    used: set[str]


def find_labels(tree: FileTree, masks: MaskIndex) -> FoundLabels:
    """The reader that labels most images, with most boxes.

    A format is added by writing a finder and listing it here, or a parser in `labels_records`.
    Masks count where nothing else has boxes.
    """
    from msip_core.data.labels_coco import find_coco
    from msip_core.data.labels_csv import find_csv
    from msip_core.data.labels_masks import MaskReader
    from msip_core.data.labels_records import find_records
    from msip_core.data.labels_voc import find_voc
    from msip_core.data.labels_yolo import find_yolo

    index = ImageIndex(masks.images)
    finders: tuple[Finder, ...] = (find_yolo, find_coco, find_voc, find_csv)
    readers = [reader for finder in finders if (reader := finder(tree, index)) is not None]
    readers += find_records(tree, index)
    used = {name for reader in readers for name in reader.used}
    used |= {problem.file for reader in readers for problem in reader.orphans}
    readers = [reader for reader in readers if reader.labelled or reader.orphans]
    best = max(readers, key=_images_with_boxes) if len(readers) > 1 else next(iter(readers), None)
    with_boxes = _images_with_boxes(best)[0] if best and masks.masks else 0
    if len(masks.masks) > 2 * with_boxes:
        lost = [problem for reader in readers for problem in reader.orphans]
        best = MaskReader(tree, masks.masks, masks.ambiguous, orphans=lost)
    if best is None:
        return FoundLabels(None, [], used)
    others = [f"{r.format} ({len(r.labelled)} images)" for r in readers if r is not best]
    notes = [f"Labels were read as {best.format}; also found: {', '.join(others)}."]
    return FoundLabels(best, notes if others else [], used)


def _images_with_boxes(reader: LabelReader) -> tuple[int, int]:
    """How many images a reader finds a box for, then how many it lists at all."""
    found = 0
    for image in reader.labelled:
        try:
            found += bool(reader.read(image).objects)
        except DatasetError:
            continue  # named when the image comes in
    return found, len(reader.labelled)


def read_text(tree: FileTree, name: str, most: int = MAX_CHARACTERS) -> str:
    """A text file in UTF-8, UTF-16, or what else it is most likely in (see `encodings`).

    Raises:
        DatasetError: it cannot be read, or is larger than `most` bytes.
    """
    if tree.size(name) > most:
        raise DatasetError(
            f"{name} is larger than {most // 1024**2} MB: give labels in smaller files"
        )
    return decode_text(tree.read(name))


def no_number(texts: Iterable[str]) -> str | None:
    """A sentence about the first of some texts that is no finite number; None if all are."""
    odd = next((text for text in texts if not _is_finite(text)), None)
    return None if odd is None else f"'{odd}' is not a number"


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def split_of_path(name: str) -> SplitName | None:
    """The part that a folder or file name stands for: train, val/valid/validation, test."""
    words = {"train": "train", "training": "train", "val": "val", "valid": "val",
             "validation": "val", "test": "test", "testing": "test"}  # fmt: skip
    for part in reversed(PurePosixPath(name.lower()).parts):
        stem = part.split(".")[0]
        for word in (stem, *reversed(stem.replace("-", "_").split("_"))):
            if word in words:
                return words[word]  # type: ignore[return-value]
    return None


def count_classes(reader: LabelReader) -> tuple[dict[str, int], list[Problem]]:
    """Boxes per class over all labelled images, without opening one image."""
    counts: Counter[str] = Counter()
    problems: list[Problem] = []
    for image in sorted(reader.labelled):
        try:
            confined.at_hand(image)
            labels = reader.read(image)
        except DatasetError as error:
            problems.append(Problem(file=image, what=error.message))
            continue
        counts.update(obj.name for obj in labels.objects)
        problems += [Problem(file=image, what=what) for what in labels.problems]
    return dict(counts.most_common()), problems
