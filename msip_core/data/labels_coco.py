"""COCO json: one or several files (one a part), boxes and polygons."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msip_core.bounded import load_json
from msip_core.data.archive import FileTree
from msip_core.data.labels import (
    ImageIndex,
    ImageLabels,
    LabelledObject,
    read_text,
    split_of_path,
)
from msip_core.data.manifest import Problem, SplitName
from msip_core.data.outlines import in_mask_folder
from msip_core.errors import InputError

# The whole file is held in memory, at about ten times its size.
MAX_BYTES = 64 * 1024**2


@dataclass
class CocoReader:
    """See `labels.LabelReader`. An image that is listed without annotations is background."""

    annotations: dict[str, list[tuple[str, dict[str, Any]]]]
    classes: list[str]
    format: str = "COCO"
    orphans: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    splits: dict[str, SplitName] = field(default_factory=dict)
    drawn: bool = False

    @property
    def labelled(self) -> set[str]:
        return set(self.annotations)

    def read(self, image: str, width: float, height: float) -> ImageLabels:
        labels = ImageLabels()
        for name, annotation in self.annotations[image]:
            try:
                labels.objects.append(_object(name, annotation))
            # What supervision and NumPy raise on values of any kind.
            except (ValueError, LookupError, TypeError, ArithmeticError, AttributeError) as error:
                number = annotation.get("id", "?")
                labels.problems.append(f"annotation {number} left out: {_reason(error)}")
        return labels


def _reason(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error)


def _object(name: str, annotation: dict[str, Any]) -> LabelledObject:
    from supervision.dataset.formats.coco import coco_annotations_to_detections

    if annotation.get("iscrowd"):
        raise ValueError("it marks a crowd, not one object")
    outline = _outline(annotation.get("segmentation"))
    if not annotation.get("bbox") and outline is not None:
        low, high = outline.min(axis=0), outline.max(axis=0)
        return LabelledObject(name, (*low.tolist(), *high.tolist()), outline)
    found = coco_annotations_to_detections([annotation], (1, 1), False, use_iscrowd=False)
    if not np.isfinite(found.xyxy).all():
        raise ValueError("its box is not four finite numbers")
    x1, y1, x2, y2 = (float(value) for value in found.xyxy[0])
    return LabelledObject(name, (x1, y1, x2, y2), outline)


def _outline(segmentation: Any) -> NDArray[np.float64] | None:
    """The largest polygon of an annotation; run-length masks give none."""
    if not isinstance(segmentation, list) or not segmentation:
        return None
    parts = segmentation if isinstance(segmentation[0], list) else [segmentation]
    polygons = [np.array(p[: len(p) // 2 * 2], dtype=np.float64).reshape(-1, 2) for p in parts]
    polygons = [p for p in polygons if len(p) >= 3]
    return max(polygons, key=_area) if polygons else None


def _area(polygon: NDArray[np.float64]) -> float:
    x, y = polygon.T
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)


def find_coco(tree: FileTree, index: ImageIndex) -> CocoReader | None:
    """All COCO files of a tree together, or None."""
    reader = CocoReader(defaultdict(list), [])
    found = False
    for name in tree.names:
        if name.lower().endswith(".json") and not in_mask_folder(name):
            found = _add(reader, tree, name, index) or found
    reader.annotations = dict(reader.annotations)
    return reader if found else None


def _add(reader: CocoReader, tree: FileTree, name: str, index: ImageIndex) -> bool:
    if tree.size(name) > MAX_BYTES:
        what = f"is larger than {MAX_BYTES // 1024**2} MB: export the labels in several files"
        reader.orphans.append(Problem(file=name, what=what))
        return False
    try:
        value = load_json(read_text(tree, name))
    except InputError as error:
        reader.orphans.append(Problem(file=name, what=f"is not readable JSON ({error})"))
        return False
    if not _is_coco(value):
        return False
    categories = {
        c["id"]: str(c["name"])
        for c in _entries(reader, name, value, "categories")
        if _is_id(c.get("id")) and "name" in c
    }
    listed = set(reader.classes)
    for category in sorted(categories, key=_order_of_ids):
        if categories[category] not in listed:
            listed.add(categories[category])
            reader.classes.append(categories[category])
    images: dict[Any, str] = {}
    split = split_of_path(name)
    for entry in _entries(reader, name, value, "images"):
        reference = str(entry.get("file_name", ""))
        if not _is_id(entry.get("id")):
            what = f"lists '{reference}' without an id that is a number or a text: left out"
            reader.orphans.append(Problem(file=name, what=what))
            continue
        image = index.find(reference, name)
        if image is None:
            what = f"lists '{reference}', which is not there"
            reader.orphans.append(Problem(file=name, what=what))
            continue
        images[entry.get("id")] = image
        _ = reader.annotations[image]  # listed, even if empty
        part = split_of_path(str(image).rpartition("/")[0]) or split
        if part:
            reader.splits.setdefault(image, part)
    annotations = _entries(reader, name, value, "annotations")
    _distribute(reader, name, annotations, images, categories)
    return True


def _distribute(
    reader: CocoReader,
    name: str,
    annotations: list[dict[str, Any]],
    images: dict[Any, str],
    categories: dict[Any, str],
) -> None:
    lost = 0
    for annotation in annotations:
        number = annotation.get("image_id")
        image = images.get(number) if _is_id(number) else None
        if image is None:
            lost += 1
            continue
        category = annotation.get("category_id")
        if not _is_id(category):
            category = "unknown"
        reader.annotations[image].append(
            (categories.get(category, f"class_{category}"), annotation)
        )
    if lost:
        what = f"annotations of images that are not there: {lost}"
        reader.orphans.append(Problem(file=name, what=what))


def _is_coco(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(key), list) for key in ("images", "annotations", "categories")
    )


def _entries(
    reader: CocoReader, name: str, value: dict[str, Any], key: str
) -> list[dict[str, Any]]:
    """The entries of a list that are objects; how many others there are is named."""
    found = [entry for entry in value[key] if isinstance(entry, dict)]
    if odd := len(value[key]) - len(found):
        reader.orphans.append(
            Problem(file=name, what=f"entries of '{key}' that are no objects: {odd}")
        )
    return found


def _is_id(value: Any) -> bool:
    """Ids are numbers or texts; others cannot be looked up."""
    return isinstance(value, int | float | str) and not isinstance(value, bool)


def _order_of_ids(value: float | str) -> tuple[bool, float, str]:
    """Numbers first, by size; then texts."""
    is_text = isinstance(value, str)
    return (is_text, 0.0, str(value)) if isinstance(value, str) else (is_text, value, "")
