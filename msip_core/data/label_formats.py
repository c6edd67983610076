"""Every label format that is read, and which of them a tree of files is labelled in.

A format is added by writing a finder and listing it here, or a parser of one record an image.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import NamedTuple

from msip_core.bounded import load_json, load_xml
from msip_core.data import formats_json, formats_napari, formats_xml
from msip_core.data.archive import FileTree
from msip_core.data.labels import LabelReader
from msip_core.data.labels_coco import find_coco
from msip_core.data.labels_csv import find_csv
from msip_core.data.labels_lines import find_lines
from msip_core.data.labels_masks import MaskReader
from msip_core.data.labels_records import FileKind, find_records, table_of
from msip_core.data.labels_voc import find_voc
from msip_core.data.labels_yolo import find_yolo
from msip_core.data.outlines import MaskIndex, is_image
from msip_core.data.references import ImageIndex
from msip_core.data.verdicts import ASIDE
from msip_core.errors import DatasetError
from msip_core.messages import msg

Finder = Callable[[FileTree, ImageIndex], LabelReader | None]
FINDERS: tuple[Finder, ...] = (find_yolo, find_coco, find_voc, find_csv)
PARSERS: tuple[FileKind, ...] = (
    ((".json", ".geojson"), load_json, formats_json.PARSERS),
    ((".xml",), load_xml, formats_xml.PARSERS),
    ((".csv",), table_of, (*formats_json.TABLES, *formats_napari.TABLES)),
)


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

    Masks count where nothing else has boxes; labels that people put aside do not, as images do not.
    """
    aside = [] if any(map(ASIDE.search, masks.images)) else list(filter(ASIDE.search, tree.names))
    tree = copy(tree)
    tree.names = [name for name in tree.names if name not in set(aside)]
    index = ImageIndex(masks.images)
    readers = [reader for finder in FINDERS if (reader := finder(tree, index)) is not None]
    readers += [*find_records(tree, index, PARSERS), *find_lines(tree, index)]
    used = {name for reader in readers for name in reader.used}
    used |= {problem.file for reader in readers for problem in reader.orphans}
    notes: list[str] = []
    if labels := [name for name in aside if not is_image(name)]:
        used.update(labels)
        notes.append(
            msg(
                "Files whose name or folder says that they were put aside were not read: {n} (the "
                "first is {first}). Rename or move them if they are to be used.",
                n=len(labels),
                first=labels[0],
            )
        )
    readers = [reader for reader in readers if reader.labelled or reader.orphans]
    best = max(readers, key=_images_with_boxes) if len(readers) > 1 else next(iter(readers), None)
    with_boxes = _images_with_boxes(best)[0] if best and (masks.masks or masks.parts) else 0
    if len(masks.masks) + len(masks.parts) > 2 * with_boxes:
        lost = [problem for reader in readers for problem in reader.orphans]
        best = MaskReader(
            tree=tree, files=masks.masks, unsure=masks.ambiguous, parts=masks.parts, orphans=lost
        )
    if best is None:
        return FoundLabels(None, notes, used)
    others = [
        msg("{format} ({n} images)", format=r.format, n=len(r.labelled))
        for r in readers
        if r is not best and r.labelled
    ]
    if best.labelled:  # files that nobody could read are named, whichever format was taken
        best.orphans += [p for r in readers if r is not best and not r.used for p in r.orphans]
    if others:
        notes.append(
            msg(
                "Labels were read as {format}; also found: {others}.",
                format=best.format,
                others=others,
            )
        )
    return FoundLabels(best, notes, used)


def _images_with_boxes(reader: LabelReader) -> tuple[int, int]:
    """How many images a reader finds a box for, then how many it lists at all."""
    found = 0
    for image in reader.labelled:
        try:
            found += bool(reader.read(image).objects)
        except DatasetError:
            continue  # named when the image comes in
    return found, len(reader.labelled)
