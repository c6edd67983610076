"""YOLO text labels: boxes, segmentation polygons, class names from data.yaml or a list.

A label lies where Ultralytics looks (`images` -> `labels`, same stem), beside its image, or
anywhere under a stem that occurs once or whose folders tell which is meant.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msip_core.bounded import load_yaml
from msip_core.data.archive import FileTree
from msip_core.data.labels import (
    ImageIndex,
    ImageLabels,
    LabelledObject,
    no_number,
    read_text,
    split_of_path,
)
from msip_core.data.manifest import Problem, SplitName
from msip_core.data.references import plain
from msip_core.errors import DatasetError, InputError

_LISTS = (
    "classes.txt",
    "obj.names",
    "names.txt",
    "labels.txt",
    "_darknet.labels",
    "predefined_classes.txt",
)
# Bounds the time that one label file takes; dense fields have some thousands.
MAX_OBJECTS = 20_000
MAX_BYTES = 32 * 1024**2
_LOOKED_AT = 1_000_000  # characters that tell whether a text is a label
DRAWN = "drawn by computer"
# Beyond this multiple of the image a coordinate is no fraction of it.
_FAR_OUTSIDE = 10
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+")
_NUMBERED = re.compile(r"(\d+)\s*[\s:,;=]\s*(\S.*)")
_LINE = re.compile(r"\s*\d+(?:\.0*)?(?:e[+-]?0+)?(?:\s+[-+]?[\d.]+(?:e[-+]?\d+)?){4,}\s*", re.I)


@dataclass
class YoloReader:
    """See `labels.LabelReader`.

    Attributes:
        names: how the classes are numbered, by the folder of the list that says so; the one of
            data.yaml is under "" and holds for all. Empty if nothing names them.
    """

    tree: FileTree
    files: dict[str, str]
    classes: list[str]
    names: dict[str, list[str]] = field(default_factory=dict)
    pose_values: int = 0
    format: str = "YOLO"
    orphans: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    splits: dict[str, SplitName] = field(default_factory=dict)
    drawn: bool = False

    @property
    def labelled(self) -> set[str]:
        return set(self.files)

    def read(self, image: str) -> ImageLabels:
        file = self.files[image]
        names = self._names_for(file)
        lines = [_values(line, names) for line in _lines_of(self.tree, file)]
        if self.pose_values:
            lines = [v[:5] if len(v) == 5 + self.pose_values else v for v in lines]
        large = [_is_large(values) for values in lines if values and _reason(values) is None]
        labels = ImageLabels(unit="yolo_pixels" if large and all(large) else "fractions")
        try:
            labels.objects = _objects([v for v in lines if v], names, labels.unit)
        except (ValueError, ArithmeticError):  # look at each line alone: one bad line costs one box
            for number, values in enumerate(lines, 1):
                try:
                    labels.objects += _objects([values] if values else [], names, labels.unit)
                except (ValueError, ArithmeticError) as error:
                    reason = _reason(values) or str(error)
                    labels.problems.append(f"label line {number} left out: {reason}")
        return labels

    def _names_for(self, file: str) -> list[str]:
        """The class names that hold for a label file: those of the list nearest above it."""
        for folder in ("", *(str(parent) for parent in PurePosixPath(file).parents)):
            if folder in self.names:
                return self.names[folder]
        return next(iter(self.names.values()), [])


def _objects(lines: list[list[str]], names: list[str], unit: str) -> list[LabelledObject]:
    from supervision.dataset.formats.yolo import yolo_annotations_to_detections

    texts = [" ".join(values) for values in lines]
    found = yolo_annotations_to_detections(texts, (1, 1), with_masks=False)
    boxes = found.xyxy.astype(np.float64)
    if not np.isfinite(boxes).all():
        raise ValueError("its box is not four finite numbers")
    objects = []
    for values, box in zip(lines, boxes):
        if unit == "fractions" and _is_large(values):
            raise ValueError("coordinates are not fractions of the image")
        x1, y1, x2, y2 = box.tolist()
        outline = _outline(values) if len(values) > 6 else None
        objects.append(LabelledObject(_name(values[0], names), (x1, y1, x2, y2), outline))
    return objects


def _name(number: str, names: list[str]) -> str:
    index = int(float(number))
    if index < 0 or (names and (index >= len(names) or not names[index])):
        there = f"; the names are numbered 0 to {len(names) - 1}" if names else ""
        raise ValueError(f"class number {index} has no name{there}")
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
            f"its label {name} has {len(lines):,} lines, and no image has that many objects (up to "
            f"{MAX_OBJECTS:,} are read): check that it belongs to this image"
        )
    return lines


def _reason(values: list[str]) -> str | None:
    """What is wrong with a line, in words that say what to look for; None if its form is right."""
    if len(values) < 5:
        return f"it has {len(values)} of the 5 values (class, centre x and y, width, height)"
    return no_number(values)


def _outline(values: list[str]) -> NDArray[np.float64]:
    numbers = [float(value) for value in values[1:]]
    return np.array(numbers[: len(numbers) // 2 * 2], dtype=np.float64).reshape(-1, 2)


def find_yolo(tree: FileTree, index: ImageIndex) -> YoloReader | None:
    """YOLO labels of a tree, or None if there is no text file that could be one."""
    texts = [
        name
        for name in tree.names
        if name.lower().endswith(".txt") and PurePosixPath(name).name.lower() not in _LISTS
    ]
    files, problems = _pair(index, texts)
    notes: list[str] = []
    config = _read_config(tree, notes)
    splits = _splits(tree, config, index, notes)
    orphans = [
        Problem(file=name, what=what) for name, what in problems if _looks_like_labels(tree, name)
    ]
    files = {image: name for image, name in files.items() if _may_be_labels(tree, name)}
    if not files and not orphans:
        return None
    reader = YoloReader(tree, files, [], pose_values=_pose_values(config))
    reader.names = _class_names(tree, config, notes)
    reader.classes = list(dict.fromkeys(n for names in reader.names.values() for n in names if n))
    reader.orphans, reader.notes, reader.splits = orphans, notes, splits
    reader.used = {*files.values(), *(problem.file for problem in orphans)}
    reader.drawn = config.get("origin") == DRAWN
    return reader


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


# --- data.yaml ----------------------------------------------------------------


def _read_config(tree: FileTree, notes: list[str]) -> dict[str, Any]:
    """The first YAML with class names, nearest to the top; {} if there is none."""
    names = [n for n in tree.names if n.lower().endswith((".yaml", ".yml"))]
    for name in sorted(names, key=lambda n: (n.count("/"), n)):
        try:
            # As text: a class may be called `no`, and an odd value elsewhere costs no names.
            config = load_yaml(read_text(tree, name), as_text=True)
        except InputError as error:
            notes.append(f"{name} could not be read ({error}).")
            continue
        if isinstance(config, dict) and ("names" in config or "nc" in config):
            config["__folder__"] = str(PurePosixPath(name).parent)
            return config
    return {}


def _class_names(tree: FileTree, config: dict[str, Any], notes: list[str]) -> dict[str, list[str]]:
    """Folder of a list -> names by number; see `YoloReader.names`."""
    if names := _names_in_config(config.get("names"), notes):
        return {"": names}
    lists: dict[str, list[str]] = {}
    for name in sorted(tree.names, key=lambda n: (n.count("/"), n)):
        if PurePosixPath(name).name.lower() in _LISTS:
            try:
                lines = [line.strip() for line in read_text(tree, name).splitlines()]
            except DatasetError as error:
                notes.append(f"The class names in {name} could not be read ({error}).")
                continue
            lists.setdefault(str(PurePosixPath(name).parent), _without_numbers(lines))
    lists = {folder: names for folder, names in lists.items() if names}
    if len({tuple(names) for names in lists.values()}) > 1:
        notes.append(
            "The lists of class names in several folders differ: each holds for the labels beside "
            f"and below it ({', '.join(list(lists)[:5])})."
        )
    if not lists:
        notes.append(
            "No data.yaml or classes.txt names the classes: they are called class_0, class_1, ...; "
            "give them names in the class map."
        )
    return lists


def _without_numbers(lines: list[str]) -> list[str]:
    """`["0 crypt", "1 cyst"]` -> `["crypt", "cyst"]`; other lists as they are, without gaps."""
    lines = [line for line in lines if line]
    found = [match for line in lines if (match := _NUMBERED.fullmatch(line))]
    if found and [int(m[1]) for m in found] == list(range(len(lines))):
        return [m[2] for m in found]
    return lines


def _names_in_config(names: Any, notes: list[str]) -> list[str]:
    """`[a, b]`, `{0: a, 1: b}` or `{a: 0, b: 1}`; [] for anything else. "" is no name."""
    if isinstance(names, list):
        return [n.strip() for n in names] if all(isinstance(name, str) for name in names) else []
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        return []
    if not any(key.isdecimal() for key in names) and all(v.isdecimal() for v in names.values()):
        names = {number: name for name, number in names.items()}
    # Digits of other scripts count as digits for str.isdigit, and int() takes some of them.
    numbered = {int(key): name for key, name in names.items() if re.fullmatch("[0-9]{1,5}", key)}
    if odd := [key for key in names if not re.fullmatch("[0-9]{1,5}", key)]:
        notes.append(
            f"The class numbers of data.yaml are whole numbers from 0 to 99999; these are not, and "
            f"were left out: {', '.join(key[:40] for key in odd[:5])}."
        )
    return [numbered.get(i, "").strip() for i in range(max(numbered, default=-1) + 1)]


def _pose_values(config: dict[str, Any]) -> int:
    shape = config.get("kpt_shape")
    if not isinstance(shape, list) or len(shape) != 2:
        return 0
    if not all(isinstance(n, str) and re.fullmatch("[0-9]{1,4}", n) for n in shape):
        return 0
    return int(shape[0]) * int(shape[1])


def _splits(
    tree: FileTree, config: dict[str, Any], index: ImageIndex, notes: list[str]
) -> dict[str, SplitName]:
    """The part of each image, by data.yaml's own folders and lists, else by folder names."""
    splits: dict[str, SplitName] = {}
    config = {key: value for key, value in config.items() if value not in ("", "~", "null")}
    folder = str(config.get("__folder__", "."))
    base = str(config.get("path") or "")
    keys: tuple[tuple[str, SplitName], ...] = (
        ("train", "train"), ("val", "val"), ("validation", "val"), ("test", "test"),
    )  # fmt: skip
    for key, split in keys:
        places = config.get(key) or []
        for place in [places] if isinstance(places, str) else dict.fromkeys(map(str, places)):
            # Roboflow writes "../train/images" where it means "train/images".
            for top in (folder, posixpath.join(folder, base)):
                path = posixpath.normpath(posixpath.join(top, str(place).lstrip("/")))
                path = re.sub(r"^(\.\./)+", "", path)
                for image in _images_at(tree, path, index, notes):
                    splits.setdefault(image, split)
    for image in index.images:
        guess = split_of_path(str(PurePosixPath(image).parent))
        if image not in splits and guess:
            splits[image] = guess
    return splits


def _images_at(tree: FileTree, path: str, index: ImageIndex, notes: list[str]) -> list[str]:
    if path.endswith(".txt"):
        if path not in tree.names:
            return []
        try:
            lines = [line.strip() for line in read_text(tree, path).splitlines() if line.strip()]
        except DatasetError as error:
            notes.append(f"The list {path} could not be read ({error}).")
            return []
        return [image for line in lines if (image := index.find(line, path))]
    prefix = path.rstrip("/") + "/"
    return [image for image in index.images if image.startswith(prefix)]
