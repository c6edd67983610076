"""Pascal VOC: one xml an image; parts from ImageSets/Main."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from xml.etree import ElementTree

import numpy as np

from msip_core.bounded import UnreadableError, load_xml
from msip_core.data.archive import FileTree
from msip_core.data.labels import (
    ImageIndex,
    ImageLabels,
    LabelledObject,
    read_text,
    split_of_path,
)
from msip_core.data.manifest import Problem, SplitName
from msip_core.errors import DatasetError


@dataclass
class VocReader:
    """See `labels.LabelReader`. An xml without objects is background."""

    tree: FileTree
    files: dict[str, str]
    classes: list[str] = field(default_factory=list)
    format: str = "Pascal VOC"
    orphans: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    splits: dict[str, SplitName] = field(default_factory=dict)
    drawn: bool = False

    @property
    def labelled(self) -> set[str]:
        return set(self.files)

    def read(self, image: str, width: float, height: float) -> ImageLabels:
        labels = ImageLabels()
        root = _parse(self.tree, self.files[image])
        for number, element in enumerate(root.findall("object"), 1):
            try:
                labels.objects.append(_object(element))
            # What supervision and NumPy raise on texts of any kind.
            except (ValueError, LookupError, TypeError, ArithmeticError, AttributeError) as error:
                labels.problems.append(f"object {number} left out: {error}")
        return labels


def _object(element: ElementTree.Element) -> LabelledObject:
    """One <object>; supervision turns VOC's 1-based inclusive pixels into corners."""
    from supervision.dataset.formats.pascal_voc import detections_from_xml_obj, parse_polygon_points

    polygons = [parse_polygon_points(p).astype(np.float64) - 1 for p in element.findall("polygon")]
    holder = ElementTree.Element("annotation")
    holder.append(element)
    found, names = detections_from_xml_obj(holder, [], (1, 1))
    if not np.isfinite(found.xyxy).all():
        raise ValueError("its box is not four finite numbers")
    x1, y1, x2, y2 = (float(value) for value in found.xyxy[0])
    return LabelledObject(names[0], (x1, y1, x2, y2), max(polygons, key=len) if polygons else None)


def find_voc(tree: FileTree, index: ImageIndex) -> VocReader | None:
    """VOC labels of a tree, or None."""
    reader = VocReader(tree, {})
    for name in tree.names:
        if not name.lower().endswith(".xml"):
            continue
        try:
            root = _parse(tree, name)
        except DatasetError as error:
            reader.orphans.append(Problem(file=name, what=error.message))
            continue
        if root.tag != "annotation":
            continue
        image = _image_of(root, name, index)
        if image is None:
            reader.orphans.append(Problem(file=name, what="label without an image of that name"))
        elif image in reader.files:
            what = f"second label of {image}; {reader.files[image]} was taken"
            reader.orphans.append(Problem(file=name, what=what))
        else:
            reader.files[image] = name
    if not reader.files and not reader.orphans:
        return None
    reader.splits = _splits(tree, index, reader.notes)
    return reader


def _image_of(root: ElementTree.Element, name: str, index: ImageIndex) -> str | None:
    """The image by the label's own file name, else by <filename> (programs rename files)."""
    by_stem = index.find(PurePosixPath(name).stem, name)
    return by_stem or index.find(root.findtext("filename") or "", name)


def _parse(tree: FileTree, name: str) -> ElementTree.Element:
    try:
        return load_xml(read_text(tree, name))
    except UnreadableError as error:
        raise DatasetError(f"is not readable XML ({error}); left out") from error


def _splits(tree: FileTree, index: ImageIndex, notes: list[str]) -> dict[str, SplitName]:
    splits: dict[str, SplitName] = {}
    for name in tree.names:
        path = PurePosixPath(name)
        part = split_of_path(path.name)
        if path.suffix == ".txt" and part and "ImageSets" in path.parts and "_" not in path.stem:
            try:
                listed = read_text(tree, name).split()
            except DatasetError as error:
                notes.append(f"The list {name} could not be read ({error}).")
                continue
            for line in listed:
                image = index.find(line, name)
                if image:
                    splits.setdefault(image, part)
    for image in index.images:
        part = split_of_path(str(PurePosixPath(image).parent))
        if part:
            splits.setdefault(image, part)
    return splits
