"""The analysis as files: read back by another program, numbers as numbers, no text a formula."""

from __future__ import annotations

import csv
import io
import zipfile
from typing import Any

import openpyxl
import pytest

from msip_core.plates import book
from msip_core.plates.analysis import Asked, PlateAnalysis, analyse
from msip_core.plates.report import render_report
from msip_core.plates.rows import ImageRow
from msip_core.plates.sheet import parse_sheet
from tests.plates.made_up import count, image

HOSTILE = '=HYPERLINK("http://x","y")'


def plate() -> list[ImageRow]:
    """Two conditions of three wells, four fields each; one well failed, one blank, one empty."""
    rows = [
        image(f"{row}{column}", field, 1 + field % 2 + (3 if column == "02" else 0), 6 + field)
        for row in "ABC"
        for column in ("01", "02")
        for field in (1, 2, 3, 4)
    ]
    rows += [image("D01", n, 0, 0, state="failed") for n in (1, 2)]
    rows += [image("D02", n, 0, 0, state="empty") for n in (1, 2)]
    return rows + [image("D03", n, 0, 0) for n in (1, 2)]


def sheet(names: tuple[str, str] = ("control", "CHIR")) -> Any:
    lines = [f"{row}{c};{names[c - 1]}" for row in "ABCD" for c in (1, 2)]
    return parse_sheet(("well;condition\n" + "\n".join(lines)).encode(), "sheet.csv")


@pytest.fixture(scope="module")
def found() -> PlateAnalysis:
    rows = plate()
    less = [
        image(r.well, int(r.field[-1]), max(0, r.counts["crypt"] - 1), r.counts["no_crypt"] + 1)
        if r.state == "counted" and sum(r.counts.values())
        else r
        for r in rows
    ]
    return analyse(
        count(rows),
        baseline=count(less, role="baseline", name="heavy"),
        sheet=sheet(),
        truth={row.image: {"crypt": 2, "no_crypt": 7 + n} for n, row in enumerate(rows[:3])},
    )


def workbook(found: PlateAnalysis) -> Any:
    return openpyxl.load_workbook(io.BytesIO(book.book_bytes(found)))


def rows_of(sheet: Any) -> list[dict[str, Any]]:
    head, *rows = sheet.iter_rows(values_only=True)
    return [dict(zip(head, row)) for row in rows]


def test_the_workbook_has_a_sheet_a_question(found: PlateAnalysis) -> None:
    assert workbook(found).sheetnames == [
        "Wells", "Conditions", "Comparisons", "Agreement", "Models by condition", "Images",
        "Objects", "Baseline images", "Baseline objects", "Sheet problems", "Methods",
    ]  # fmt: skip


def test_wells_are_numbers_and_what_is_no_number_is_empty(found: PlateAnalysis) -> None:
    wells = {row["well"]: row for row in rows_of(workbook(found)["Wells"])}

    # Four fields: 2 + 1 + 2 + 1 crypts, 7 + 8 + 9 + 10 others.
    first = wells["A01"]
    assert (first["n_crypt"], first["n_no_crypt"], first["objects"]) == (6, 34, 40)
    assert first["fraction"] == pytest.approx(6 / 40)
    assert first["objects_per_field"] == 10
    assert first["fraction_low"] < 0.15 < first["fraction_high"]
    assert (first["condition"], first["state"]) == ("control", "counted")
    assert [wells[name]["state"] for name in ("D01", "D02", "D03")] == [
        "failed",
        "blank",
        "no object",
    ]
    assert wells["D01"]["n_crypt"] is wells["D01"]["fraction"] is None
    assert wells["D02"]["objects"] is None
    assert (wells["D03"]["objects"], wells["D03"]["fraction"]) == (0, None)


def test_shares_are_shown_as_per_cent(found: PlateAnalysis) -> None:
    sheet_ = workbook(found)["Wells"]
    place = [cell.value for cell in sheet_[1]].index("fraction")
    assert sheet_[2][place].number_format == "0.0%"


def test_conditions_and_agreement_are_those_of_the_analysis(found: PlateAnalysis) -> None:
    book_ = workbook(found)

    (compared, _) = rows_of(book_["Comparisons"])
    assert (compared["condition"], compared["control"]) == ("CHIR", "control")
    assert compared["difference"] == pytest.approx(54 / 156 - 18 / 120, abs=1e-6)
    assert compared["clear"] == "yes"
    agreement = rows_of(book_["Agreement"])
    assert agreement[0]["bias"] == pytest.approx((4 / 40 + 4 / 52) / 2, abs=1e-6)
    assert agreement[0]["verdict"] == "different"
    assert (agreement[2]["found"], agreement[2]["labelled"]) == (29, 30)


def test_objects_carry_the_number_of_their_picture(found: PlateAnalysis) -> None:
    objects = rows_of(workbook(found)["Objects"])
    assert len(objects) == len(found.counting.objects)
    assert [row["object"] for row in objects[:9]] == list(range(1, 10))
    assert objects[0]["diameter_um"] == 40.0


def test_names_that_look_like_formulas_stay_text() -> None:
    rows = plate()
    found = analyse(count(rows), sheet=sheet((HOSTILE, "+SUM(1)")), asked=Asked(control=HOSTILE))

    cells = [
        cell
        for sheet_ in workbook(found)
        for row in sheet_.iter_rows()
        for cell in row
        if isinstance(cell.value, str) and "HYPERLINK" in cell.value
    ]
    assert cells
    assert {cell.data_type for cell in cells} == {"s"}
    assert not [cell for cell in cells if cell.value.startswith("=")]
    for content in book.csv_files(found).values():
        for line in csv.reader(io.StringIO(content.decode("utf-8-sig"))):
            assert not any(cell.startswith(("=", "+", "@")) for cell in line)
    assert "<a href=" not in render_report(found).split("<main>")[1]


def test_csv_of_both_worlds_holds_the_same_numbers(found: PlateAnalysis) -> None:
    point, comma = book.csv_files(found), book.csv_files(found, comma=True)

    assert point.keys() == comma.keys()
    assert all(content.startswith(b"\xef\xbb\xbf") for content in point.values())
    first = list(csv.DictReader(io.StringIO(point["wells.csv"].decode("utf-8-sig"))))
    other = list(csv.DictReader(io.StringIO(comma["wells.csv"].decode("utf-8-sig")), delimiter=";"))
    assert first[0]["fraction"] == "0.15"
    assert other[0]["fraction"] == "0,15"
    assert other[0]["well"] == first[0]["well"] == "A01"
    negative = list(
        csv.DictReader(io.StringIO(comma["comparisons.csv"].decode("utf-8-sig")), delimiter=";")
    )
    assert not any(cell.startswith("'") for row in negative for cell in row.values())


def test_the_zip_holds_every_table(found: PlateAnalysis) -> None:
    with zipfile.ZipFile(io.BytesIO(book.csv_zip(found))) as archive:
        assert set(archive.namelist()) == set(book.csv_files(found))


def test_more_rows_than_a_sheet_holds_go_on_in_the_next(
    found: PlateAnalysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "ROWS_OF_A_SHEET", 100)

    book_ = workbook(found)

    names = [name for name in book_.sheetnames if name.startswith("Objects")]
    assert names[:2] == ["Objects", "Objects 2"]
    total = sum(len(rows_of(book_[name])) for name in names)
    assert total == len(found.counting.objects)


def test_the_report_answers_whether_the_biology_is_the_same(found: PlateAnalysis) -> None:
    text = render_report(found, [("Lowest score", "0.25")], title="<b>My plate</b>")

    assert "Does the lighter model give the same biology?" in text
    assert "Another crypt fraction, by more than ± 5.0 points" in text
    assert "&lt;b&gt;My plate&lt;/b&gt;" in text
    assert "Lowest score: 0.25" in text
    assert "the file is cut off" in text
    assert text.count("<svg viewBox") >= 6
    assert "http" not in text.split("<style>")[0]
