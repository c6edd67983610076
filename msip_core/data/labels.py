"""Boxes in any of the formats people have, read image by image: YOLO, COCO, Pascal VOC, CSV.

`find_labels` looks at a tree of files and returns the reader that labels most of its images.
Parsing of YOLO, COCO and VOC objects is supervision's, called one object at a time, so that one
bad line costs one box and not the file.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from msip_core import confined
from msip_core.bounded import MAX_CHARACTERS
from msip_core.data.archive import FileTree
from msip_core.data.manifest import Problem, SplitName
from msip_core.errors import DatasetError


@dataclass(frozen=True, slots=True)
class LabelledObject:
    """One object as its label file has it: class name, corners in pixels, outline if known."""

    name: str
    xyxy: tuple[float, float, float, float]
    outline: NDArray[np.float64] | None = None
    crypts: tuple[NDArray[np.float64], ...] | None = None


@dataclass(slots=True)
class ImageLabels:
    """Objects of one image, and what could not be read of them (one sentence each)."""

    objects: list[LabelledObject] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class LabelReader(Protocol):
    """One label format over one tree of files.

    Attributes:
        format: as a person calls it: "YOLO", "COCO", ...
        classes: names in the order of the source, if it lists them.
        orphans: labels without an image, and label files that cannot be read.
        notes: what the reader had to assume.
        splits: the part that each image lies in, where the label files say so.
        drawn: the labels say that the images were drawn by computer.
    """

    format: str
    classes: list[str]
    orphans: list[Problem]
    notes: list[str]
    splits: dict[str, SplitName]
    drawn: bool

    @property
    def labelled(self) -> set[str]:
        """Images that have a label, an empty one included."""

    def read(self, image: str, width: float, height: float) -> ImageLabels:
        """Labels of one image of the given size in pixels."""


class ImageIndex:
    """Finds the image that a label file means by a path, a bare name, or a stem."""

    def __init__(self, images: Iterable[str]) -> None:
        self.images = sorted(images)
        self._names: dict[str, list[str]] = defaultdict(list)
        for image in self.images:
            path = PurePosixPath(image)
            for key in {path.name.lower(), path.stem.lower()}:
                self._names[key].append(image)
        self._all = set(self.images)

    def __len__(self) -> int:
        return len(self.images)

    def find(self, reference: str, label: str = "") -> str | None:
        """The image meant by `reference` in the file `label`.

        Tries the path as written, beside the label file, the longest common ending, then the
        image nearest to the label file. None if there is none, or if two are equally good.
        """
        path = PurePosixPath(reference.replace("\\", "/").strip())
        beside = str(PurePosixPath(label).parent / path)
        for exact in (str(path), beside):
            if exact in self._all:
                return exact
        stem = PurePosixPath(path.name).stem if path.suffix else path.name
        candidates = self._names.get(path.name.lower()) or self._names.get(stem.lower()) or []
        if len(candidates) <= 1:
            return candidates[0] if candidates else None
        scored = sorted(
            ((_common_end(c, path), _common_start(c, label), c) for c in candidates), reverse=True
        )
        return scored[0][2] if scored[0][:2] > scored[1][:2] else None


def _common_end(image: str, path: PurePosixPath) -> int:
    parts = list(zip(reversed(PurePosixPath(image).parts[:-1]), reversed(path.parts[:-1])))
    return next((i for i, (a, b) in enumerate(parts) if a != b), len(parts))


def _common_start(image: str, label: str) -> int:
    """How many folder names an image shares with its label file, wherever they stand."""
    return len(set(PurePosixPath(image).parts[:-1]) & set(PurePosixPath(label).parts[:-1]))


Finder = Callable[[FileTree, ImageIndex], LabelReader | None]


def find_labels(tree: FileTree, images: Sequence[str]) -> tuple[LabelReader | None, list[str]]:
    """The reader that labels most images, and a note if other formats lie there too.

    A format is added by writing a finder and listing it here.
    """
    from msip_core.data.labels_coco import find_coco
    from msip_core.data.labels_csv import find_csv
    from msip_core.data.labels_voc import find_voc
    from msip_core.data.labels_yolo import find_yolo

    index = ImageIndex(images)
    finders: tuple[Finder, ...] = (find_yolo, find_coco, find_voc, find_csv)
    readers = [reader for finder in finders if (reader := finder(tree, index)) is not None]
    readers = [reader for reader in readers if reader.labelled or reader.orphans]
    if not readers:
        return None, []
    best = max(readers, key=lambda reader: len(reader.labelled))
    others = [f"{r.format} ({len(r.labelled)} images)" for r in readers if r is not best]
    notes = [f"Labels were read as {best.format}; also found: {', '.join(others)}."]
    return best, notes if others else []


def read_text(tree: FileTree, name: str, most: int = MAX_CHARACTERS) -> str:
    """A text file in UTF-8 (with or without mark), UTF-16 with mark, or Latin-1.

    Raises:
        DatasetError: it cannot be read, or is larger than `most` bytes.
    """
    if tree.size(name) > most:
        raise DatasetError(
            f"{name} is larger than {most // 1024**2} MB: give labels in smaller files"
        )
    data = tree.read(name)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


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
            labels = reader.read(image, 1.0, 1.0)
        except DatasetError as error:
            problems.append(Problem(file=image, what=error.message))
            continue
        counts.update(obj.name for obj in labels.objects)
        problems += [Problem(file=image, what=what) for what in labels.problems]
    return dict(counts.most_common()), problems
