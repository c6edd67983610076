"""No table of ours runs in a spreadsheet, and numbers stay numbers."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from msip_core.plates.rows import OBJECT_COLUMNS, object_cells
from msip_core.spreadsheet import harmless, write_rows
from tests.fresh import ROOT
from tests.plates.made_up import image, objects_of


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "＝1", "-x",
     '=HYPERLINK("http://example.org")', "+", "-1e5x", "\0=1"],
)  # fmt: skip
def test_a_text_that_looks_like_a_formula_is_marked_as_text(text: str) -> None:
    assert harmless(text) == f"'{text}"


@pytest.mark.parametrize(
    "cell", ["crypt", "-1.5", "+3", "-.5e-3", "1=2", "", "µ-crypt", 1, -2.5, None]
)
def test_numbers_and_plain_words_are_kept(cell: object) -> None:
    assert harmless(cell) == cell


def test_headers_and_cells_of_a_table_are_harmless_and_read_back() -> None:
    text = write_rows(["image", "=class"], [{"image": "@a", "=class": -1.25}, {"image": 'b,"c"'}])
    rows = list(csv.reader(io.StringIO(text)))
    assert rows == [["image", "'=class"], ["'@a", "-1.25"], ['b,"c"', ""]]


def test_class_and_file_names_reach_a_table_of_objects_as_text() -> None:
    rows = objects_of(replace(image("A01", 1, 1, 0), image="=im", counts={"=cmd()": 1}))
    text = write_rows(OBJECT_COLUMNS, [object_cells(row) for row in rows])
    body = list(csv.reader(io.StringIO(text)))[1]
    assert "'=im" in body
    assert "'=cmd()" in body
    assert not any(cell.startswith(("=", "@")) for cell in body)


def test_no_other_file_writes_csv_by_itself() -> None:
    for folder in ("msip_core", "pages"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name == "spreadsheet.py":
                continue
            text = path.read_text(encoding="utf-8")
            assert "csv.writer(" not in text, path
            assert "DictWriter(" not in text, path
            assert ".to_csv(" not in text.replace("tables.to_csv(", ""), path
