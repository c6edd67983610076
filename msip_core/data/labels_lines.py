"""Text labels other than YOLO's: DOTA's turned boxes, Cellpose's outlines, and lists of one image a
line."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from msip_core.data.archive import FileTree
from msip_core.data.labels import ImageLabels, LabelledObject, no_number, read_text
from msip_core.data.labels_records import (
    Record,
    RecordReader,
    labels_of,
    polygon,
    reader_of,
    rectangle,
)
from msip_core.data.references import ImageIndex
from msip_core.errors import DatasetError
from msip_core.messages import msg

_HEADERS = ("imagesource:", "gsd:")
_FIVE = re.compile(r"-?\d+(?:\.\d+)?(?:,-?\d+(?:\.\d+)?){3},\d+")
_OUTLINES = re.compile(r"(?P<base>.+)_cp_outlines", re.IGNORECASE)
_LISTS = ("_classes.txt", "classes.txt")


def find_lines(tree: FileTree, index: ImageIndex) -> list[RecordReader]:
    """A reader for each of these formats that occurs in a tree."""
    dota: dict[str, list[Record]] = {}
    lists: dict[str, list[Record]] = {}
    outlines: dict[str, list[Record]] = {}
    for name in tree.names:
        if not name.lower().endswith(".txt"):
            continue
        try:
            lines = [line for line in read_text(tree, name).splitlines() if line.strip()]
        except DatasetError:
            continue  # YOLO's reader names what cannot be read
        lines = [line for line in lines if not line.lower().startswith(_HEADERS)]
        if match := _OUTLINES.fullmatch(PurePosixPath(name).stem):
            outlines[name] = [Record([match["base"]], labels_of(lines, _outline))]
        elif lines and _is_dota(lines[0]):
            dota[name] = [Record([], labels_of(lines, _dota), own=True)]
        elif any(_boxes_in(line)[1] for line in lines[:100]):
            lists[name] = _listed(lines, _names_beside(tree, name))
    found = (("DOTA", dota), ("Cellpose", outlines), (msg("YOLO list (Keras, PyTorch)"), lists))
    return [reader_of(label, files, [], index) for label, files in found if files]


# --- DOTA: x1 y1 x2 y2 x3 y3 x4 y4 class difficult ---------------------------------


def _is_dota(line: str) -> bool:
    values = line.split()
    return len(values) >= 9 and no_number(values[:8]) is None and no_number(values[8:9]) is not None


def _dota(line: str) -> LabelledObject:
    """A turned box. A class of several words keeps them; the last value is how difficult it is."""
    if not _is_dota(line):
        raise ValueError(msg("it is not four corners and a class"))
    values = line.split()
    words = values[8:-1] if len(values) > 9 and no_number(values[-1:]) is None else values[8:]
    corners = [(values[i], values[i + 1]) for i in range(0, 8, 2)]
    return polygon(" ".join(words), corners, outline=False)


# --- Cellpose: x1,y1,x2,y2,x3,y3,... a line and object ------------------------------


def _outline(line: str) -> LabelledObject:
    values = line.split(",")
    return polygon(None, list(zip(values[::2], values[1::2], strict=True)))


# --- lists: name.jpg x1,y1,x2,y2,class x1,y1,x2,y2,class ----------------------------


def _boxes_in(line: str) -> tuple[str, list[str]]:
    """The name at the start of a line (it may have blanks), and the boxes behind it."""
    words = line.split(" ")
    first = len(words)
    while first > 1 and (not words[first - 1].strip() or _FIVE.fullmatch(words[first - 1].strip())):
        first -= 1
    name = " ".join(words[:first]).strip()
    is_file = bool(PurePosixPath(name).suffix) and not _FIVE.fullmatch(name)
    return (name, [w.strip() for w in words[first:] if w.strip()]) if is_file else ("", [])


def _listed(lines: list[str], names: list[str]) -> list[Record]:
    def read(five: str) -> LabelledObject:
        *corners, number = five.split(",")
        place = int(number)
        if names and place >= len(names):
            raise ValueError(
                msg(
                    "class number {place} has no name; the names are numbered 0 to {n}",
                    place=place,
                    n=len(names) - 1,
                )
            )
        return rectangle(names[place] if names else f"class_{place}", corners)

    records = []
    for line in lines:
        name, boxes = _boxes_in(line)
        if name:
            labels: ImageLabels = labels_of(boxes, read)
            records.append(Record([name], labels))
    return records


def _names_beside(tree: FileTree, name: str) -> list[str]:
    """The class names in a list beside a label file; [] if there is none."""
    folder = PurePosixPath(name).parent
    there = [str(folder / file) for file in _LISTS if str(folder / file) in tree.names]
    lines = read_text(tree, there[0]).splitlines() if there else []
    return [line.strip() for line in lines if line.strip()]
