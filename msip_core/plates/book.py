"""The analysis of a plate as files: an Excel workbook, and CSV for both kinds of spreadsheets.

In a workbook numbers are numbers, so that a program in any language shows them with its own
decimal sign. CSV has no such thing: with commas and points it opens rightly in English and Chinese
spreadsheets, with semicolons and decimal commas in most European ones. No text is ever a formula.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from math import isfinite
from pathlib import Path
from typing import Any

from msip_core.plates.analysis import PlateAnalysis
from msip_core.plates.book_tables import Table, tables_of
from msip_core.plates.methods import Part, methods
from msip_core.plates.statements import (
    agreement_sentence,
    comparison_sentence,
    dose_sentence,
    whole_sentence,
)
from msip_core.spreadsheet import for_excel, harmless, write_rows
from msip_core.workspace import atomic_path

ROWS_OF_A_SHEET = 1_048_575  # below the header
_CELL = 32_767  # characters; a longer one is cut and says so
_CUT = " … (cut here; whole in the CSV)"
_WIDEST = 44
# Formats of Excel for columns that end so; the others are shown as they are.
_PERCENT = ("fraction", "fraction_low", "fraction_high")


def write_book(found: PlateAnalysis, path: Path, settings: Sequence[Part] = ()) -> Path:
    """Write the workbook."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(book_bytes(found, settings))
    return path


def book_bytes(found: PlateAnalysis, settings: Sequence[Part] = ()) -> bytes:
    """The workbook's content; rows are written one by one, whatever their number."""
    import xlsxwriter

    stream = io.BytesIO()
    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
    }
    book = xlsxwriter.Workbook(stream, options)
    looks = _Looks(book)
    for table in tables_of(found):
        _write_table(book, looks, table)
    _write_text(book, looks, said(found), methods(found, settings))
    book.close()
    return stream.getvalue()


def csv_files(found: PlateAnalysis, *, comma: bool = False) -> dict[str, bytes]:
    """File name -> content of every table.

    Args:
        comma: semicolons and decimal commas.
    """
    return {
        f"{table.file}.csv": for_excel(write_rows(table.columns, table.rows, comma=comma))
        for table in tables_of(found)
    }


def csv_zip(found: PlateAnalysis, *, comma: bool = False) -> bytes:
    """All CSV files in one zip."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in csv_files(found, comma=comma).items():
            archive.writestr(name, content)
    return stream.getvalue()


def write_csvs(found: PlateAnalysis, folder: Path, *, comma: bool = False) -> dict[str, Path]:
    """Write every table below `folder`; name of the table -> file."""
    written = {}
    for name, content in csv_files(found, comma=comma).items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)
        written[name.removesuffix(".csv")] = folder / name
    return written


def said(found: PlateAnalysis) -> list[str]:
    """What the numbers say, in sentences, the plate as a whole first."""
    return [
        whole_sentence(found),
        *(comparison_sentence(one) for one in found.comparisons),
        *(dose_sentence(measure, one) for measure, one in found.doses),
        *(agreement_sentence(one) for one in found.agreement),
    ]


# --- sheets -------------------------------------------------------------------


class _Looks:
    """Formats of the workbook."""

    def __init__(self, book: Any) -> None:
        self.head = book.add_format({"bold": True, "bottom": 1, "valign": "top"})
        self.percent = book.add_format({"num_format": "0.0%"})
        self.wrapped = book.add_format({"text_wrap": True, "valign": "top"})
        self.bold = book.add_format({"bold": True, "valign": "top"})


def _write_table(book: Any, looks: _Looks, table: Table) -> None:
    """One sheet, or several where a sheet is too short for the rows."""
    rows, number = iter(table.rows), 1
    while True:
        name = table.name if number == 1 else f"{table.name} {number}"
        sheet = book.add_worksheet(name)
        count = _write_rows(sheet, looks, table, islice(rows, ROWS_OF_A_SHEET))
        if count < ROWS_OF_A_SHEET:
            return
        first = next(rows, None)
        if first is None:
            return
        rows, number = chain([first], rows), number + 1


def _write_rows(sheet: Any, looks: _Looks, table: Table, rows: Iterable[Any]) -> int:
    for place, column in enumerate(table.columns):
        width = min(_WIDEST, max(9, len(column) + 2))
        sheet.set_column(place, place, width, looks.percent if column in _PERCENT else None)
        sheet.write_string(0, place, str(harmless(column)), looks.head)
    sheet.freeze_panes(1, 0)
    count = 0
    for count, row in enumerate(rows, start=1):
        for place, column in enumerate(table.columns):
            _write_cell(sheet, count, place, row.get(column))
    if count:
        sheet.autofilter(0, 0, count, len(table.columns) - 1)
    return count


def _write_cell(sheet: Any, row: int, place: int, value: Any) -> None:
    if value is None or value == "":
        return
    if isinstance(value, int | float) and not isinstance(value, bool):
        if isfinite(value):
            sheet.write_number(row, place, value)
        return
    text = str(harmless(str(value)))
    if len(text) > _CELL:
        text = text[: _CELL - len(_CUT)] + _CUT
    sheet.write_string(row, place, text)


def _write_text(book: Any, looks: _Looks, sentences: Sequence[str], parts: Sequence[Part]) -> None:
    sheet = book.add_worksheet("Methods")
    sheet.set_column(0, 0, 26)
    sheet.set_column(1, 1, 110, looks.wrapped)
    rows = [*(("Result" if n == 0 else "", text) for n, text in enumerate(sentences)), *parts]
    for row, (heading, text) in enumerate(rows):
        sheet.write_string(row, 0, heading, looks.bold)
        sheet.write_string(row, 1, str(harmless(text)), looks.wrapped)
