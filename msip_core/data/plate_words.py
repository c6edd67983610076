"""Words of names and folders that tell which plate an image is of; days tell none."""

from __future__ import annotations

import re

# `plate3`, `plate-3`, `Plate_A`, `plateB`; never `plates`.
_PLATE = re.compile(
    r"(?<![a-z0-9])(?:(?i:plate)(?:[-_ ]?([A-Za-z]?\d+[A-Za-z]?)|[-_ ]([A-Za-z]))"
    r"|[Pp]late([A-Z]))(?![A-Za-z0-9])"
)
# VID123 (Incucyte's vessel), AB001234, 000123456.
_BARCODE = re.compile(
    r"(?<![A-Za-z0-9])(VID\d+|(?![FPSTWZ]\d{4,5}(?!\d))[A-Z]{1,4}\d{4,}|\d{7,})(?![A-Za-z0-9])"
)
# A day, and an hour behind it, tells when a plate was imaged, not which it is: 2024-05-03,
# 03.05.2024, 240503, 2024-05-03T10_22_00-Measurement 2 (Harmony).
_DAY_OF, _MONTH_OF = "0[1-9]|[12]\\d|3[01]", "0[1-9]|1[0-2]"
DATE = re.compile(
    rf"(?<![A-Za-z0-9])(?:(?:19|20)\d\d[-_.]?(?:{_MONTH_OF})[-_.]?(?:{_DAY_OF})"
    rf"|(?:{_DAY_OF}|[1-9])(?P<gap>[-_.]?)(?:{_DAY_OF}|[1-9])(?P=gap)(?:19|20)\d\d"
    rf"|\d\d(?:{_MONTH_OF})(?:{_DAY_OF}))"
    r"(?:[T_ -]+\d\d[-_:h.]?\d\d(?:[-_:m.]?\d\d)?)?(?:-Measurement[ _]\d+)?(?![A-Za-z0-9])"
)


def named_plate(text: str) -> str | None:
    """The number or letter behind the word plate; None if there is none."""
    if match := _PLATE.search(text):
        return str(match.group(1) or match.group(2) or match.group(3)).upper().lstrip("0") or "0"
    return None


def plate_of(text: str) -> str | None:
    """The same, else a barcode."""
    if named := named_plate(text):
        return named
    match = next((m for m in _BARCODE.finditer(text) if not DATE.fullmatch(m.group(1))), None)
    return match.group(1).upper() if match else None
