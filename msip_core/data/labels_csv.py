"""CSV boxes: one row a box, with or without a header.

Known without a header: `path,x1,y1,x2,y2,class` (keras-retinanet, OrgaQuant), and Make Sense's
`class,x,y,width,height,path` with the two sides of the image; with one, any
order of the columns below, corners or corner with width and height. A row with a path and no
numbers says that the image is empty. A table of corners that names no image is that of the image
of its own name. ImageJ's table of results has the image in its column Label, before a colon.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from msip_core.bounded import UnreadableError, read_csv
from msip_core.data.archive import FileTree
from msip_core.data.csv_rows import (
    CENTRED,
    CORNERS,
    PLANES,
    SIZED,
    UNITS,
    Layout,
    Row,
    call_numbers,
    check_order,
    check_unit,
    judge,
    word_of,
)
from msip_core.data.labels import (
    ImageLabels,
    LabelledObject,
    LabelReader,
    no_number,
    read_text,
    size_of,
)
from msip_core.data.micrographs import image_size
from msip_core.data.references import ImageIndex
from msip_core.data.verdicts import is_verdict, unsure_kept
from msip_core.data.yolo_doubts import MANY, outside
from msip_core.errors import DatasetError, InputError
from msip_core.messages import msg
from msip_core.spreadsheet import as_typed

_COLUMNS = {
    "image": ("image", "filename", "file", "filepath", "path", "imagepath", "imagename", "img",
              "filenames", "images", "imageid", "imgpath", "externalid", "文件名", "图像", "图片"),
    "class": ("class", "label", "classname", "name", "category", "type", "labelname", "classes",
              "object", "objectclass", "类别", "标签"),
    "text": ("text",),
    "named": ("classname", "labelname", "categoryname", "name"),
    "x0": ("x0",), "y0": ("y0",),
    "x1": ("x1", "xmin", "left", "bboxx1", "minx", "xtopleft",
           "areashapeboundingboxminimumx", "左", "左上x"),
    "y1": ("y1", "ymin", "top", "bboxy1", "miny", "ytopleft",
           "areashapeboundingboxminimumy", "上", "左上y"),
    "x2": ("x2", "xmax", "right", "bboxx2", "maxx", "xbottomright",
           "areashapeboundingboxmaximumx", "右", "右下x"),
    "y2": ("y2", "ymax", "bottom", "bboxy2", "maxy", "ybottomright",
           "areashapeboundingboxmaximumy", "下", "右下y"),
    "x": ("x", "bboxx"), "y": ("y", "bboxy"),
    "cx": ("xcenter", "xcentre", "centerx", "centrex", "cx", "xc", "bboxxcenter"),
    "cy": ("ycenter", "ycentre", "centery", "centrey", "cy", "yc", "bboxycenter"),
    "picture_width": ("imagewidth", "imgwidth", "imagew", "imgw", "originalwidth"),
    "picture_height": ("imageheight", "imgheight", "imageh", "imgh", "originalheight"),
    "score": ("score", "confidence", "conf", "probability"),
    "width": ("width", "w", "bboxwidth", "bboxw", "boxwidth", "宽", "宽度"),
    "height": ("height", "h", "bboxheight", "bboxh", "boxheight", "高", "高度"),
}  # fmt: skip
_IMAGEJ = {"label", "bx", "by", "width", "height"}
_REGION = re.compile(r"(\d{4})-\d{4}-\d{4}")  # as ImageJ calls one in a stack: plane, y, x
Values = NDArray[np.float64]
_BARE = {"image": 0, "x1": 1, "y1": 2, "x2": 3, "y2": 4, "class": 5}
_MAKE_SENSE = dict(
    zip(
        ("class", "x", "y", "width", "height", "image", "picture_width", "picture_height"), range(8)
    )
)
NAMELESS = "object"
_SHAPES = frozenset(("rectangle", "rect", "polygon", "ellipse", "mask", "bbox", "box"))

# A comma before any other number of digits than three stands before decimals.
_DECIMALS = re.compile(r"(?<![\d.,])(?:0,\d|\d+,(?:\d{1,2}|\d{4,})(?![\d,]))")
_COMMENT = re.compile(r"(?:[ \t]*#[^\n]*\n)+")  # above the header: who made the table, and when
_LOOKED_AT = 40  # images whose size is looked up


@dataclass(kw_only=True)
class CsvReader(LabelReader):
    """Rows of all tables, by their image."""

    tree: FileTree
    rows: dict[str, list[Row]]
    format: str = "CSV"

    @property
    def labelled(self) -> set[str]:
        return set(self.rows)

    def read(self, image: str) -> ImageLabels:
        labels = ImageLabels()
        for row in self.rows[image]:
            if fault := row.fault or self._doubts.get(row.file):
                labels.problems.append(
                    msg("row {line} left out: {fault}", line=row.line, fault=fault)
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
        labels.notes += unsure_kept(sum(row.unsure for row in self.rows[image] if not row.fault))
        return labels

    @cached_property
    def _doubts(self) -> dict[str, str]:
        """Table -> that its x and y may be the middles of its boxes, where that is not sure."""
        tables: dict[str, list[tuple[str, list[float]]]] = defaultdict(list)
        for image, rows in self.rows.items():
            for row in rows:
                if row.layout.maybe_centres and not no_number(row.texts):
                    tables[row.file].append((image, [float(text) for text in row.texts]))
        return {
            file: msg(
                "the x and y of its table may be corners or the middles of the boxes: call these "
                "columns x_min and y_min, or x_center and y_center"
            )
            for file, boxes in tables.items()
            if self._may_be_middles(boxes)
        }

    def _may_be_middles(self, boxes: list[tuple[str, list[float]]]) -> bool:
        """Boxes that reach outside as corners and not as middles; fractions also where no box does
        either: YOLO's are middles, and only their column says otherwise."""
        values: Values = np.array([box for _, box in boxes])
        fractions = bool((values >= 0).all() and (values <= 1).all())
        sizes: Values = np.ones(2)
        if not fractions:
            seen = self._sizes(dict.fromkeys(image for image, _ in boxes))
            values = np.array([box for image, box in boxes if image in seen]).reshape(-1, 4)
            sizes = np.array([seen[image] for image, _ in boxes if image in seen]).reshape(-1, 2)
        place, size = values[:, :2] / sizes, values[:, 2:] / sizes
        as_corners, as_middles = outside(place + size / 2, size), outside(place, size)
        if not len(values) or as_middles.any():
            return False
        return fractions or bool(as_corners.mean() >= MANY)

    def _sizes(self, images: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Width and height of the first images that can be opened."""
        found: dict[str, tuple[int, int]] = {}
        for image in islice(images, _LOOKED_AT):
            with suppress(DatasetError):  # named when it comes in
                found[image] = image_size(self.tree.read(image), image)
        return found


def _corners(row: Row) -> tuple[float, float, float, float]:
    a, b, c, d = map(float, row.texts)
    if row.layout.places is SIZED:
        c, d = a + c, b + d
    elif row.layout.places is CENTRED:
        a, b, c, d = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    return (min(a, c), min(b, d), max(a, c), max(b, d))


def _picture(row: Row, box: tuple[float, float, float, float]) -> tuple[float, float] | None:
    """The size of the image that a row states; None if it does not, or if it is the box's."""
    size = size_of(row.picture)
    if size and abs(box[2] - box[0] - size[0]) <= 1 and abs(box[3] - box[1] - size[1]) <= 1:
        return None
    return size


def find_csv(tree: FileTree, index: ImageIndex) -> CsvReader | None:
    """CSV boxes of a tree, or None."""
    reader = CsvReader(tree=tree, rows=defaultdict(list))
    for name in tree.names:
        if name.lower().endswith((".csv", ".tsv")):
            try:
                if _add(reader, read_text(tree, name), name, index):
                    reader.used.add(name)
            except InputError as error:
                reader.lose(name, msg("is not readable ({error})", error=error))
    reader.rows = dict(reader.rows)
    return reader if reader.used else None


def _add(reader: CsvReader, text: str, name: str, index: ImageIndex) -> bool:
    layout, text = _layout(text)
    if layout is None:
        return False
    if "image" not in layout.columns:
        if index.find(own := PurePosixPath(name).stem, name) is None:
            return False
        layout = replace(layout, own=own)
    rows = read_csv(text, layout.delimiter)
    if layout.cells:
        next(rows)  # the header
    found: dict[str, list[Row]] = defaultdict(list)
    try:
        bare = Layout(layout.delimiter, _BARE, CORNERS)
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
            check_order(found)
        if layout.imagej:
            check_unit(found)
        call_numbers(found)
        judge(found)
        if layout.own:
            found.setdefault(layout.own, [])  # a header alone: nothing is in its image
    except UnreadableError as error:  # rows before the fault are good
        reader.lose(name, msg("was read up to a fault: {error}", error=error))
    images = index.match(found, name)
    for reference, image in images.items():
        reader.rows[image] += [row._replace(file=name) for row in found[reference]]
        reader.place(image, name)
    for reference in sorted(set(found) - set(images)):
        reader.lose(name, index.why_not(reference, name))
    return True


def _take(found: dict[str, list[Row]], layout: Layout, line: int, row: list[str]) -> None:
    """Add one row to those of the image that it names."""
    cells = [cell.strip() for cell in row] + [""] * (1 + max(layout.columns.values()) - len(row))

    def cell(meaning: str) -> str:
        return cells[layout.columns[meaning]] if meaning in layout.columns else ""

    reference = layout.own or as_typed(cell("image"))
    said = tuple((key, cells[at]) for key, at in layout.said if at < len(cells))
    if layout.imagej:  # a0.tif:0001-0042 is an object of a0.tif, a0.tif:0003-0001-0042 of plane 3
        reference, _, region = reference.partition(":")
        if match := _REGION.match(region):
            said = (*said, ("slice", match[1]))
    if reference and any(cells):
        label = as_typed(cell("class"))
        if label.lower() in _SHAPES:  # OMERO's type of a ROI; what people call it is its text
            label = as_typed(cell("text"))
        a, b, c, d = (layout.number(cell(place)) for place in layout.places)
        sides = layout.number(cell("picture_width")), layout.number(cell("picture_height"))
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
        told = Row(line, label or NAMELESS, (a, b, c, d), sides, layout, cell("score"), fault)
        found[reference].append(told._replace(named=as_typed(cell("named")), said=said))


def _layout(text: str) -> tuple[Layout | None, str]:
    """How a table is written, None if it holds no boxes; and the text without Excel's own line."""
    start, _, rest = text.partition("\n")
    told = re.fullmatch(r"\s*\"?sep=(.)\"?\s*", start, re.IGNORECASE)
    if told:
        text = "\n" + rest  # so that lines keep their numbers
    layout = _layout_of(text, told[1] if told else ";\t,|")
    if layout is None and (comment := _COMMENT.match(text)):
        text = "\n" * comment.group().count("\n") + text[comment.end() :]
        layout = _layout_of(text, ";\t,|")
    return layout, text


def _layout_of(text: str, delimiters: str) -> Layout | None:
    found = []
    for delimiter in delimiters:
        try:
            _, first = next(read_csv(text, delimiter), (0, []))
        except UnreadableError:
            continue  # with another delimiter it may be readable; else it is no table of boxes
        layout = _columns(first, delimiter)
        if layout:
            found.append((len(first), replace(layout, said=_said(first, layout))))
    if not found:
        return None
    layout = max(found, key=lambda pair: pair[0])[1]
    return replace(layout, grouped=layout.delimiter == "\t" and not _DECIMALS.search(text))


def _said(first: list[str], layout: Layout) -> tuple[tuple[str, int], ...]:
    """The columns of a header that say more of a box than its place: a verdict, or a plane."""
    return tuple(
        (cell.strip(), at)
        for at, cell in enumerate(first if layout.cells else ())
        if at not in layout.columns.values()
        and (word_of(cell) in PLANES | UNITS or is_verdict(cell))
    )


def _columns(first: list[str], delimiter: str) -> Layout | None:
    """Column number per meaning by the first filled row, or None if these are not boxes."""
    words = [word_of(cell) for cell in first]
    if set(words) >= _IMAGEJ:
        places = {"image": "label", "x": "bx", "y": "by", "width": "width", "height": "height"}
        columns = {key: words.index(word) for key, word in places.items()}
        return Layout(delimiter, columns, SIZED, len(first), imagej=True)
    columns = {
        key: next(words.index(word) for word in known if word in words)
        for key, known in _COLUMNS.items()
        if any(word in words for word in known)
    }
    # CellProfiler has a column for the file of each channel: FileName_BF.
    files = [at for at, word in enumerate(words) if word.startswith("filename")]
    if files and "areashapeboundingboxminimumx" in words:
        columns.setdefault("image", files[0])
    if {"x0", "y0", "x1", "y1"} <= set(columns) and not {"x2", "y2"} & set(columns):
        columns |= {f"{letter}{n + 1}": columns[f"{letter}{n}"] for n in (1, 0) for letter in "xy"}
    if set(CORNERS) <= set(columns) and ("image" in columns or "class" in columns):
        # "width" and "height" beside corners are the image's.
        if {"width", "height"} <= set(columns):
            columns.setdefault("picture_width", columns["width"])
            columns.setdefault("picture_height", columns["height"])
        return Layout(delimiter, columns, CORNERS, len(first))
    if {"width", "w", "height", "h"} <= set(words):  # w and h of the box, the others of its image
        columns |= {"picture_width": words.index("width"), "picture_height": words.index("height")}
        columns |= {"width": words.index("w"), "height": words.index("h")}
    if "image" in columns and {"width", "height"} <= set(columns):
        if {"cx", "cy"} <= set(columns):
            return Layout(delimiter, columns, CENTRED, len(first))
        for letter in "xy":
            place = columns.get(letter, columns.get(f"{letter}1"))
            if place is None:
                return None
            columns[letter] = place
        return Layout(delimiter, columns, SIZED, len(first))
    return _without_names(first, delimiter)


def _without_names(first: list[str], delimiter: str) -> Layout | None:
    """The layout of a table whose first row is that of a box."""
    bare = Layout(delimiter, _BARE, CORNERS)
    if len(first) == 8 and "." in first[5] and no_number([*first[1:5], *first[6:]]) is None:
        return Layout(delimiter, _MAKE_SENSE, SIZED)
    return bare if _is_bare(first, bare) else None


def _is_bare(row: list[str], layout: Layout) -> bool:
    cells = [layout.number(cell.strip()) for cell in row[1:5]]
    if len(row) not in (5, 6):
        return False
    return "." in row[0] and (not any(cells) or no_number(cells) is None)
