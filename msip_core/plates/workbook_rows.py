"""Rows of an Excel workbook that a stranger made: its sheets that are not hidden, within bounds."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any

from msip_core.bounded import UnreadableError
from msip_core.errors import first_line

_MOST_UNPACKED = 100 * 1024**2  # bytes; a sheet of 1536 wells has about one
_MOST_ROWS = 20_000
_MOST_COLUMNS = 100


def read_workbook(content: bytes) -> list[list[tuple[int, list[Any]]]]:
    """Of each sheet the rows with anything in them, and their numbers; values, not formulas.

    Raises:
        UnreadableError: damaged, protected by a password, or larger than a sample sheet is.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
    except zipfile.BadZipFile as error:
        raise UnreadableError(first_line(error)) from error
    if unpacked > _MOST_UNPACKED:
        raise UnreadableError("it is larger than a sample sheet is")
    import openpyxl  # a third of a second, and only where a sheet is Excel's

    try:
        book, formulas = (
            openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=values)
            for values in (True, False)
        )
        _check_calculated(book, formulas)
        shown = [s for s in book.worksheets if s.sheet_state == "visible"]
        return [rows for sheet in shown if (rows := _rows(sheet))]
    except UnreadableError:
        raise
    except Exception as error:  # the library raises whatever its parsers do
        raise UnreadableError(
            "it is no whole workbook ({error})", error=first_line(error)
        ) from error


def _check_calculated(values: Any, formulas: Any) -> None:
    """Programs that write workbooks leave formulas without their values; a value may be empty, but
    not all of them are."""
    lost = False
    for sheet, written in zip(values.worksheets, formulas.worksheets):
        for row, texts in zip(_cells(sheet), _cells(written)):
            for value, text in zip(row, texts):
                if isinstance(text.value, str) and text.value.startswith("="):
                    if value.value is not None:
                        return
                    lost = True
    if lost:
        raise UnreadableError(
            "its formulas have no values yet: open it in Excel, and save it once more"
        )


def _rows(sheet: Any) -> list[tuple[int, list[Any]]]:
    found: list[tuple[int, list[Any]]] = []
    for number, row in enumerate(_cells(sheet), start=1):
        if any(cell.value is not None and str(cell.value).strip() for cell in row):
            found.append((number, [_value(cell) for cell in row]))
    return found


def _cells(sheet: Any) -> Iterator[tuple[Any, ...]]:
    for number, row in enumerate(sheet.iter_rows(max_col=_MOST_COLUMNS), start=1):
        if number > _MOST_ROWS:
            raise UnreadableError("it has more than {most} rows", most=_MOST_ROWS)
        yield row


def _value(cell: Any) -> Any:
    """What a person sees: 0.5 shown as 50% is 50 %."""
    is_share = isinstance(cell.value, float | int) and "%" in (cell.number_format or "")
    return f"{cell.value * 100:.9g}%" if is_share else cell.value
