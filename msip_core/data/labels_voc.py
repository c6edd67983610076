"""Pascal VOC: one xml an image; parts from ImageSets/Main."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from xml.etree import ElementTree

import numpy as np

from msip_core.bounded import UnreadableError, load_xml
from msip_core.data.archive import FileTree
from msip_core.data.labels import (
    ODD,
    ImageLabels,
    LabelledObject,
    LabelReader,
    place_by_folders,
    read_list,
    read_text,
    size_of,
    split_of_path,
)
from msip_core.data.labels_records import around_turned, polygon, turned
from msip_core.data.manifest import SplitName
from msip_core.data.references import ImageIndex
from msip_core.data.verdicts import check_taken, unsure_kept
from msip_core.errors import DatasetError
from msip_core.messages import msg


@dataclass(kw_only=True)
class VocReader(LabelReader):
    """An xml without objects is background."""

    tree: FileTree
    files: dict[str, str]
    format: str = "Pascal VOC"

    @property
    def labelled(self) -> set[str]:
        return set(self.files)

    def read(self, image: str) -> ImageLabels:
        root = _parse(self.tree, self.files[image])
        size = (root.findtext("size/width"), root.findtext("size/height"))
        labels = ImageLabels(picture=size_of(size), one_based=True)
        unsure = 0
        for number, element in enumerate(root.findall("object"), 1):
            try:
                is_unsure = check_taken(element)
                labels.objects.append(_object(element))
                unsure += is_unsure
            except ODD as error:
                labels.problems.append(
                    msg("object {number} left out: {error}", number=number, error=error)
                )
        labels.notes += unsure_kept(unsure)
        return labels


def _object(element: ElementTree.Element) -> LabelledObject:
    """One <object> with its corners as they are written (see `ImageLabels.one_based`)."""
    from supervision.dataset.formats.pascal_voc import detections_from_xml_obj, parse_polygon_points

    if (turned_box := element.find("robndbox")) is not None and element.find("bndbox") is None:
        return _turned(element, turned_box)
    polygons = [parse_polygon_points(p).astype(np.float64) for p in element.findall("polygon")]
    holder = ElementTree.Element("annotation")
    holder.append(element)
    found, names = detections_from_xml_obj(holder, [], (1, 1))
    if not np.isfinite(found.xyxy).all():
        raise ValueError(msg("its box is not four finite numbers"))
    # supervision shifts the lower corners to count from 0; `fitting` does, if these are pixels.
    x1, y1, x2, y2 = (float(value) for value in found.xyxy[0] + np.array([1, 1, 0, 0]))
    told = {a.findtext("name"): a.findtext("value") for a in element.iterfind(".//attribute")}
    if float(degrees := told.get("rotation") or 0) and not polygons:
        x1, y1, x2, y2 = around_turned((x1, y1, x2, y2), degrees)
    return LabelledObject(names[0], (x1, y1, x2, y2), max(polygons, key=len) if polygons else None)


def _turned(element: ElementTree.Element, box: ElementTree.Element) -> LabelledObject:
    """roLabelImg's turned box, in pixels from 0: centre, sides, and the angle in radians."""
    x, y, w, h, angle = (float(box.findtext(key) or "") for key in ("cx", "cy", "w", "h", "angle"))
    half = np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2
    corners = turned(x, y, half + np.array([x, y]), math.degrees(angle))
    found = polygon(element.findtext("name"), corners, outline=False)
    x1, y1, x2, y2 = found.xyxy
    return replace(found, xyxy=(x1 + 1, y1 + 1, x2, y2))  # as VOC counts


def find_voc(tree: FileTree, index: ImageIndex) -> VocReader | None:
    """VOC labels of a tree, or None."""
    reader = VocReader(tree=tree, files={})
    labels: dict[str, list[str]] = {}
    for name in tree.names:
        if not name.lower().endswith(".xml"):
            continue
        try:
            root = _parse(tree, name)
        except DatasetError as error:
            reader.lose(name, error.message)
            continue
        if root.tag == "annotation":
            # The label's own file name first: programs rename files and leave <filename>.
            labels[name] = [PurePosixPath(name).stem, root.findtext("filename") or ""]
    pairing = index.pair(labels)
    reader.files = pairing.files
    for name, what in pairing.problems():
        reader.lose(name, what)
    reader.used = {*labels, *(problem.file for problem in reader.orphans)}
    if not reader.files and not reader.orphans:
        return None
    reader.splits = _splits(tree, index, reader.notes)
    return reader


def _parse(tree: FileTree, name: str) -> ElementTree.Element:
    try:
        return load_xml(read_text(tree, name))
    except UnreadableError as error:
        raise DatasetError("is not readable XML ({error}); left out", error=error) from error


def _splits(tree: FileTree, index: ImageIndex, notes: list[str]) -> dict[str, SplitName]:
    splits: dict[str, SplitName] = {}
    for name in tree.names:
        path = PurePosixPath(name)
        part = split_of_path(path.name)
        if path.suffix == ".txt" and part and "ImageSets" in path.parts and "_" not in path.stem:
            for line in read_list(tree, name, notes):
                # A list of one class has 1 or -1 behind the name, a name may have blanks in it.
                image = index.find(line, name) or index.find((line.split() or [""])[0], name)
                if image:
                    splits.setdefault(image, part)
    place_by_folders(index.images, splits)
    return splits
