"""CSV as a spreadsheet opens it: every table of the product is written here.

A cell that begins with '=', '+', '-' or '@' is a formula to a spreadsheet, whoever typed it: a
class or a file may be called `=HYPERLINK(…)`. Such a text gets an apostrophe in front, which
spreadsheets take for "this is text" (OWASP, CSV Injection). Numbers stay numbers.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Full-width forms, tab and carriage return lead to the same in some programs and languages.
_FORMULA = re.compile(r"[\s\0]*[=+\-@＝＋－＠]|[\t\r\n]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)


def harmless(cell: Any) -> Any:
    """A cell that no spreadsheet runs; anything but a text that looks like a formula is kept."""
    if not isinstance(cell, str) or not _FORMULA.match(cell) or _NUMBER.fullmatch(cell):
        return cell
    return f"'{cell}"


def write_rows(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Comma-separated text with one header line; an empty cell for None and for a missing column.

    Raises:
        ValueError: a row has a column that is not listed.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writerow({column: harmless(column) for column in columns})
    writer.writerows({key: harmless(cell) for key, cell in row.items()} for row in rows)
    return stream.getvalue()
