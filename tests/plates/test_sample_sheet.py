"""The sample sheet: spelled as labs spell it, every fault named by its row, nothing guessed."""

from __future__ import annotations

import io
from datetime import date
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from msip_core.errors import InputError
from msip_core.plates.sheet import (
    Problem,
    Sample,
    parse_sheet,
    place_samples,
    plate_word,
    read_sheet,
    well_name,
)


def parsed(text: str, encoding: str = "utf-8") -> list[Sample]:
    found = parse_sheet(text.encode(encoding), "sheet.csv")
    assert not found.problems
    return list(found.samples)


def workbook(rows: list[list[Any]]) -> bytes:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


@pytest.mark.parametrize("text", ["A1", "a1", "A01", "A-1", "A 01", "well A1", "Well_A01", "Ａ１"])
def test_one_well_is_spelled_in_many_ways(text: str) -> None:
    assert well_name(text) == "A01"


@pytest.mark.parametrize("text", ["", "1", "A", "A0", "A49", "Z1", "A1B", "control"])
def test_what_is_no_well_is_none(text: str) -> None:
    assert well_name(text) is None


def test_a_row_of_1536_wells_has_two_letters() -> None:
    assert well_name("AF48") == "AF48"


@pytest.mark.parametrize(
    ("delimiter", "dose"), [(",", "0.5"), (";", "0.5"), (";", "0,5"), ("\t", "0,5"), (",", '"0,5"')]
)
def test_delimiters_and_decimal_signs_of_both_worlds(delimiter: str, dose: str) -> None:
    text = delimiter.join(["Well", "Condition", "Dose", "Unit"])
    text += "\n" + delimiter.join(["b2", "CHIR", dose, "µM"])

    (sample,) = parsed(text)

    assert (sample.well, sample.condition, sample.dose, sample.unit) == ("B02", "CHIR", 0.5, "µM")
    assert sample.row == 2


def test_a_chinese_sheet_in_gbk() -> None:
    (sample,) = parsed("板号,孔位,处理,剂量,单位,重复\n1,C3,对照,0,µM,2\n", "gb18030")

    assert sample == Sample("1", "C03", "对照", 0.0, "µM", "2", 2)


@pytest.mark.parametrize(
    ("head", "unit"),
    [("Dose (µM)", "µM"), ("Conc. [nM]", "nM"), ("浓度（µg/mL）", "µg/mL"), ("dose_uM", "uM")],
)
def test_the_name_of_the_column_may_carry_the_unit_of_its_doses(head: str, unit: str) -> None:
    none, some = parsed(f"well,condition,{head}\nA1,CHIR,0.5\nA2,CHIR,10 mM\n")

    assert (none.dose, none.unit) == (0.5, unit)
    assert (some.dose, some.unit) == (10.0, "mM")


@pytest.mark.parametrize(
    "above", ["sep=;\n", "Plate map, May;;\n;;\n", "# drawn by Ada, in May\n", "notes\nA, B, C\n"]
)
def test_lines_above_the_names_of_the_columns_are_passed_over(above: str) -> None:
    (sample,) = parsed(f"{above}well;condition;dose\nA1;CHIR;0,5\n")

    assert (sample.well, sample.condition, sample.dose) == ("A01", "CHIR", 0.5)
    assert sample.row == above.count("\n") + 2


def test_the_sheet_of_a_workbook_that_names_wells_is_taken() -> None:
    book = openpyxl.Workbook()
    book.active.append(["what we did"])
    for row in ([], ["Plate 1"], ["well", "condition"], ["A1", "CHIR"]):
        (book["map"] if "map" in book.sheetnames else book.create_sheet("map")).append(row)
    stream = io.BytesIO()
    book.save(stream)

    (sample,) = parse_sheet(stream.getvalue(), "s.xlsx").samples

    assert (sample.well, sample.row) == ("A01", 4)


def test_a_number_with_two_kinds_of_signs_is_no_dose() -> None:
    found = parse_sheet(b"well;condition;dose\nA1;CHIR;1.000,5\n", "sheet.csv")

    assert found.samples == ()
    assert "the dose '1.000,5' is no number" in found.problems[0].what


@pytest.mark.parametrize(
    "dose",
    ["1 000", "1'000", "1:1000", "1/1000", "10^-6", "5 x 10-6 M", "10-20", "10±2", "1 µM + 5 µM",
     "1e400"],
)  # fmt: skip
def test_what_is_no_number_with_a_unit_is_no_dose(dose: str) -> None:
    found = parse_sheet(f"well;condition;dose\nA1;CHIR;{dose}\n".encode(), "sheet.csv")

    assert found.samples == ()
    assert f"the dose '{dose}' is no number" in found.problems[0].what


@pytest.mark.parametrize("dose", ["01. Mai", "1-May", "5-Jan", "Dez 24"])
def test_a_dose_that_a_spreadsheet_took_for_a_day_is_said(dose: str) -> None:
    found = parse_sheet(f"well;condition;dose\nA1;CHIR;{dose}\n".encode(), "sheet.csv")

    assert found.samples == ()
    assert "date" in found.problems[0].what or "no number" in found.problems[0].what


@pytest.mark.parametrize("unit", ["mg/m2", "[µM]", "(nM)", "% v/v", "U/ml", "J/m²"])
def test_a_unit_behind_a_dose_may_hold_signs(unit: str) -> None:
    (sample,) = parsed(f"well;condition;dose\nA1;CHIR;10 {unit}\n")
    assert (sample.dose, sample.unit) == (10.0, unit.strip("[]()"))


@pytest.mark.parametrize("unit", ["uM", "μM", "µm"])
def test_a_unit_that_is_spelled_otherwise_is_no_contradiction(unit: str) -> None:
    assert parsed(f"well,condition,dose,unit\nA1,CHIR,10 {unit},µM\n")[0].dose == 10.0


@pytest.mark.parametrize(
    ("delimiter", "doses", "left"),
    [
        ("\t", ["1,000", "500"], [500.0]),  # in English a thousand
        ("\t", ["3,125", "12,5"], [3.125, 12.5]),
        (";", ["0,5", "1.000", "3,125"], [0.5, 3.125]),
        (";", ["0.5", "1,250"], [0.5]),
        (",", ["3.125", "6.25"], [3.125, 6.25]),
    ],
)
def test_a_sign_that_may_group_thousands_is_read_as_the_column_writes_decimals(
    delimiter: str, doses: list[str], left: list[float]
) -> None:
    rows = [["well", "condition", "dose"], *([f"A{n}", "x", d] for n, d in enumerate(doses, 1))]

    found = parse_sheet("\n".join(map(delimiter.join, rows)).encode(), "sheet.csv")

    assert [sample.dose for sample in found.samples] == left
    assert len(found.problems) == len(doses) - len(left)


@pytest.mark.parametrize("dose", ["-", "n/a", "none", ""])
def test_a_control_may_say_in_words_that_it_has_no_dose(dose: str) -> None:
    assert parsed(f"well,condition,dose\nA1,DMSO,{dose}\n")[0].dose is None


@pytest.mark.parametrize(("head", "unit"), [("dose (log nM)", ""), ("dose", "log M")])
def test_logarithms_of_doses_are_refused(head: str, unit: str) -> None:
    with pytest.raises(InputError, match="gives logarithms of doses"):
        parse_sheet(f"well,condition,{head},unit\nA1,x,2,{unit}\n".encode(), "s.csv")


@pytest.mark.parametrize("row", ["A1,x,0,5,µM,1", "A1,x,0,5"])
def test_a_decimal_comma_between_commas_is_no_other_dose(row: str) -> None:
    found = parse_sheet(f"well,condition,dose,unit,replicate\n{row}\n".encode(), "s.csv")

    assert found.samples == ()
    assert found.problems[0].row == 2


def test_columns_that_were_not_read_are_named() -> None:
    found = parse_sheet(b"well,sample,compound,final conc\nA1,1,CHIR,5\nA2,2,CHIR,9\n", "s.csv")

    ((row, said),) = found.problems
    assert row == 0
    assert said.startswith("Columns that were not read: compound, final conc.")


@pytest.mark.parametrize("text", ["#N/A", "#REF!", "#DIV/0!", "#NV"])
def test_what_a_failed_formula_leaves_is_no_condition(text: str) -> None:
    found = parse_sheet(f"well,condition\nA1,{text}\nA2,#12\n".encode(), "s.csv")

    assert [sample.condition for sample in found.samples] == ["#12"]
    assert "an error of the spreadsheet" in found.problems[0].what


def test_formulas_that_no_program_has_calculated_are_no_empty_cells() -> None:
    with pytest.raises(InputError, match="its formulas have no values yet"):
        parse_sheet(workbook([["well", "condition", "dose"], ["A1", "x", "=1/2"]]), "s.xlsx")


def test_a_hidden_sheet_is_not_read_and_a_second_visible_one_is_said() -> None:
    book = openpyxl.load_workbook(io.BytesIO(workbook([["well", "condition"], ["A1", "old"]])))
    book.active.sheet_state = "hidden"
    for name in ("P1", "P2"):
        sheet = book.create_sheet(name)
        sheet.append(["well", "condition"])
        sheet.append(["A1", name])
    stream = io.BytesIO()
    book.save(stream)

    found = parse_sheet(stream.getvalue(), "s.xlsx")

    assert [sample.condition for sample in found.samples] == ["P1"]
    assert found.problems[0].what.startswith("1 more sheets of the workbook name wells")


def test_a_share_that_a_workbook_shows_in_percent_is_that_many_percent() -> None:
    book = openpyxl.load_workbook(io.BytesIO(workbook([["well", "condition", "dose"]])))
    book.active.append(["A1", "serum", 0.5])
    book.active["C2"].number_format = "0.0%"
    stream = io.BytesIO()
    book.save(stream)

    (sample,) = parse_sheet(stream.getvalue(), "s.xlsx").samples

    assert (sample.dose, sample.unit) == (50.0, "%")


def test_rows_of_several_plates_are_not_laid_over_images_that_name_none() -> None:
    sheet = parse_sheet(b"plate,well,condition\nP1,A1,control\nP2,A1,drug\n", "s.csv")

    placed = place_samples(sheet, [("", "A01")])

    assert placed.by_well == {}
    assert "names several plates (P1, P2)" in placed.problems[0].what


@pytest.mark.parametrize("unit", ["µM", "°C", "µg/ml", "Änderung"])
def test_a_sheet_that_excel_saved_in_europe_keeps_its_signs(unit: str) -> None:
    (sample,) = parsed(f"well;condition;dose;unit\nA1;x;0,5;{unit}\n", "cp1252")
    assert sample.unit == unit


def test_positions_that_a_microscope_counts_have_samples_too() -> None:
    sheet = parse_sheet(b"well,condition\nposition 3,CHIR\nWell 12,none\n", "sheet.csv")

    placed = place_samples(sheet, [("", "position 3"), ("", "well 12")])

    assert {well: sample.condition for (_, well), sample in placed.by_well.items()} == {
        "position 3": "CHIR", "well 12": "none",
    }  # fmt: skip


def test_a_series_without_wells_is_named_as_the_table_of_wells_shows_it() -> None:
    sheet = parse_sheet(
        b"well,condition\nDonor 1/drug,CHIR\nDONOR 2/drug,CHIR\ndonor 3,none\nQ99,x\n",
        "s.csv",
    )

    placed = place_samples(sheet, [("", "donor 1/drug"), ("", "donor 2/drug"), ("", "donor 4")])

    assert [sample.condition for sample in placed.by_well.values()] == ["CHIR", "CHIR"]
    assert placed.of("", "donor 2/drug") is not None
    said = [problem.what for problem in placed.problems]
    assert "'donor 3' is no well such as A1 or H12, and no name in the table of wells." in said
    assert "'Q99' is no well such as A1 or H12, and no name in the table of wells." in said
    assert "The sheet says nothing of 1 counted wells, such as donor 4." in said


def test_a_dose_may_carry_its_unit() -> None:
    (sample,) = parsed("well,condition,dose\nA1,CHIR,10 nM\n")
    assert (sample.dose, sample.unit) == (10.0, "nM")


def test_an_excel_sheet_with_numbers_as_numbers() -> None:
    content = workbook(
        [["Plate", "Well", "Treatment", "Conc.", "Replicate"], [1, "A1", "CHIR", 0.25, 2]]
    )

    found = parse_sheet(content, "sheet.xlsx")

    assert found.samples == (Sample("1", "A01", "CHIR", 0.25, "", "2", 2),)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("P1,,x,1,,", "the well is missing"),
        ("P1,A1,,1,,", "the condition is missing"),
        ("P1,A1,x,much,,", "the dose 'much' is no number"),
        ("P1,A1,x,-1,,", "the dose -1 is below zero"),
        ('P1,A1,x,"1,000",,', "may be a thousand or have decimals"),
        ("P1,A1,x,1 nM,µM,", "the dose is in 'nM', the unit is 'µM'"),
    ],
)
def test_a_row_that_cannot_be_right_is_named_and_left_out(row: str, what: str) -> None:
    text = f"plate,well,condition,dose,unit,replicate\nP1,B1,y,1,,\n{row}\n"

    found = parse_sheet(text.encode(), "sheet.csv")

    assert [sample.well for sample in found.samples] == ["B01"]
    ((number, said),) = found.problems
    assert number == 3
    assert what in said
    assert said.endswith("the row is left out.")


def test_a_date_that_a_spreadsheet_made_of_a_name_is_said() -> None:
    found = parse_sheet(
        workbook([["well", "condition"], ["A1", date(2026, 3, 1)], ["A2", "x"]]), "s.xlsx"
    )
    assert [sample.well for sample in found.samples] == ["A02"]
    assert "a date to the spreadsheet" in found.problems[0].what


def test_doubles_that_agree_are_one_and_doubles_that_contradict_are_none() -> None:
    text = "plate,well,condition\n1,A1,x\nP1,a01,x\n1,B1,x\n1,B01,y\n2,A1,x\n"

    found = parse_sheet(text.encode(), "sheet.csv")

    assert [(s.plate, s.well) for s in found.samples] == [("1", "A01"), ("2", "A01")]
    assert found.problems == (
        Problem(3, "well A01 stands in row 2 already."),
        Problem(
            5, "well B01 stands in row 4 already with something else: none of these rows is used."
        ),
    )


def test_a_row_may_end_before_its_last_columns() -> None:
    (sample,) = parsed("well,condition,dose,unit,replicate\nA1,x,1\n")
    assert (sample.dose, sample.unit, sample.replicate) == (1.0, "", "")


def test_empty_wells_of_a_list_are_no_fault() -> None:
    assert [s.well for s in parsed("well,condition,dose\nA1,x,1\nA2,,\nA3,x,2\n")] == ["A01", "A03"]


def test_a_sheet_without_the_columns_says_which_it_has() -> None:
    with pytest.raises(InputError, match=r"no column 'well' \(its columns: 'a', 'condition'\)"):
        parse_sheet(b"a,condition\n1,x\n", "sheet.csv")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"\xd0\xcf\x11\xe0 old excel"])
def test_what_is_no_sheet_is_one_sentence(content: bytes) -> None:
    with pytest.raises(InputError, match="sample sheet 'x"):
        parse_sheet(content, "x.xlsx")


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_sheet(tmp_path / "none.csv")


@pytest.mark.parametrize("spelling", ["P1", "p01", "Plate 1", "plate_1", "1"])
def test_spellings_of_a_plate_are_one(spelling: str) -> None:
    assert plate_word(spelling) == "1"


def test_a_plate_that_is_called_otherwise_keeps_its_name() -> None:
    assert plate_word("PlateX") == "x"
    assert plate_word("Drug screen") == "drug screen"
    assert plate_word("passage 7") != plate_word("7")


def test_a_sheet_without_plates_goes_for_the_only_one() -> None:
    sheet = parse_sheet(b"well,condition\nA1,x\nA3,y\n", "s.csv")

    placed = place_samples(sheet, [("plate 7", "A01"), ("plate 7", "A02")])

    sample = placed.of("plate 7", "A01")
    assert sample is not None
    assert sample.condition == "x"
    assert placed.problems == (
        Problem(0, "The sheet says nothing of 1 counted wells, such as plate 7 A02."),
        Problem(3, "there is no image of well A03."),
    )


@pytest.mark.parametrize("other", ["chir99021", "CHIR-99021", "CHIR 99021"])
def test_conditions_that_may_be_one_are_said(other: str) -> None:
    sheet = parse_sheet(f"well,condition\nA1,CHIR99021\nA2,{other}\nA3,CHIR\n".encode(), "s.csv")

    (problem,) = place_samples(sheet, [("", f"A0{n}") for n in (1, 2, 3)]).problems

    assert "differ in capitals or gaps only" in problem.what


def test_with_several_plates_each_row_must_name_its_own() -> None:
    sheet = parse_sheet(b"plate,well,condition\n1,A1,x\n,A1,y\n3,A1,z\n", "s.csv")

    placed = place_samples(sheet, [("plate 1", "A01"), ("plate 2", "A01")])

    assert placed.of("plate 1", "A01") is not None
    assert placed.of("plate 2", "A01") is None
    assert [row for row, _ in placed.problems] == [0, 3, 4]
    assert "the plate is missing" in placed.problems[1].what
    assert "of plate '3'" in placed.problems[2].what


def test_of_several_columns_for_one_meaning_the_one_with_its_own_name_is_read() -> None:
    sheet = parse_sheet(b"Well ID,sample,well,condition\nX9,S1,A1,ctrl\n", "s.csv")

    assert [(s.well, s.condition) for s in sheet.samples] == [("A01", "ctrl")]
    assert "Well ID, sample" in sheet.problems[0].what


@pytest.mark.parametrize("nothing", ["?", "-", "N/A", "NaN"])
def test_a_sign_for_nothing_is_no_condition(nothing: str) -> None:
    sheet = parse_sheet(f"well,condition\nA1,{nothing}\nA2,none\n".encode(), "s.csv")

    assert [s.condition for s in sheet.samples] == ["none"]
    assert "the condition is missing" in sheet.problems[0].what


def test_a_unit_in_the_name_of_the_column_and_another_in_the_row_are_a_contradiction() -> None:
    text = "well,condition,conc [µM],unit\nA1,d,5,nM\nA2,d,5,\nB1,d,5,uM\n"
    sheet = parse_sheet(text.encode(), "s.csv")

    assert [s.well for s in sheet.samples] == ["A02", "B01"]
    assert sheet.problems[0].what.startswith("the dose is in 'µM', the unit is 'nM'")
