"""YOLO text labels: boxes, segmentation polygons, class names from data.yaml or a list.

A label lies where Ultralytics looks (`images` -> `labels`, same stem), beside its image, or
anywhere under a stem that occurs once.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

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
from msip_core.errors import DatasetError

_LISTS = (
    "classes.txt",
    "obj.names",
    "names.txt",
    "labels.txt",
    "_darknet.labels",
    "predefined_classes.txt",
)
DRAWN = "drawn by computer"
_LINE = re.compile(r"\s*\d+(?:\.0*)?(?:e[+-]?0+)?(?:\s+[-+]?[\d.]+(?:e[-+]?\d+)?){4,}\s*", re.I)


@dataclass
class YoloReader:
    """See `labels.LabelReader`."""

    tree: FileTree
    files: dict[str, str]
    classes: list[str]
    pose_values: int = 0
    format: str = "YOLO"
    orphans: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    splits: dict[str, SplitName] = field(default_factory=dict)
    drawn: bool = False

    @property
    def labelled(self) -> set[str]:
        return set(self.files)

    def read(self, image: str, width: float, height: float) -> ImageLabels:
        lines = [line.split() for line in read_text(self.tree, self.files[image]).splitlines()]
        if self.pose_values:
            lines = [v[:5] if len(v) == 5 + self.pose_values else v for v in lines]
        labels = ImageLabels()
        try:
            labels.objects = self._objects([values for values in lines if values], width, height)
        except ValueError:  # look at each line alone: one bad line costs one box
            for number, values in enumerate(lines, 1):
                try:
                    labels.objects += self._objects([values] if values else [], width, height)
                except ValueError as error:
                    reason = _reason(values) or str(error)
                    labels.problems.append(f"label line {number} left out: {reason}")
        return labels

    def _objects(self, lines: list[list[str]], width: float, height: float) -> list[LabelledObject]:
        from supervision.dataset.formats.yolo import yolo_annotations_to_detections

        texts = [" ".join(values) for values in lines]
        found = yolo_annotations_to_detections(texts, (1, 1), with_masks=False)
        fractions = found.xyxy.astype(np.float64)
        if not np.isfinite(fractions).all() or np.abs(fractions).max(initial=0) > 10:
            raise ValueError("coordinates are not fractions of the image")
        scale = np.array([width, height])
        objects = []
        for values, box in zip(lines, fractions * np.tile(scale, 2)):
            x1, y1, x2, y2 = box.tolist()
            outline = _outline(values) * scale if len(values) > 6 else None
            name = self._name(int(float(values[0])))
            objects.append(LabelledObject(name, (x1, y1, x2, y2), outline))
        return objects

    def _name(self, index: int) -> str:
        return self.classes[index] if 0 <= index < len(self.classes) else f"class_{index}"


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
    files, lost = _pair(index, texts)
    notes: list[str] = []
    config = _read_config(tree, notes)
    splits = _splits(tree, config, index)
    orphans = [
        Problem(file=name, what="label without an image of that name")
        for name in lost
        if _looks_like_labels(tree, name)
    ]
    if not files and not orphans:
        return None
    files = {image: name for image, name in files.items() if _may_be_labels(tree, name)}
    reader = YoloReader(tree, files, _class_names(tree, config, notes), _pose_values(config))
    reader.orphans, reader.notes, reader.splits = orphans, notes, splits
    reader.drawn = config.get("origin") == DRAWN
    return reader


def _pair(index: ImageIndex, texts: list[str]) -> tuple[dict[str, str], list[str]]:
    """image -> label file, and the text files that belong to no image."""
    there = set(texts)
    stems: dict[str, list[str]] = defaultdict(list)
    for name in texts:
        stems[PurePosixPath(name).stem].append(name)
    pairs = {}
    for image in index.images:
        path = PurePosixPath(image)
        places = [str(path.with_suffix(".txt"))]
        for i in reversed(range(len(path.parts) - 1)):
            if path.parts[i].lower() in ("images", "image", "imgs", "img"):
                parts = (*path.parts[:i], "labels", *path.parts[i + 1 :])
                places.insert(0, str(PurePosixPath(*parts).with_suffix(".txt")))
                break
        found = next((place for place in places if place in there), None)
        same = stems.get(path.stem, [])
        if found is None and len(same) == 1 and index.find(path.stem) == image:
            found = same[0]
        if found:
            pairs[image] = found
    used = set(pairs.values())
    return pairs, [name for name in texts if name not in used]


def _first_lines(tree: FileTree, name: str) -> list[str] | None:
    if tree.size(name) > 64 * 1024**2:
        return None
    try:
        return [line for line in read_text(tree, name).splitlines() if line.strip()][:5]
    except DatasetError:
        return None


def _may_be_labels(tree: FileTree, name: str) -> bool:
    """A paired text file is a label unless it is plainly prose; bad lines are named later."""
    lines = _first_lines(tree, name)
    return lines is not None and (not lines or any(line.strip()[0].isdigit() for line in lines))


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
            config = yaml.safe_load(read_text(tree, name))
        except (yaml.YAMLError, DatasetError) as error:
            notes.append(f"{name} could not be read ({str(error).splitlines()[0]}).")
            continue
        if isinstance(config, dict) and ("names" in config or "nc" in config):
            config["__folder__"] = str(PurePosixPath(name).parent)
            return config
    return {}


def _class_names(tree: FileTree, config: dict[str, Any], notes: list[str]) -> list[str]:
    names = config.get("names")
    values = list(names.values()) if isinstance(names, dict) else names
    # Only plain names: nested aliases of a hostile YAML grow without bound when printed.
    if isinstance(values, list) and not all(isinstance(v, (str, int, float)) for v in values):
        names = None
    if isinstance(names, list):
        return [str(name) for name in names]
    if isinstance(names, dict) and all(str(key).isdigit() for key in names):
        numbered = {int(key): str(name) for key, name in names.items()}
        return [numbered.get(i, f"class_{i}") for i in range(max(numbered, default=-1) + 1)]
    for name in sorted(tree.names, key=lambda n: (n.count("/"), n)):
        if PurePosixPath(name).name.lower() in _LISTS:
            lines = [line.strip() for line in read_text(tree, name).splitlines()]
            return [line for line in lines if line]
    notes.append(
        "No data.yaml or classes.txt names the classes: they are called class_0, class_1, ...; "
        "give them names in the class map."
    )
    return []


def _pose_values(config: dict[str, Any]) -> int:
    shape = config.get("kpt_shape")
    numbers = isinstance(shape, list) and len(shape) == 2 and all(isinstance(n, int) for n in shape)
    return shape[0] * shape[1] if numbers and isinstance(shape, list) else 0


def _splits(tree: FileTree, config: dict[str, Any], index: ImageIndex) -> dict[str, SplitName]:
    """The part of each image, by data.yaml's own folders and lists, else by folder names."""
    splits: dict[str, SplitName] = {}
    folder = str(config.get("__folder__", "."))
    base = str(config.get("path") or "")
    keys: tuple[tuple[str, SplitName], ...] = (
        ("train", "train"), ("val", "val"), ("validation", "val"), ("test", "test"),
    )  # fmt: skip
    for key, split in keys:
        places = config.get(key) or []
        for place in [places] if isinstance(places, str) else places:
            # Roboflow writes "../train/images" where it means "train/images".
            for top in (folder, posixpath.join(folder, base)):
                path = posixpath.normpath(posixpath.join(top, str(place).lstrip("/")))
                path = re.sub(r"^(\.\./)+", "", path)
                for image in _images_at(tree, path, index):
                    splits.setdefault(image, split)
    for image in index.images:
        guess = split_of_path(str(PurePosixPath(image).parent))
        if image not in splits and guess:
            splits[image] = guess
    return splits


def _images_at(tree: FileTree, path: str, index: ImageIndex) -> list[str]:
    if path.endswith(".txt"):
        if path not in tree.names:
            return []
        lines = [line.strip() for line in read_text(tree, path).splitlines() if line.strip()]
        return [image for line in lines if (image := index.find(line, path))]
    prefix = path.rstrip("/") + "/"
    return [image for image in index.images if image.startswith(prefix)]
