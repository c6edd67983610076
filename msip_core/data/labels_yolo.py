"""YOLO text labels: boxes, segmentation polygons, class names from data.yaml or a list.

A label lies where Ultralytics looks (`images` -> `labels`, same stem), beside its image, or
anywhere under a stem that occurs once or whose folders tell which is meant.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePosixPath

import numpy as np

from msip_core.data.archive import FileTree
from msip_core.data.labels import ImageLabels, LabelledObject, LabelReader, no_number, read_text
from msip_core.data.manifest import Problem
from msip_core.data.references import ImageIndex, plain
from msip_core.data.yolo_config import (
    class_names,
    is_list,
    miscounted,
    other_numbers,
    pose_values,
    read_configs,
    splits,
)
from msip_core.data.yolo_doubts import doubt
from msip_core.errors import DatasetError
from msip_core.messages import message_of, msg

# Bounds the time that one label file takes; dense fields have some thousands.
MAX_OBJECTS = 20_000
MAX_BYTES = 32 * 1024**2
_LOOKED_AT = 1_000_000  # characters that tell whether a text is a label
_TURNED = 9  # values of a line of YOLO OBB
DRAWN = "drawn by computer"
# Beyond this multiple of the image a coordinate is no fraction of it.
_FAR_OUTSIDE = 10
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+")
_LINE = re.compile(r"\s*\d+(?:\.0*)?(?:e[+-]?0+)?(?:\s+[-+]?[\d.]+(?:e[-+]?\d+)?){4,}\s*", re.I)


@dataclass(kw_only=True)
class YoloReader(LabelReader):
    """See `labels.LabelReader`.

    Attributes:
        names: how the classes are numbered, by the folder of the list that says so; what holds for
            labels in no such folder (of a data.yaml) is under "". Empty if nothing names them.
        unsure: image -> why its label may be another's.
    """

    tree: FileTree
    files: dict[str, str]
    names: dict[str, list[str]] = field(default_factory=dict)
    unsure: dict[str, str] = field(default_factory=dict)
    pose_values: int = 0
    format: str = "YOLO"

    @property
    def labelled(self) -> set[str]:
        return set(self.files)

    def read(self, image: str) -> ImageLabels:
        if image in self.unsure:
            raise DatasetError(self.unsure[image])
        file = self.files[image]
        names = self._names_for(file)
        lines = self._lines(file, names)
        if any(lines) and (why := self._doubts[tuple(names)]):
            raise DatasetError("{why}: left out", why=why)
        if self.pose_values:
            lines = [v[:5] if len(v) == 5 + self.pose_values else v for v in lines]
        large = [_is_large(values) for values in lines if values and _reason(values) is None]
        if any(large) and not all(large):
            raise DatasetError(
                "{n} of the {lines} lines of its label are pixels and the others fractions of the "
                "image: left out, since it is not sure which are meant",
                n=sum(large),
                lines=len(large),
            )
        labels = ImageLabels(unit="yolo_pixels" if any(large) else "fractions")
        try:
            labels.objects = _objects([v for v in lines if v], names, labels.unit)
        except (ValueError, ArithmeticError):  # look at each line alone: one bad line costs one box
            for number, values in enumerate(lines, 1):
                try:
                    labels.objects += _objects([values] if values else [], names, labels.unit)
                except (ValueError, ArithmeticError) as error:
                    reason = _reason(values) or message_of(error)
                    labels.problems.append(
                        msg("label line {number} left out: {reason}", number=number, reason=reason)
                    )
        labels.scored = sum(len(values) == 6 for values in lines if values)
        if all(len(values) == _TURNED for values in lines if values):
            # Four corners each: turned boxes, which say nothing about the shape.
            labels.objects = [replace(obj, outline=None) for obj in labels.objects]
        return labels

    def _lines(self, file: str, names: list[str]) -> list[list[str]]:
        return [_values(line, names) for line in _lines_of(self.tree, file)]

    @cached_property
    def _doubts(self) -> dict[tuple[str, ...], str | None]:
        """Class names -> what the labels that they hold for tell together (see `yolo_doubts`)."""
        files: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for file in dict.fromkeys(self.files.values()):
            files[tuple(self._names_for(file))].append(file)
        return {
            names: doubt(self._all_lines(there, names), names) for names, there in files.items()
        }

    def _all_lines(self, files: list[str], names: tuple[str, ...]) -> Iterator[list[str]]:
        for file in files:
            try:
                lines = self._lines(file, list(names))
            except DatasetError:
                continue  # named when its image comes in
            for values in lines:
                if len(values) == 5 + self.pose_values:
                    yield values[:5]
                elif values:
                    yield values

    def _names_for(self, file: str) -> list[str]:
        """The class names that hold for a label file: those of the list nearest above it."""
        return self.names.get(self.named_in(file), [])

    def named_in(self, file: str) -> str:
        """The folder of the list that numbers the classes of a label file; "" if there is none."""
        for folder in (*(str(parent) for parent in PurePosixPath(file).parents), ""):
            if folder in self.names:
                return folder
        return next(iter(self.names), "")


def _objects(lines: list[list[str]], names: list[str], unit: str) -> list[LabelledObject]:
    from supervision.dataset.formats.yolo import yolo_annotations_to_detections

    texts = [" ".join(values) for values in lines]
    found = yolo_annotations_to_detections(texts, (1, 1), with_masks=False)
    boxes = found.xyxy.astype(np.float64)
    if not np.isfinite(boxes).all():
        raise ValueError(msg("its box is not four finite numbers"))
    objects = []
    for values, box in zip(lines, boxes):
        if unit == "fractions" and _is_large(values):
            raise ValueError(msg("coordinates are not fractions of the image"))
        x1, y1, x2, y2 = box.tolist()
        if len(values) > 6 and not len(values) % 2:
            raise ValueError(msg("its outline has an odd number of coordinates"))
        points = np.array(list(map(float, values[1:] if len(values) > 6 else ())))
        outline = points.reshape(-1, 2) if points.size else None
        objects.append(LabelledObject(_name(values[0], names), (x1, y1, x2, y2), outline))
    return objects


def _name(number: str, names: list[str]) -> str:
    index = int(float(number))
    if index < 0 or (names and (index >= len(names) or not names[index])):
        if not names:
            raise ValueError(msg("class number {index} has no name", index=index))
        raise ValueError(
            msg(
                "class number {index} has no name; the names are numbered {first} to {last}",
                index=index,
                first=next(number for number, name in enumerate(names) if name),
                last=len(names) - 1,
            )
        )
    return names[index] if names else f"class_{index}"


def _is_large(values: list[str]) -> bool:
    """Whether the coordinates are pixels: fractions of boxes far outside do not go beyond 10."""
    coordinates = values[1:5] if len(values) <= 6 else values[1:]
    return max(abs(float(value)) for value in coordinates) > _FAR_OUTSIDE


def _values(line: str, names: list[str]) -> list[str]:
    """The values of a line. Some programs put commas between them, or into the numbers."""
    values = line.split()
    if len(values) == 1 or ";" in line:
        values = re.split(r"[\s;]+" if ";" in line else r"[\s,]+", line.strip())
    if any(_DECIMAL_COMMA.fullmatch(value) for value in values[1:]):
        values = [value.replace(",", ".") for value in values]
    elif any(value.endswith(",") for value in values):
        values = [value.removesuffix(",") for value in values]
    if len(values) >= 5 and no_number(values[:1]) and values[0] in names:
        values[0] = str(names.index(values[0]))
    return values


def _lines_of(tree: FileTree, name: str) -> list[str]:
    """The lines of a label file, which has one for each object."""
    lines = read_text(tree, name, MAX_BYTES).splitlines()
    if len(lines) > MAX_OBJECTS:
        raise DatasetError(
            "its label {name} has {n:,} lines, and no image has that many objects (up to "
            "{most:,} are read): check that it belongs to this image",
            name=name,
            n=len(lines),
            most=MAX_OBJECTS,
        )
    return lines


def _reason(values: list[str]) -> str | None:
    """What is wrong with a line, in words that say what to look for; None if its form is right."""
    if len(values) < 5:
        return msg(
            "it has {n} of the 5 values (class, centre x and y, width, height)", n=len(values)
        )
    return no_number(values)


def find_yolo(tree: FileTree, index: ImageIndex) -> YoloReader | None:
    """YOLO labels of a tree, or None if there is no text file that could be one."""
    texts = [name for name in tree.names if name.lower().endswith(".txt") and not is_list(name)]
    files, problems = _pair(index, texts)
    notes: list[str] = []
    configs = read_configs(tree, notes)
    config = configs[0] if configs else {}
    parts = splits(tree, config, index, notes)
    orphans = [
        Problem(file=name, what=what) for name, what in problems if _looks_like_labels(tree, name)
    ]
    files = {image: name for image, name in files.items() if _may_be_labels(tree, name)}
    if not files and not orphans:
        return None
    reader = YoloReader(tree=tree, files=files, pose_values=pose_values(config))
    reader.unsure = _shared(files)
    reader.names = class_names(tree, configs, files.values(), notes)
    reader.unsure |= _doubly_numbered(reader, other_numbers(tree, configs, reader.names))
    wrong = miscounted(configs, reader.names)
    reader.unsure |= {i: wrong[at] for i, f in files.items() if (at := reader.named_in(f)) in wrong}
    for listed in reader.names.values():
        if twice := sorted({n for n in listed if n and listed.count(n) > 1}):
            notes.append(
                msg(
                    "Several class numbers have one name, and are one class: {twice}.",
                    twice=", ".join(twice),
                )
            )
    reader.classes = list(dict.fromkeys(n for names in reader.names.values() for n in names if n))
    reader.orphans, reader.notes, reader.splits = orphans, notes, parts
    reader.used = {*files.values(), *(problem.file for problem in orphans)}
    reader.drawn = config.get("origin") == DRAWN
    return reader


def _doubly_numbered(reader: YoloReader, differing: dict[str, tuple[str, str]]) -> dict[str, str]:
    """Images whose label may be numbered by either of two files -> why they are left out."""
    return {
        image: msg(
            "{one} and {other} number the same classes differently: left out, since it is not sure "
            "which numbers its label has; keep one of them",
            one=differing[folder][0],
            other=differing[folder][1],
        )
        for image, file in reader.files.items()
        if (folder := reader.named_in(file)) in differing
    }


def _pair(index: ImageIndex, texts: list[str]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """image -> label file, and (text file, why it belongs to no image)."""
    there: dict[str, list[str]] = defaultdict(list)
    for name in texts:
        there[plain(name)].append(name)
    pairs = {}
    for image in index.images:
        path = PurePosixPath(image)
        places = [str(path.with_suffix(".txt"))]
        for i in reversed(range(len(path.parts) - 1)):
            if path.parts[i].lower() in ("images", "image", "imgs", "img"):
                parts = (*path.parts[:i], "labels", *path.parts[i + 1 :])
                places.insert(0, str(PurePosixPath(*parts).with_suffix(".txt")))
                break
        found = next((f for place in places if (f := _at(place, there))), None)
        if found:
            pairs[image] = found
    used = set(pairs.values())
    rest = index.pair({t: [PurePosixPath(t).stem] for t in texts if t not in used})
    for image, name in list(rest.files.items()):
        if image in pairs:
            rest.second[name] = image
        else:
            pairs[image] = name
    return pairs, rest._replace(files=pairs).problems()


def _shared(files: dict[str, str]) -> dict[str, str]:
    """Images of one stem, such as a.tif and a.jpg, whose label is one file: whose is not sure."""
    images: dict[str, list[str]] = defaultdict(list)
    for image, name in files.items():
        images[name].append(image)
    return {
        image: msg(
            "its label {name} is also that of {other}: left out; keep one image for each label",
            name=name,
            other=next(i for i in there if i != image),
        )
        for name, there in images.items()
        if len(there) > 1
        for image in there
    }


def _at(place: str, there: dict[str, list[str]]) -> str | None:
    """The file at a path, written so or, if there is only one, with other cases or accents."""
    names = there.get(plain(place), [])
    return place if place in names else names[0] if len(names) == 1 else None


def _first_lines(tree: FileTree, name: str) -> list[str] | None:
    if tree.size(name) > 2 * MAX_BYTES:
        return None
    try:
        start = read_text(tree, name)[:_LOOKED_AT]
        return [line for line in start.splitlines() if line.strip()][:5]
    except DatasetError:
        return None


def _may_be_labels(tree: FileTree, name: str) -> bool:
    """A paired text file is a label unless it is plainly prose; what is wrong is named later."""
    lines = _first_lines(tree, name)
    return not lines or any(line.strip()[0].isdigit() or _is_named(line) for line in lines)


def _is_named(line: str) -> bool:
    """A name or a negative number, and four numbers."""
    values = line.split()
    return len(values) >= 5 and no_number(values[-4:]) is None


def _looks_like_labels(tree: FileTree, name: str) -> bool:
    """An unpaired text file counts as a lost label only if its lines are YOLO lines."""
    lines = _first_lines(tree, name)
    return bool(lines) and all(_LINE.fullmatch(line) for line in lines or [])
