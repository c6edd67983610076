"""Boxes in any of the formats people have, read image by image: what all readers share.

Which readers there are, `label_formats` says. Parsing of YOLO, COCO and VOC objects is
supervision's, called one object at a time, so that one bad line costs one box and not the file.
"""

from __future__ import annotations

import math
import re
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from msip_core import confined
from msip_core.bounded import MAX_CHARACTERS
from msip_core.data.archive import FileTree
from msip_core.data.encodings import decode_text
from msip_core.data.manifest import Problem, SplitName
from msip_core.errors import DatasetError
from msip_core.messages import message_of, msg

# What values of any kind raise where a format asks for others.
ODD = (ValueError, LookupError, TypeError, ArithmeticError, AttributeError)
SPLIT_WORDS: Mapping[str, SplitName] = MappingProxyType(
    {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
     "test": "test", "testing": "test"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LabelledObject:
    """One object as its label file has it: class name, corners in pixels, outline if known.

    `file` is the label file, where several may list one image.
    """

    name: str
    xyxy: tuple[float, float, float, float]
    outline: NDArray[np.float64] | None = None
    crypts: tuple[NDArray[np.float64], ...] | None = None
    file: str = ""


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
        scored: objects that have a score, as a model's predictions do.
    """

    objects: list[LabelledObject] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    picture: tuple[float, float] | None = None
    unit: Literal["pixels", "fractions", "yolo_pixels"] = "pixels"
    one_based: bool = False
    scored: int = 0


@dataclass(kw_only=True)
class LabelReader(ABC):
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
    classes: list[str] = field(default_factory=list)
    orphans: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    splits: dict[str, SplitName] = field(default_factory=dict)
    drawn: bool = False

    @property
    @abstractmethod
    def labelled(self) -> set[str]:
        """Images that have a label, an empty one included."""

    @abstractmethod
    def read(self, image: str) -> ImageLabels:
        """Labels of one image, in the units that the label file states."""

    def lose(self, file: str, what: str) -> None:
        """Say what of a label file was not taken, and why."""
        self.orphans.append(Problem(file=file, what=what))

    def place(self, image: str, file: str) -> None:
        """Into the part that folders of the image, else its label file, are called by."""
        if part := split_of_path(image.rpartition("/")[0]) or split_of_path(file):
            self.splits.setdefault(image, part)


def read_text(tree: FileTree, name: str, most: int = MAX_CHARACTERS) -> str:
    """A text file in UTF-8, UTF-16, or what else it is most likely in (see `encodings`).

    Raises:
        DatasetError: it cannot be read, or is larger than `most` bytes.
    """
    if tree.size(name) > most:
        raise DatasetError(
            "{name} is larger than {most} MB: give labels in smaller files",
            name=name,
            most=most // 1024**2,
        )
    return decode_text(tree.read(name))


def read_list(tree: FileTree, name: str, notes: list[str]) -> list[str]:
    """The lines of a list of images; what cannot be read is noted."""
    try:
        return read_text(tree, name).splitlines()
    except DatasetError as error:
        notes.append(msg("The list {name} could not be read ({error}).", name=name, error=error))
        return []


def reason_of(error: Exception) -> str:
    """What is wrong with an odd value, for the end of a sentence."""
    if isinstance(error, TypeError | AttributeError):  # Python's words for it help nobody
        return msg("a value of it is missing, or of another kind than it must be")
    return f"no {error}" if isinstance(error, KeyError) else message_of(error)


def size_of(picture: Any) -> tuple[float, float] | None:
    """(width, height) as numbers; None if they are missing or 0."""
    try:
        width, height = (float(side) for side in picture)
    except ODD:
        return None
    return (width, height) if 0 < width < math.inf and 0 < height < math.inf else None


def no_number(texts: Iterable[str]) -> str | None:
    """A sentence about the first of some texts that is no finite number; None if all are."""
    odd = next((text for text in texts if not _is_finite(text)), None)
    return None if odd is None else msg("'{odd}' is not a number", odd=odd)


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def split_of_path(name: str) -> SplitName | None:
    """The part that a folder or file name stands for: train, val/valid/validation, test."""
    for part in reversed(PurePosixPath(name.lower()).parts):
        stem = part.split(".")[0]
        for word in (stem, *reversed(re.split("[-_ ]", stem))):
            if word in SPLIT_WORDS:
                return SPLIT_WORDS[word]
    return None


def place_by_folders(images: Iterable[str], splits: dict[str, SplitName]) -> None:
    """Put those that no list has put anywhere into the part that their folders are called by."""
    for image in images:
        if part := split_of_path(image.rpartition("/")[0]):
            splits.setdefault(image, part)


def called(name: str) -> str:
    """A class name as it is compared: with composed letters, which a Mac takes apart, and without
    blanks around it."""
    return unicodedata.normalize("NFC", name).strip()


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
        counts.update(called(obj.name) for obj in labels.objects)
        problems += [Problem(file=image, what=what) for what in labels.problems]
    return dict(counts.most_common()), problems
