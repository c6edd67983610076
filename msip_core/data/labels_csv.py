"""CSV boxes: one row a box, with or without a header.

Known without a header: `path,x1,y1,x2,y2,class` (keras-retinanet, OrgaQuant); with one, any
order of the columns below, corners or corner with width and height. A row with a path and no
numbers says that the image is empty.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import chain

from msip_core.bounded import UnreadableError, read_csv
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
from msip_core.errors import InputError

_COLUMNS = {
    "image": ("image", "filename", "file", "filepath", "path", "imagepath", "imagename", "img",
              "filenames", "images", "imageid", "imgpath", "externalid"),
    "class": ("class", "label", "classname", "name", "category", "type", "labelname", "classes",
              "object", "objectclass"),
    "x1": ("x1", "xmin", "left", "bboxx1", "minx", "xtopleft"),
    "y1": ("y1", "ymin", "top", "bboxy1", "miny", "ytopleft"),
    "x2": ("x2", "xmax", "right", "bboxx2", "maxx", "xbottomright"),
    "y2": ("y2", "ymax", "bottom", "bboxy2", "maxy", "ybottomright"),
    "x": ("x", "bboxx"), "y": ("y", "bboxy"),
    "width": ("width", "w", "bboxwidth", "bboxw", "boxwidth"),
    "height": ("height", "h", "bboxheight", "bboxh", "boxheight"),
}  # fmt: skip
_BARE = {"image": 0, "x1": 1, "y1": 2, "x2": 3, "y2": 4, "class": 5}
NAMELESS = "object"

Row = tuple[int, str, tuple[str, str, str, str]]


@dataclass
class CsvReader:
    """See `labels.LabelReader`."""

    rows: dict[str, list[Row]]
    classes: list[str] = field(default_factory=list)
    format: str = "CSV"
    orphans: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    splits: dict[str, SplitName] = field(default_factory=dict)
    drawn: bool = False
    sized: bool = False  # third and fourth number are width and height

    @property
    def labelled(self) -> set[str]:
        return set(self.rows)

    def read(self, image: str, width: float, height: float) -> ImageLabels:
        labels = ImageLabels()
        for line, name, texts in self.rows[image]:
            if not any(texts):
                continue  # the image is labelled as empty
            if reason := no_number(texts):
                labels.problems.append(f"row {line} left out: {reason}")
                continue
            x1, y1, x2, y2 = map(float, texts)
            if self.sized:
                x2, y2 = x1 + x2, y1 + y2
            box = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
            labels.objects.append(LabelledObject(name, box))
        return labels


def find_csv(tree: FileTree, index: ImageIndex) -> CsvReader | None:
    """CSV boxes of a tree, or None."""
    reader = CsvReader(defaultdict(list))
    found = False
    for name in tree.names:
        if name.lower().endswith((".csv", ".tsv")):
            try:
                found = _add(reader, read_text(tree, name), name, index) or found
            except InputError as error:
                reader.orphans.append(Problem(file=name, what=f"is not readable ({error})"))
    reader.rows = dict(reader.rows)
    return reader if found else None


def _add(reader: CsvReader, text: str, name: str, index: ImageIndex) -> bool:
    delimiter = max(",;\t", key=text[:10_000].count)
    rows = read_csv(text, delimiter)
    number, first = next(rows, (0, []))
    columns = _columns(first)
    if columns is None:
        return False
    if columns is _BARE:
        rows = chain([(number, first)], rows)
    reader.sized = "width" in columns
    missing: set[str] = set()
    try:
        for line, row in rows:
            reference = _add_row(reader, name, index, columns, (line, row))
            if reference is not None:
                missing.add(reference)
    except UnreadableError as error:  # rows before the fault are good
        reader.orphans.append(Problem(file=name, what=f"was read up to a fault: {error}"))
    reader.orphans += [
        Problem(file=name, what=f"lists '{reference}', which is not there")
        for reference in sorted(missing)
    ]
    return True


def _add_row(
    reader: CsvReader,
    name: str,
    index: ImageIndex,
    columns: dict[str, int],
    numbered: tuple[int, list[str]],
) -> str | None:
    """Take one row in; the reference of its image if there is no such image."""
    line, row = numbered
    cells = [cell.strip() for cell in row] + [""] * (1 + max(columns.values()) - len(row))
    reference = cells[columns["image"]]
    if not reference:
        return None
    image = index.find(reference, name)
    if image is None:
        return reference
    label = cells[columns["class"]] if "class" in columns else ""
    places = ("x", "y", "width", "height") if reader.sized else ("x1", "y1", "x2", "y2")
    x1, y1, x2, y2 = (cells[columns[place]] for place in places)
    reader.rows[image].append((line, label or NAMELESS, (x1, y1, x2, y2)))
    part = split_of_path(image.rpartition("/")[0]) or split_of_path(name)
    if part:
        reader.splits.setdefault(image, part)
    return None


def _columns(first: list[str]) -> dict[str, int] | None:
    """Column number per meaning by the first filled row, or None if these are not boxes."""
    words = ["".join(c for c in cell.lower() if c.isalnum()) for cell in first]
    columns = {
        key: next(words.index(word) for word in known if word in words)
        for key, known in _COLUMNS.items()
        if any(word in words for word in known)
    }
    if "image" in columns and {"x1", "y1", "x2", "y2"} <= set(columns):
        # "width" and "height" beside corners are the image's.
        return {k: v for k, v in columns.items() if k not in ("x", "y", "width", "height")}
    if "image" in columns and {"width", "height"} <= set(columns):
        for letter in "xy":
            place = columns.get(letter, columns.get(f"{letter}1"))
            if place is None:
                return None
            columns[letter] = place
        return {k: v for k, v in columns.items() if k not in ("x1", "y1")}
    return _BARE if len(first) in (5, 6) and _is_bare(first) else None


def _is_bare(row: list[str]) -> bool:
    cells = [cell.strip() for cell in row[1:5]]
    if not any(cells):
        return True
    try:
        [float(cell) for cell in cells]
    except ValueError:
        return False
    return "." in row[0]
