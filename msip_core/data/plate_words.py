"""Words of names and folders that tell which plate an image is of; days tell none."""

from __future__ import annotations

import re

# `plate3`, `plate-3`, `Plate_A`, `plateB`; never `plates`.
_PLATE = re.compile(
    r"(?<![a-z0-9])(?:(?i:plate)(?:[-_ ]?([A-Za-z]?\d+[A-Za-z]?)|[-_ ]([A-Za-z]))"
    r"|[Pp]late([A-Z]))(?![A-Za-z0-9])"
)
GLUED = r"(?:p|pl|plate)(\d{1,2})"
_GLUED = re.compile(rf"{GLUED}(?=[A-P])", re.I)
# VID123 (Incucyte's vessel), AB001234, 000123456.
_BARCODE = re.compile(
    r"(?<![A-Za-z0-9])(VID\d+|(?![FPSTWZ]\d{4,5}(?!\d))[A-Z]{1,4}\d{4,}|\d{7,})(?![A-Za-z0-9])"
)
# A day, and an hour behind it, tells when a plate was imaged, not which it is: 2024-05-03,
# 03.05.2024, 240503, 3May2024, 2024-05-03T10_22_00-Measurement 2 (Harmony).
_DAY_OF, _MONTH_OF = "0[1-9]|[12]\\d|3[01]", "0[1-9]|1[0-2]"
_MONTHS = ("jan", "f[eé][bv]", "m[aä]r|mrz", "a[pv]r", "ma[iy]", "jui?n", "jui?l", "aug|ao[uû]",
           "sep", "o[ck]t", "nov", "d[eé][cz]")  # fmt: skip
_MONTH = rf"(?i:{'|'.join(_MONTHS)})[a-zé]{{0,6}}"
DATE = re.compile(
    rf"(?<![A-Za-z0-9])(?:(?:19|20)\d\d[-_.]?(?:{_MONTH_OF})[-_.]?(?:{_DAY_OF})"
    rf"|(?:{_DAY_OF}|[1-9])(?P<gap>[-_.]?)(?:{_DAY_OF}|[1-9])(?P=gap)(?:19|20)\d\d"
    rf"|(?:{_DAY_OF}|[1-9])\.(?:{_DAY_OF}|[1-9])\.\d\d|(?:{_DAY_OF})-(?:{_DAY_OF})-\d\d"
    rf"|(?:{_DAY_OF}|[1-9])[-_. ]?{_MONTH}[-_. ]{{0,2}}(?:19|20)?\d\d"
    rf"|(?:19|20)\d\d[-_. ]?{_MONTH}[-_. ]?(?:{_DAY_OF})"
    rf"|\d\d(?:{_MONTH_OF})(?:{_DAY_OF}))"
    r"(?:[T_ -]+\d\d[-_:h.]?\d\d(?:[-_:m.]?\d\d)?)?(?:-Measurement[ _]\d+)?(?![A-Za-z0-9])"
)


def with_number_of_month(date: str) -> str:
    """3-May-24 -> 03.05.2024; other dates as they are."""
    found = re.search(rf"[-_. ]*({_MONTH})[-_. ]*", date)
    if found is None:
        return date
    number = next(n for n, stem in enumerate(_MONTHS, 1) if re.match(stem, found[1], re.I))
    before, behind = date[: found.start()], date[found.end() :]
    century = "20" if len(before) < 4 and re.match(r"\d\d(?!\d)", behind) else ""
    return f"{before}.{number:02d}.{century}{behind}"


def named_plate(text: str) -> str | None:
    """The number or letter behind the word plate; None if there is none."""
    if match := _PLATE.search(text):
        return str(match.group(1) or match.group(2) or match.group(3)).upper().lstrip("0") or "0"
    return None


def glued_plate(text: str) -> str | None:
    """The number of the plate before its well, without a gap: P2A01."""
    match = _GLUED.match(text)
    return str(int(match.group(1))) if match else None


def plate_of(text: str) -> str | None:
    """The same, else a barcode."""
    if named := named_plate(text):
        return named
    match = next((m for m in _BARCODE.finditer(text) if not DATE.fullmatch(m.group(1))), None)
    return match.group(1).upper() if match else None
