"""Rows of a table of boxes, and what all of them together tell of each."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

from msip_core.data.labels import no_number
from msip_core.data.verdicts import Verdict, verdict
from msip_core.messages import msg

CORNERS, SIZED, CENTRED = (
    ("x1", "y1", "x2", "y2"),
    ("x", "y", "width", "height"),
    ("cx", "cy", "width", "height"),
)
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
_THOUSANDS = re.compile(r"[-+]?\d{1,3},\d{3}")
# Columns by which boxes are of several pictures, where those of one file differ in them.
PLANES = frozenset(("frame", "z", "t", "slice", "plane", "timepoint", "zslice", "zplane"))
UNITS = frozenset(("unit", "units"))
_LENGTHS = re.compile("[uµμnmc]m|microns?|(?:micro|milli)met(?:er|re)s?|inch|percent|%", re.I)
_UNIT = re.compile(r"(?:px|pixels?)$")


@dataclass(frozen=True, slots=True)
class Layout:
    """How one table is written: its delimiter, and the column of each meaning."""

    delimiter: str
    columns: dict[str, int]
    places: tuple[str, str, str, str]
    cells: int = 0  # of the header; 0 if there is none
    own: str = ""  # the image of a table that names none
    imagej: bool = False  # a table of results, whose lengths are in the image's unit
    grouped: bool = False  # 1,234 may be a thousand
    said: tuple[tuple[str, int], ...] = ()  # columns that may reject a box, or place it elsewhere

    @property
    def maybe_centres(self) -> bool:
        """Whether the columns are called x and y only, which corners and middles are."""
        return self.places is SIZED and "x1" not in self.columns

    def number(self, text: str) -> str:
        """A cell with a decimal point. `40,5` is one where the comma cannot be anything else."""
        if not _DECIMAL_COMMA.fullmatch(text):
            return text
        if (self.delimiter == "," or self.grouped) and _THOUSANDS.fullmatch(text):
            return text  # 1,234 in quotation marks, or where no comma is sure, may be a thousand
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
    named: str = ""
    said: tuple[tuple[str, str], ...] = ()
    unsure: bool = False


def word_of(cell: str) -> str:
    """A column's name as it is compared."""
    return _UNIT.sub("", "".join(filter(str.isalnum, cell.lower())))


def check_order(found: dict[str, list[Row]]) -> None:
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
        _blame_all(found, fault)


def check_unit(found: dict[str, list[Row]]) -> None:
    """ImageJ's boxes begin and end at pixels; others are in the unit of an image that has one."""
    rows = [row for rows in found.values() for row in rows if not no_number(row.texts)]
    if any(float(text) % 1 for row in rows for text in row.texts):
        fault = msg(
            "its lengths are no whole pixels and may be micrometres: remove the scale in ImageJ "
            "(Analyze, Set Scale) and measure again"
        )
        _blame_all(found, fault)


def _blame_all(found: dict[str, list[Row]], fault: str) -> None:
    for reference, rows in found.items():
        found[reference] = [row._replace(fault=fault) for row in rows]


def call_numbers(found: dict[str, list[Row]]) -> None:
    """Classes by their names in a table that has a number and a name for each (class, name)."""
    named: dict[str, set[str]] = defaultdict(set)
    for rows in found.values():
        for row in rows:
            named[row.name].add(row.named)
    names = [name for given in named.values() for name in given]
    sure = len(names) == len(named) == len(set(names)) and all(names)
    if sure and all(number.isdecimal() for number in named):
        for reference, rows in found.items():
            found[reference] = [row._replace(name=row.named) for row in rows]


def judge(found: dict[str, list[Row]]) -> None:
    """Rows that the table rejects, that are in a unit of length, or of several planes."""
    filled = {key for rows in found.values() for row in rows for key, cell in row.said if cell}
    for rows in found.values() if filled else ():
        planes: dict[str, set[str]] = defaultdict(set)
        for key, cell in (pair for row in rows for pair in row.said):
            if word_of(key) in PLANES and cell:
                planes[key].add(cell)
        several = next((key for key, cells in planes.items() if len(cells) > 1), "")
        for at, row in enumerate(rows):
            # `keep` is an x, or nothing.
            judged = verdict({key: cell or "no" for key, cell in row.said if key in filled})
            fault = row.fault or _why_not(row, several, judged)
            rows[at] = row._replace(fault=fault, unsure=bool(judged.unsure))


def _why_not(row: Row, several: str, judged: Verdict) -> str:
    """Why a row is no box of its image; "" if it is one."""
    if judged.rejected:
        return msg("its table rejects it ({said})", said=judged.rejected)
    units = (cell for key, cell in row.said if word_of(key) in UNITS)
    if unit := next(filter(_LENGTHS.fullmatch, units), ""):
        return msg("its table gives lengths in {unit}: give them in pixels", unit=unit)
    if several:
        return msg(
            "the boxes of its image are of several planes (column {key}): give each plane an image "
            "and a name of its own, or keep the rows of one",
            key=several,
        )
    return ""
