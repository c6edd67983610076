"""Formats of annotation programs that hold one record an image: labelme, CVAT, VIA, QuPath,
Label Studio, Supervisely, CreateML. Each is one function from a parsed file to records.

A file is read by the first format that knows it. What a record loses is named in it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msip_core.bounded import read_csv
from msip_core.data.archive import FileTree
from msip_core.data.labels import (
    ODD,
    ImageLabels,
    LabelledObject,
    LabelReader,
    read_text,
    reason_of,
    size_of,
)
from msip_core.data.labels_csv import NAMELESS
from msip_core.data.manifest import Problem
from msip_core.data.outline_boxes import box_beside, ring_area
from msip_core.data.outlines import is_outline_file
from msip_core.data.references import ImageIndex
from msip_core.data.verdicts import check_taken, names_no_class, unsure_kept, verdict
from msip_core.errors import InputError
from msip_core.messages import msg

MOST_OBJECTS = 20_000
# What programs add to the name of an image for the file of its labels.
_WHAT_IT_IS = re.compile(
    r"[ _.-]+(?:shapes?|rois?|labels?|annotations?|boxes|objects|detections)(?:[ _-]?\[?\d+\]?)?$",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Record:
    """The labels of one image.

    Attributes:
        references: names by which the file calls the image, best first.
        own: the file is this image's alone, so its own name counts before all others.
    """

    references: list[str]
    labels: ImageLabels
    own: bool = False


# A parsed file -> its records; None if it is of another format.
Parser = Callable[[Any], list[Record] | None]
# Suffixes, what opens such a text, and the parsers that may know it, each with its format's name.
FileKind = tuple[tuple[str, ...], Callable[[str], Any], Sequence[tuple[str, Parser]]]


@dataclass(kw_only=True)
class RecordReader(LabelReader):
    """What an annotation program has of each image."""

    records: dict[str, ImageLabels] = field(default_factory=dict)

    @property
    def labelled(self) -> set[str]:
        return set(self.records)

    def read(self, image: str) -> ImageLabels:
        return self.records[image]


def find_records(
    tree: FileTree, index: ImageIndex, kinds: Sequence[FileKind]
) -> list[RecordReader]:
    """A reader for each of the formats of these kinds of files that occurs in a tree."""
    found: dict[str, dict[str, list[Record]]] = {}
    broken: dict[str, list[Problem]] = {}
    for name in tree.names:
        for suffixes, load, parsers in kinds:
            if name.lower().endswith(suffixes) and not is_outline_file(tree, name):
                try:
                    value = load(read_text(tree, name))
                except InputError:
                    continue  # COCO's, VOC's and CSV's readers name what cannot be read
                _parse(name, value, parsers, found, broken)
    return [
        reader_of(label, files, broken.get(label, []), index)
        for label, files in {**{label: {} for label in broken}, **found}.items()
    ]


def _parse(
    name: str,
    value: Any,
    parsers: Sequence[tuple[str, Parser]],
    found: dict[str, dict[str, list[Record]]],
    broken: dict[str, list[Problem]],
) -> None:
    for label, parse in parsers:
        try:
            records = parse(value)
        except ODD as error:
            what = msg(
                "looks like labels of {label}, but cannot be read ({error}): export it again",
                label=label,
                error=reason_of(error),
            )
            broken.setdefault(label, []).append(Problem(file=name, what=what))
            return
        if records is not None:
            found.setdefault(label, {})[name] = records
            return


def reader_of(
    label: str, files: dict[str, list[Record]], broken: list[Problem], index: ImageIndex
) -> RecordReader:
    """The reader of a format: the records of each of its files, and those that cannot be read."""
    reader = RecordReader(
        format=label, orphans=list(broken), used={*files, *(p.file for p in broken)}
    )
    single = {n: records[0] for n, records in files.items() if len(records) == 1 and records[0].own}
    pairing = index.pair({n: [*_own_names(n), *r.references] for n, r in single.items()})
    for name, what in pairing.problems():
        reader.lose(name, what)
    for image, name in pairing.files.items():
        _take(reader, name, image, single[name].labels)
    for name, records in files.items():
        if not records:
            what = msg("holds no finished label: label its images, or export the finished ones")
            reader.lose(name, what)
        if name not in single:
            _take_several(reader, name, records, index)
    names = {obj.name for labels in reader.records.values() for obj in labels.objects}
    reader.classes = sorted(name for name in names if not names_no_class(name))
    return reader


def _own_names(name: str) -> list[str]:
    """`a.png.json` and `a.json` are both of `a.png`, and so is `a_shapes.csv`."""
    path = PurePosixPath(name)
    bare = _WHAT_IT_IS.sub("", path.stem)
    return [path.stem, path.name, *([bare] if bare not in ("", path.stem) else [])]


def _take_several(
    reader: RecordReader, name: str, records: list[Record], index: ImageIndex
) -> None:
    """Records of a file that lists many images."""
    chosen: dict[str, ImageLabels] = {}
    for record in records:
        first = record.references[0] if record.references else ""
        reference = next((r for r in record.references if index.find(r, name)), first)
        if reference in chosen:
            chosen[reference] = _joined(chosen[reference], record.labels)
        else:
            chosen[reference] = record.labels
    images = index.match(chosen, name)
    for reference, labels in chosen.items():
        if reference in images:
            _take(reader, name, images[reference], labels)
        else:
            reader.lose(name, index.why_not(reference, name))


def _joined(one: ImageLabels, two: ImageLabels) -> ImageLabels:
    return ImageLabels(
        [*one.objects, *two.objects],
        [*one.problems, *two.problems],
        [*one.notes, *two.notes],
        one.picture or two.picture,
        one.unit,
    )


def _take(reader: RecordReader, name: str, image: str, labels: ImageLabels) -> None:
    if (first := reader.records.get(image)) and (first.objects or not labels.objects):
        reader.lose(name, msg("second labels of {image} in another file: left out", image=image))
        return
    if first:  # as where two people share a task, and each has saved the images of both
        what = msg("{image} is without labels in another file: these were taken", image=image)
        labels.notes.append(what)
    reader.records[image] = labels
    reader.place(image, name)


def table_of(text: str) -> list[list[str]]:
    """All rows of a comma-separated table of a program, told by its header; [] for others."""
    start = text[:10_000]
    if not any(word in start for word in ("region_shape_attributes", "axis-0", "annotat")):
        return []
    return [row for _, row in read_csv(text, ",")]


# --- what the formats share -----------------------------------------------------


def labels_of(
    shapes: Iterable[Any],
    read: Callable[[Any], LabelledObject],
    picture: Any = None,
    group: Callable[[Any], Any] = lambda shape: None,
    whole: Any = None,
) -> ImageLabels:
    """Labels from shapes, one by one: a bad shape, or one that its file rejects, costs one box.

    Args:
        picture: (width, height) as the file states them, of any kind.
        group: the number that a person gave to all parts of one object; None or 0 is none.
        whole: what the file says of the whole image (see `verdicts`).
    """
    labels = ImageLabels(picture=size_of(picture))
    if why := verdict(whole).rejected:
        labels.problems.append(msg("its label file rejects the image ({why})", why=why))
        return labels
    groups: list[Any] = []
    unsure = 0
    for number, shape in enumerate(shapes, 1):
        if number > MOST_OBJECTS:
            labels.problems.append(
                msg("shapes after the first {most_objects} left out", most_objects=MOST_OBJECTS)
            )
            break
        try:
            is_unsure = check_taken(shape)
            labels.objects.append(read(shape))
            groups.append(group(shape))
            unsure += is_unsure
        except ODD as error:
            what = msg("shape {number} left out: {reason}", number=number, reason=reason_of(error))
            labels.problems.append(what)
    labels.notes += unsure_kept(unsure)
    return _grouped(labels, groups)


def _grouped(labels: ImageLabels, groups: Sequence[Any]) -> ImageLabels:
    """Shapes of one class that a person grouped are what is seen of one object, as in the COCO
    files that labelme and CVAT make of them."""
    parts: dict[tuple[str, ...], list[LabelledObject]] = {}
    for number, (obj, group) in enumerate(zip(labels.objects, groups, strict=True)):
        alone = group is None or str(group).strip() in ("", "0")
        parts.setdefault((str(number),) if alone else (str(group), obj.name), []).append(obj)
    if joined := [objects for objects in parts.values() if len(objects) > 1]:
        labels.objects = [_whole(objects) for objects in parts.values()]
        labels.notes.append(
            msg(
                "shapes of one group and class were taken as parts of one object: {n} as {objects}",
                n=sum(map(len, joined)),
                objects=len(joined),
            )
        )
    return labels


def _whole(parts: list[LabelledObject]) -> LabelledObject:
    """The box around all parts of an object, with the outline of its largest part."""
    corners = np.array([part.xyxy for part in parts])
    (x1, y1), (x2, y2) = corners[:, :2].min(axis=0).tolist(), corners[:, 2:].max(axis=0).tolist()
    outlines = [part.outline for part in parts if part.outline is not None]
    return replace(
        parts[0], xyxy=(x1, y1, x2, y2), outline=max(outlines, key=ring_area, default=None)
    )


def rectangle(name: Any, corners: Sequence[Any]) -> LabelledObject:
    """An object from two opposite corners (x1, y1, x2, y2)."""
    x1, y1, x2, y2 = (float(v) for v in corners)
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        raise ValueError(msg("its box is not four finite numbers"))
    return LabelledObject(class_name(name), (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)))


def polygon(name: Any, points: Any, *, outline: bool = True) -> LabelledObject:
    """An object from points (x, y); `outline` False where they are no contour."""
    found: NDArray[np.float64] = np.array(points, dtype=np.float64).reshape(-1, 2)
    if len(found) < (3 if outline else 2):
        raise ValueError(msg("it has {n} points", n=len(found)))
    if not np.isfinite(found).all():
        raise ValueError(msg("its outline has a point that is not two finite numbers"))
    (x1, y1), (x2, y2) = found.min(axis=0).tolist(), found.max(axis=0).tolist()
    return LabelledObject(class_name(name), (x1, y1, x2, y2), found if outline else None)


def boxed(obj: LabelledObject, box: Any) -> LabelledObject:
    """An outlined object with the box that stands beside it, if that still belongs to it."""
    beside = None if obj.outline is None else box_beside(box, obj.outline)
    return obj if beside is None else replace(obj, xyxy=beside)


def ellipse(
    name: Any, centre: Sequence[Any], radii: Sequence[Any], degrees: Any = 0
) -> LabelledObject:
    """An object from centre (x, y) and radii (across, along), turned about its centre."""
    (x, y), (across, along) = (float(v) for v in centre), (float(v) for v in radii)
    cos, sin = math.cos(math.radians(float(degrees))), math.sin(math.radians(float(degrees)))
    across, along = math.hypot(across * cos, along * sin), math.hypot(across * sin, along * cos)
    return rectangle(name, (x - across, y - along, x + across, y + along))


def turned(x: float, y: float, points: Any, degrees: float) -> NDArray[np.float64]:
    """Points turned clockwise about (x, y)."""
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    centre = np.array([x, y])
    return np.asarray((np.array(points, dtype=np.float64) - centre) @ turn + centre)


def around_turned(corners: Sequence[float], degrees: Any) -> tuple[float, float, float, float]:
    """The upright box around a box that was turned about its middle, as CVAT's are, whose other
    exports write the box before the turn and the angle beside it."""
    x1, y1, x2, y2 = corners
    points = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    found = turned((x1 + x2) / 2, (y1 + y2) / 2, points, float(degrees))
    (left, top), (right, bottom) = found.min(axis=0).tolist(), found.max(axis=0).tolist()
    return left, top, right, bottom


def class_name(value: Any) -> str:
    """A class as text; objects without one share one name."""
    if isinstance(value, bool) or (isinstance(value, dict | list) and value):
        raise ValueError(msg("its class is no name ({name})", name=type(value).__name__))
    text = "" if value is None or isinstance(value, dict | list) else str(value).strip()
    return text or NAMELESS


def not_an_object(kind: Any) -> ValueError:
    return ValueError(msg("a {kind} has no extent: draw a rectangle or a polygon", kind=kind))
