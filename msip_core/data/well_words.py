"""Words such as A01, B2 or "Well C3" in names and folders: which of them are wells.

One word alone says little: P10 is a well of 384 or the tenth passage, D7 a well or the seventh
day, F1 a well or the first field. So the words at one place of all names are looked at together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import PurePosixPath
from typing import NamedTuple

from msip_core.data.plate_words import GLUED

_ROW = "A[A-F]|[A-P]"
_COLUMN = r"0[1-9]|[1-3]\d|4[0-8]|[1-9]"
_WORD = re.compile(
    rf"(?<![A-Za-z0-9])(?P<said>well[-_ ]?)?(?P<row>{_ROW})(?P<col>{_COLUMN})(?![A-Za-z0-9])"
    # A01f00: the field is glued to the well.
    rf"|(?<![A-Za-z0-9])(?P<row2>{_ROW})(?P<col2>0[1-9]|[1-3]\d|4[0-8])(?=f\d)",
    re.I,
)
# A-1, B_02: only where there are several rows and columns, and nothing else says more.
_APART = re.compile(rf"(?<![A-Za-z0-9])(?P<row>[A-P])[-_ ](?P<col>{_COLUMN})(?![A-Za-z0-9])")
# A/1/f1.tif: a folder a row, in it one a column; A/1.tif is the first image of a group called A.
# P1A01: only where there are several rows and columns.
_GLUED = re.compile(
    rf"(?<![A-Za-z0-9]){GLUED}(?P<row>{_ROW})(?P<col>{_COLUMN})(?![A-Za-z0-9])", re.I
)
# 1A, 01A, A001: also numbers of specimens and of their repeats, and of images; wells only where
# they fill a plate, or all of it but its rim.
_SELDOM = re.compile(
    rf"(?<![A-Za-z0-9])(?:(?P<col>{_COLUMN})(?P<row>[A-P])|(?P<row2>[A-P])0(?P<col2>\d\d))"
    r"(?![A-Za-z0-9])"
)
_MAYBE = re.compile(
    rf"{_SELDOM.pattern}|(?<![A-Za-z0-9])(?:(?:{_COLUMN})[-_ ][A-P]|[rR]\d\d?[-_ ]?[cC]\d\d?"
    r"|\d[A-P]\d\d?|[A-P](?:\d\d?[a-z]\d*|[.,]\d\d?))(?![A-Za-z0-9])"
)
_PLATES = {3: 2, 4: 3, 6: 4, 8: 6, 12: 8, 24: 16}  # columns and rows
_TILE = re.compile(r"(?:^|[^A-Za-z0-9])r\d\d?[-_ ]$", re.I)
_FOLDERS = re.compile(rf"(?:^|/)(?P<row>[A-P])/(?P<col>{_COLUMN})(?:/|$)")
_PASSAGE = re.compile(r"(?:passage|pass|p)[-_ ]?\d+", re.I)
# Rows whose letter mostly means something else where it is the only row: day, field, channel,
# passage or position, experiment, mouse, number of the repeat, batch, line, group.
OTHER_MEANING = frozenset("DFCPEMNBLG")
COVERAGE = 0.8  # of the names; below, it is a coincidence


class _Word(NamedTuple):
    well: str
    text: str
    said: bool = False
    apart: bool = False
    seldom: bool = False
    tile: bool = False  # r1_c2

    @property
    def row(self) -> str:
        return self.well[:-2]


def find_well_words(sources: Sequence[str]) -> dict[str, tuple[str, str]]:
    """The well of each path, and the word it was read from; paths without one are not in it."""
    places: dict[tuple[str, int], dict[str, _Word]] = {}
    for source in sources:
        for place, word in _words(source):
            places.setdefault(place, {})[source] = word
    told = {s: w for words in places.values() for s, w in words.items() if w.said}
    if len(told) >= COVERAGE * len(sources) > 0:
        return {source: (word.well, word.text) for source, word in told.items()}
    usable = [words for words in places.values() if _are_wells(words, len(sources))]
    best = max(usable, key=_rank, default={})
    return {source: (word.well, word.text) for source, word in best.items()}


def _words(source: str) -> list[tuple[tuple[str, int], _Word]]:
    """The words of a path that could be wells, each with its place: nth of the name or a folder."""
    path = PurePosixPath(source)
    found: list[tuple[tuple[str, int], _Word]] = []
    for find, kind in _KINDS:
        found += [((f"name{kind}", number), word) for number, word in enumerate(find(path.stem))]
        for level, folder in enumerate(reversed(path.parts[:-1])):
            places = enumerate(find(folder), 100 * level)
            found += [((f"folder{kind}", number), word) for number, word in places]
    if match := _FOLDERS.search(str(path.parent)):
        well, text = f"{match['row']}{int(match['col']):02d}", match.group().strip("/")
        found.append((("folders", 0), _Word(well, text, apart=True)))
    return found


def _in(text: str) -> list[_Word]:
    words = []
    for match in _WORD.finditer(text):
        well = _well(match)
        tile = well[:-2] == "C" and _TILE.search(text[: match.start()]) is not None
        words.append(_Word(well, match.group(), bool(match["said"]), tile=tile))
    return words


def _others(pattern: re.Pattern[str], **kind: bool) -> Callable[[str], list[_Word]]:
    return lambda text: [_Word(_well(m), m.group(), **kind) for m in pattern.finditer(text)]


def _well(match: re.Match[str]) -> str:
    found = match.groupdict()
    row, column = found["row"] or found["row2"], found["col"] or found["col2"]
    return f"{row.upper()}{int(column):02d}"


# Folders come again with each of their images.
_KINDS = tuple(
    (lru_cache(maxsize=256)(find), kind)
    for find, kind in (
        (_in, ""),
        (_others(_APART, apart=True), " apart"),
        (_others(_GLUED, apart=True), " glued"),
        (_others(_SELDOM, seldom=True), " seldom"),
    )
)


def _are_wells(words: dict[str, _Word], of: int) -> bool:
    """Several different wells in most names; never only P3, P4, P10: those are passages."""
    wells = {word.well for word in words.values()}
    passages = all(_PASSAGE.fullmatch(word.text) for word in words.values())
    # a1.png, a2.png, a3.png: images that were numbered; a1 to h12 in full rows are a plate.
    rows, columns = {well[:-2] for well in wells}, {well[-2:] for well in wells}
    plate = len(rows) > 1 and len(wells) == len(rows) * len(columns) > len(rows)
    numbered = (
        not plate
        and len(wells) == len(words)
        and all(
            word.text.islower() and word.text == PurePosixPath(source).stem
            for source, word in words.items()
        )
    )
    if any(word.apart for word in words.values()) and (len(rows) < 2 or len(columns) < 2):
        return False
    if all(word.tile for word in words.values()):
        return False
    if any(word.seldom for word in words.values()) and not _fill(rows, columns, wells):
        return False
    return len(words) >= COVERAGE * of and len(wells) > 1 and not passages and not numbered


def _fill(rows: set[str], columns: set[str], wells: set[str]) -> bool:
    """Whether wells are all of a plate, or of a rectangle without the first row and column."""
    if len(wells) < len(rows) * len(columns) or len(rows) < 2 or len(columns) < 2:
        return False
    first = (ord(min(rows)) - 64, int(min(columns)))
    last = (ord(max(rows)) - 64, int(max(columns)))
    whole = [last[at] - first[at] + 1 for at in (0, 1)] == [len(rows), len(columns)]
    return whole and (first == (2, 2) or (first == (1, 1) and _PLATES.get(last[1]) == last[0]))


def maybe_wells(names: Sequence[str]) -> str:
    """A word that may be a well where most names have one that is written so; "" if few have."""
    found = [match.group() for name in names if (match := _MAYBE.search(name))]
    many = len(found) >= COVERAGE * len(names) and len(set(found)) > 2
    return found[0] if many else ""


def _rank(words: dict[str, _Word]) -> tuple[bool | int, ...]:
    """Wells fill a plate; fields and days, with which they are mixed up, count up one letter."""
    rows = {word.row for word in words.values()}
    return (
        not any(word.seldom for word in words.values()),
        len(rows) > 1 or not rows <= OTHER_MEANING,
        not any(word.apart for word in words.values()),
        len(rows) > 1,
        not rows <= OTHER_MEANING,
        all(word.text[0].isupper() for word in words.values()),
        any(re.search(r"\d\d$", word.text) for word in words.values()),
        len({word.well for word in words.values()}),
    )


def doubtful(wells: Sequence[str]) -> bool:
    """Whether the wells, as they were found among words, may be days, fields or batches."""
    return bool(wells) and {well[:-2] for well in wells} <= OTHER_MEANING
