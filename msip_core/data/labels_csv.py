"""CSV boxes: one row a box, with or without a header.

Known without a header: `path,x1,y1,x2,y2,class` (keras-retinanet, OrgaQuant); with one, any
order of the columns below, corners or corner with width and height. A row with a path and no
numbers says that the image is empty.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from msip_core.bounded import UnreadableError, read_csv
from msip_core.data.archive import FileTree
from msip_core.data.labels import ImageLabels, LabelledObject, no_number, read_text, split_of_path
from msip_core.data.manifest import Problem, SplitName
from msip_core.data.references import ImageIndex
from msip_core.errors import InputError
from msip_core.messages import msg
from msip_core.spreadsheet import as_typed

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
    "cx": ("xcenter", "xcentre", "centerx", "centrex", "cx", "xc", "bboxxcenter"),
    "cy": ("ycenter", "ycentre", "centery", "centrey", "cy", "yc", "bboxycenter"),
    "picture_width": ("imagewidth", "imgwidth", "imagew", "imgw", "originalwidth"),
    "picture_height": ("imageheight", "imgheight", "imageh", "imgh", "originalheight"),
    "score": ("score", "confidence", "conf", "probability"),
    "width": ("width", "w", "bboxwidth", "bboxw", "boxwidth"),
    "height": ("height", "h", "bboxheight", "bboxh", "boxheight"),
}  # fmt: skip
_BARE = {"image": 0, "x1": 1, "y1": 2, "x2": 3, "y2": 4, "class": 5}
NAMELESS = "object"

_CORNERS, _SIZED, _CENTRED = ("x1", "y1", "x2", "y2"), ("x", "y", "width", "height"), (
    "cx", "cy", "width", "height",
)  # fmt: skip
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
_THOUSANDS = re.compile(r"[-+]?\d{1,3},\d{3}")


@dataclass(frozen=True, slots=True)
class Layout:
    """How one table is written: its delimiter, and the column of each meaning."""

    delimiter: str
    columns: dict[str, int]
    places: tuple[str, str, str, str]
    cells: int = 0  # of the header; 0 if there is none

    def number(self, text: str) -> str:
        """A cell with a decimal point. `40,5` is one where the comma cannot be anything else."""
        if not _DECIMAL_COMMA.fullmatch(text):
            return text
        if self.delimiter == "," and _THOUSANDS.fullmatch(text):
            return text  # 1,234 in quotation marks may be a thousand
        return text.replace(",", ".")


class Row(NamedTuple):
    """One row, as text."""

    line: int
    name: str
    texts: tuple[str, str, str, str]
    picture: tuple[str, str]
    layout: Layout
    score: str = ""
    fault: str = ""
    file: str = ""


@dataclass
class CsvReader:
    """See `labels.LabelReader`."""

    rows: dict[str, list[Row]]
    classes: list[str] = field(default_factory=list)
    format: str = "CSV"
    orphans: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    splits: dict[str, SplitName] = field(default_factory=dict)
    drawn: bool = False

    @property
    def labelled(self) -> set[str]:
        return set(self.rows)

    def read(self, image: str) -> ImageLabels:
        labels = ImageLabels()
        for row in self.rows[image]:
            if row.fault:
                labels.problems.append(
                    msg("row {line} left out: {fault}", line=row.line, fault=row.fault)
                )
                continue
            if not any(row.texts):
                continue  # the image is labelled as empty
            if reason := no_number(row.texts):
                labels.problems.append(
                    msg("row {line} left out: {reason}", line=row.line, reason=reason)
                )
                continue
            box = _corners(row)
            labels.objects.append(LabelledObject(row.name, box, file=row.file))
            labels.scored += bool(row.score)
            labels.picture = labels.picture or _picture(row, box)
        return labels


def _corners(row: Row) -> tuple[float, float, float, float]:
    a, b, c, d = map(float, row.texts)
    if row.layout.places is _SIZED:
        c, d = a + c, b + d
    elif row.layout.places is _CENTRED:
        a, b, c, d = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    return (min(a, c), min(b, d), max(a, c), max(b, d))


def _picture(row: Row, box: tuple[float, float, float, float]) -> tuple[float, float] | None:
    """The size of the image that a row states; None if it does not, or if it is the box's."""
    if no_number(row.picture):
        return None
    width, height = map(float, row.picture)
    if abs(box[2] - box[0] - width) <= 1 and abs(box[3] - box[1] - height) <= 1:
        return None
    return (width, height) if width > 0 and height > 0 else None


def find_csv(tree: FileTree, index: ImageIndex) -> CsvReader | None:
    """CSV boxes of a tree, or None."""
    reader = CsvReader(defaultdict(list))
    for name in tree.names:
        if name.lower().endswith((".csv", ".tsv")):
            try:
                if _add(reader, read_text(tree, name), name, index):
                    reader.used.add(name)
            except InputError as error:
                reader.orphans.append(
                    Problem(file=name, what=msg("is not readable ({error})", error=error))
                )
    reader.rows = dict(reader.rows)
    return reader if reader.used else None


def _add(reader: CsvReader, text: str, name: str, index: ImageIndex) -> bool:
    layout, text = _layout(text)
    if layout is None:
        return False
    rows = read_csv(text, layout.delimiter)
    if layout.columns is not _BARE:
        next(rows)  # the header
    found: dict[str, list[Row]] = defaultdict(list)
    try:
        bare = Layout(layout.delimiter, _BARE, _CORNERS)
        strays = 0
        for line, cells in rows:
            is_stray = layout.cells not in (0, len(cells)) and _is_bare(cells, bare)
            _take(found, bare if is_stray else layout, line, cells)
            strays += is_stray
        if strays:
            reader.notes.append(
                msg(
                    "{name}: {strays} rows do not have as many columns as the header and were read "
                    "as path, x1, y1, x2, y2, class.",
                    name=name,
                    strays=strays,
                )
            )
        if layout.columns is _BARE:
            _check_order(found)
    except UnreadableError as error:  # rows before the fault are good
        reader.orphans.append(
            Problem(file=name, what=msg("was read up to a fault: {error}", error=error))
        )
    images = index.match(found, name)
    for reference, image in images.items():
        reader.rows[image] += [row._replace(file=name) for row in found[reference]]
        part = split_of_path(image.rpartition("/")[0]) or split_of_path(name)
        if part:
            reader.splits.setdefault(image, part)
    reader.orphans += [
        Problem(file=name, what=index.why_not(reference, name))
        for reference in sorted(set(found) - set(images))
    ]
    return True


def _check_order(found: dict[str, list[Row]]) -> None:
    """Rows without a header may be x1, x2, y1, y2: then the first two and the last two of each
    ascend, and as two corners some do not. It is not sure for any of them."""
    rows = [row for rows in found.values() for row in rows if not no_number(row.texts)]
    corners = [tuple(map(float, row.texts)) for row in rows]
    if all(a < b and c < d for a, b, c, d in corners) and any(
        c < a or d < b for a, b, c, d in corners
    ):
        fault = msg(
            "its numbers may be x1, x2, y1, y2, and without a header x1, y1, x2, y2 are read: give "
            "the table a header"
        )
        for reference, there in found.items():
            found[reference] = [row._replace(fault=fault) for row in there]


def _take(found: dict[str, list[Row]], layout: Layout, line: int, row: list[str]) -> None:
    """Add one row to those of the image that it names."""
    columns = layout.columns
    cells = [cell.strip() for cell in row] + [""] * (1 + max(columns.values()) - len(row))
    reference = as_typed(cells[columns["image"]])
    if reference:
        label = as_typed(cells[columns["class"]]) if "class" in columns else ""
        a, b, c, d = (layout.number(cells[columns[place]]) for place in layout.places)
        across, along = (
            layout.number(cells[columns[side]]) if side in columns else ""
            for side in ("picture_width", "picture_height")
        )
        score = cells[columns["score"]] if "score" in columns else ""
        more = [cell for cell in cells[layout.cells :] if cell] if layout.cells else []
        fault = (
            msg(
                "it has {n} cells and the header {cells}: if its numbers have decimal "
                "commas, save the table with semicolons between the cells",
                n=len(row),
                cells=layout.cells,
            )
            if more
            else ""
        )
        found[reference].append(
            Row(line, label or NAMELESS, (a, b, c, d), (across, along), layout, score, fault)
        )


def _layout(text: str) -> tuple[Layout | None, str]:
    """How a table is written, None if it holds no boxes; and the text without Excel's own line."""
    start, _, rest = text.partition("\n")
    told = re.fullmatch(r"\s*\"?sep=(.)\"?\s*", start, re.IGNORECASE)
    if told:
        text = "\n" + rest  # so that lines keep their numbers
    found = []
    for delimiter in told[1] if told else ";\t,|":
        try:
            _, first = next(read_csv(text, delimiter), (0, []))
        except UnreadableError:
            continue  # with another delimiter it may be readable; else it is no table of boxes
        layout = _columns(first, delimiter)
        if layout:
            found.append((len(first), layout))
    return (max(found, key=lambda pair: pair[0])[1] if found else None), text


def _columns(first: list[str], delimiter: str) -> Layout | None:
    """Column number per meaning by the first filled row, or None if these are not boxes."""
    words = ["".join(c for c in cell.lower() if c.isalnum()) for cell in first]
    columns = {
        key: next(words.index(word) for word in known if word in words)
        for key, known in _COLUMNS.items()
        if any(word in words for word in known)
    }
    if "image" in columns and set(_CORNERS) <= set(columns):
        # "width" and "height" beside corners are the image's.
        if {"width", "height"} <= set(columns):
            columns.setdefault("picture_width", columns["width"])
            columns.setdefault("picture_height", columns["height"])
        return Layout(delimiter, columns, _CORNERS, len(first))
    if "image" in columns and {"width", "height"} <= set(columns):
        if {"cx", "cy"} <= set(columns):
            return Layout(delimiter, columns, _CENTRED, len(first))
        for letter in "xy":
            place = columns.get(letter, columns.get(f"{letter}1"))
            if place is None:
                return None
            columns[letter] = place
        return Layout(delimiter, columns, _SIZED, len(first))
    bare = Layout(delimiter, _BARE, _CORNERS)
    return bare if _is_bare(first, bare) else None


def _is_bare(row: list[str], layout: Layout) -> bool:
    cells = [layout.number(cell.strip()) for cell in row[1:5]]
    if len(row) not in (5, 6):
        return False
    return "." in row[0] and (not any(cells) or no_number(cells) is None)
