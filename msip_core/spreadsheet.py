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


def as_typed(cell: str) -> str:
    """The text that `harmless` made a cell of."""
    return cell[1:] if cell.startswith("'") and harmless(cell[1:]) == cell else cell


def write_rows(
    columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, comma: bool = False
) -> str:
    """Comma-separated text with one header line; an empty cell for None and for a missing column.

    Args:
        comma: numbers with a decimal comma and cells with semicolons between them, as the
            spreadsheets of most of Europe read them.

    Raises:
        ValueError: a row has a column that is not listed.
    """
    stream = io.StringIO()
    delimiter = ";" if comma else ","
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n", delimiter=delimiter)
    written = _with_comma if comma else harmless
    writer.writerow({column: harmless(column) for column in columns})
    writer.writerows({key: written(cell) for key, cell in row.items()} for row in rows)
    return stream.getvalue()


def _with_comma(cell: Any) -> Any:
    return str(cell).replace(".", ",") if isinstance(cell, float) else harmless(cell)


def for_excel(text: str) -> bytes:
    """A file whose letters Excel reads rightly: without the mark it takes UTF-8 for the old
    encoding of its country."""
    return text.encode("utf-8-sig")
