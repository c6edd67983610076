"""Rows of an Excel workbook that a stranger made: the first sheet with cells, within bounds."""

from __future__ import annotations

import io
import zipfile
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
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        return [rows for sheet in book.worksheets if (rows := _rows(sheet))]
    except UnreadableError:
        raise
    except Exception as error:  # the library raises whatever its parsers do
        raise UnreadableError(
            "it is no whole workbook ({error})", error=first_line(error)
        ) from error


def _rows(sheet: Any) -> list[tuple[int, list[Any]]]:
    found: list[tuple[int, list[Any]]] = []
    for number, row in enumerate(sheet.iter_rows(max_col=_MOST_COLUMNS, values_only=True), start=1):
        if number > _MOST_ROWS:
            raise UnreadableError("it has more than {most} rows", most=_MOST_ROWS)
        if any(cell is not None and str(cell).strip() for cell in row):
            found.append((number, list(row)))
    return found
