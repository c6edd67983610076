"""The sample sheet: which well holds what. A table with one row a well, CSV or Excel.

    plate;well;condition;dose;unit;replicate
    P1;A1;control;0;µM;1
    P1;B01;CHIR;0,5;µM;1

Columns may stand in any order and be named in English or Chinese; only the well and the condition
are needed. Where names of images show no wells, the well is the series (folder, or what a group
pattern found) as the table of wells shows it. Lines above these names are passed over, and the unit
of doses may stand in the name. A row that cannot be right is left out and named with its number,
never guessed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from msip_core.bounded import UnreadableError, read_csv
from msip_core.data.encodings import decode_text
from msip_core.data.names import COLUMN, ROW
from msip_core.errors import InputError
from msip_core.messages import Message, mark, msg
from msip_core.plates.dose import in_one_unit
from msip_core.plates.sheet_doses import DoseColumn, head_of, is_logarithm
from msip_core.plates.workbook_rows import read_workbook

Table = tuple[Sequence[tuple[int, list[Any]]], str]  # rows with their numbers, the delimiter
_ABOVE = 20  # rows, in which the names of the columns are looked for
MOST_BYTES = 8 * 1024**2
COLUMNS = ("plate", "well", "condition", "dose", "unit", "replicate")
_NAMES = {
    "plate": ("plate", "platename", "plateid", "barcode", "板", "板号", "孔板", "板名"),
    "well": ("well", "wellid", "wellname", "position", "孔", "孔位", "孔号"),
    "condition": ("condition", "treatment", "group", "compound", "drug", "sample", "条件", "处理",
                  "组", "组别", "分组", "药物", "化合物"),
    "dose": ("dose", "concentration", "conc", "剂量", "浓度"),
    "unit": ("unit", "units", "doseunit", "concunit", "单位", "剂量单位", "浓度单位"),
    "replicate": ("replicate", "rep", "repeat", "biologicalreplicate", "donor", "重复", "复孔",
                  "生物学重复"),
}  # fmt: skip
_WELL = re.compile(rf"(?:well[-_ ]?)?(?P<row>{ROW})[-_ ]?(?P<col>{COLUMN})", re.I)
_COUNTED = re.compile(r"(?P<kind>position|well)[-_ ]?(?P<number>\d{1,4})", re.I)
# What spreadsheets write where a formula failed, in English and German.
_FAILED = re.compile(r"#(?:N/A|NV|[A-Z]{3,}[/\d]*[!?])")
_UNKNOWN = re.compile(r"[-–—?/]+|n\.?/a\.?|nan|#n/a", re.I)  # in the place of a condition
_GAPS = re.compile(r"\s+|(?<=[^\W\d_])[_-](?=\w)")
_PLATE = re.compile(r"^(?:plate[-_ #]*|p[-_ #]*(?=\d)|板)?0*(?=.)", re.I)


class Problem(NamedTuple):
    """What is wrong in a row of the sheet; row 0 is about the sheet as a whole."""

    row: int
    what: str


@dataclass(frozen=True, slots=True)
class Sample:
    """What one well holds.

    Attributes:
        plate: as the sheet writes it; "" where it names none.
        well: such as "A01"; else the name as the sheet writes it, which may be that of a series.
        dose: in `unit`; None where the sheet tells none.
        row: of the sheet, counted as the spreadsheet does.
    """

    plate: str
    well: str
    condition: str
    dose: float | None = None
    unit: str = ""
    replicate: str = ""
    row: int = 0


@dataclass(frozen=True)
class SampleSheet:
    """A sheet that was read: its samples, and every row that is left out or odd."""

    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...] = ()
    name: str = ""
    by_well: dict[tuple[str, str], Sample] = field(default_factory=dict)

    def of(self, plate: str, well: str) -> Sample | None:
        """What a well of the count holds; None where the sheet does not say."""
        return self.by_well.get((plate, well))


def read_sheet(path: Path) -> SampleSheet:
    """Read a sheet from a file.

    Raises:
        InputError: no such file, larger than a sheet is, or no table with wells and conditions.
    """
    try:
        with path.expanduser().open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            "The sample sheet '{path}' cannot be read: {reason}. Give a CSV or Excel file.",
            path=path,
            reason=reason,
        ) from error
    return parse_sheet(content, path.name)


def parse_sheet(content: bytes, name: str) -> SampleSheet:
    """Read a sheet from the content of a file, see `read_sheet`."""
    if len(content) > MOST_BYTES:
        raise InputError(
            "The sample sheet '{name}' is larger than {most:g} MB: keep only the "
            "table with the wells.",
            name=name,
            most=MOST_BYTES / 1024**2,
        )
    try:
        if content[:4] == b"PK\x03\x04":
            tables: list[Table] = [(rows, "") for rows in read_workbook(content)]
        elif content[:4] == b"\xd0\xcf\x11\xe0":
            raise UnreadableError("it is an Excel file of before 2007")
        else:
            tables = _read_text(decode_text(content))
    except UnreadableError as error:
        raise InputError(
            "The sample sheet '{name}' cannot be read: {error}. Save it as CSV or as an Excel "
            "workbook (.xlsx).",
            name=name,
            error=error,
        ) from error
    return _parse(tables, name)


def _read_text(text: str) -> list[Table]:
    """The text by each delimiter, the likeliest first."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiters = sorted((";", "\t", ","), key=first.count, reverse=True)
    return [(list(read_csv(text, delimiter)), delimiter) for delimiter in delimiters]


def _with_names(tables: Sequence[Table]) -> Table:
    """The table from the row on that names its columns; the first one where none does."""
    for rows, delimiter in tables:
        if (at := _header_of(rows)) is not None:
            return rows[at:], delimiter
    return tables[0] if tables else ([], "")


def _header_of(rows: Sequence[tuple[int, list[Any]]]) -> int | None:
    """The place of the row that names the columns."""
    named = (
        at for at, row in enumerate(rows[:_ABOVE]) if {"well", "condition"} <= set(_columns(row[1]))
    )
    return next(named, None)


def _parse(tables: Sequence[Table], name: str) -> SampleSheet:
    rows, delimiter = _with_names(tables)
    if not rows:
        raise InputError(
            "The sample sheet '{name}' is empty: give it a row for each well.", name=name
        )
    _, header = rows[0]
    columns = _columns(header)
    missing = [column for column in ("well", "condition") if column not in columns]
    if missing:
        has = ", ".join(f"'{cell}'" for cell in map(_text, header) if cell) or "none"
        raise InputError(
            "The sample sheet '{name}' has no column '{missing}' (its columns: {has}). Name "
            "the columns plate, well, condition, dose, unit, replicate; only the well and the "
            "condition are needed.",
            name=name,
            missing=missing[0],
            has=has,
        )
    doses = _doses(rows, columns, delimiter, name)
    samples: list[Sample] = []
    problems = _not_read(header, columns, () if delimiter else tables)
    for number, cells in rows[1:]:
        try:
            if delimiter == "," and any(map(_text, cells[len(header) :])):
                raise UnreadableError(
                    "it has {n} cells and the header {cells}: if its numbers have decimal "
                    "commas, save the table with semicolons between the cells",
                    n=len(cells),
                    cells=len(header),
                )
            if (sample := _sample(number, cells, columns, doses)) is not None:
                samples.append(sample)
        except UnreadableError as error:
            problems.append(Problem(number, msg("{error}: the row is left out.", error=error)))
    samples, doubles = _without_doubles(samples)
    return SampleSheet(tuple(samples), tuple(sorted([*problems, *doubles])), name)


def _columns(header: Sequence[Any]) -> dict[str, int]:
    """Meaning -> place of its column; of several the one that is called so, else the first."""
    known = {name: (m, name != names[0]) for m, names in _NAMES.items() for name in names}
    found: dict[str, tuple[bool, int]] = {}
    for place, cell in enumerate(header):
        text = _text(cell)
        for name in (text, head_of(text)[0]):
            meaning, other = known.get(re.sub(r"[\s_\-.:()（）]+", "", name).lower(), ("", True))
            if meaning and (name == text or meaning == "dose"):
                found[meaning] = min(found.get(meaning, (other, place)), (other, place))
    return {meaning: place for meaning, (_, place) in found.items()}


def _doses(
    rows: Sequence[tuple[int, list[Any]]], columns: dict[str, int], delimiter: str, name: str
) -> DoseColumn:
    """How the doses are written.

    Raises:
        InputError: they are logarithms.
    """
    place = columns.get("dose")
    if place is None:
        return DoseColumn()

    def cells_of(meaning: str) -> list[Any]:
        at = columns.get(meaning)
        return [] if at is None else [cells[at] for _, cells in rows[1:] if at < len(cells)]

    head = _text(rows[0][1][place])
    if any(is_logarithm(text) for text in (head, *map(_text, cells_of("unit")))):
        raise InputError(
            "The sample sheet '{name}' gives logarithms of doses ('{head}'): write the doses.",
            name=name,
            head=head,
        )
    return DoseColumn.of(cells_of("dose"), delimiter, head_of(head)[1])


def _not_read(
    header: Sequence[Any], columns: dict[str, int], sheets: Sequence[Table]
) -> list[Problem]:
    """Columns and sheets that were passed over: what they tell apart is taken for one."""
    heads = [_text(cell) for at, cell in enumerate(header) if at not in columns.values()]
    problems = []
    if any(heads):
        what = msg(
            "Columns that were not read: {heads}. If one tells plate, condition, dose, unit or "
            "replicate, call that one so, and no other.",
            heads=", ".join(filter(None, heads)),
        )
        problems.append(Problem(0, what))
    if (more := sum(_header_of(rows) is not None for rows, _ in sheets) - 1) > 0:
        what = msg(
            "{more} more sheets of the workbook name wells and were not read: put all wells into "
            "one, with a column plate.",
            more=more,
        )
        problems.append(Problem(0, what))
    return problems


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))  # a spreadsheet's 1 comes as 1.0
    return " ".join(str(cell).split())


def _sample(
    number: int, cells: Sequence[Any], columns: dict[str, int], doses: DoseColumn
) -> Sample | None:
    """The sample of a row; None for one that says nothing about its well, as in a plate's list.

    Raises:
        UnreadableError: with what is wrong.
    """
    given = {
        meaning: cells[place] if place < len(cells) else None for meaning, place in columns.items()
    }
    if dated := next((m for m, cell in given.items() if hasattr(cell, "year")), None):
        raise UnreadableError(
            "the {dated} is a date to the spreadsheet, type it as text", dated=dated
        )
    texts = {meaning: _text(given.get(meaning)) for meaning in COLUMNS}
    if failed := next((m for m, text in texts.items() if _FAILED.fullmatch(text)), None):
        raise UnreadableError(
            "the {failed} is '{text}', an error of the spreadsheet",
            failed=failed,
            text=texts[failed],
        )
    if not any(texts[meaning] for meaning in ("condition", "dose", "replicate")):
        return None
    if not texts["well"]:
        raise UnreadableError("the well is missing")
    well = well_name(texts["well"]) or texts["well"]
    if not texts["condition"] or _UNKNOWN.fullmatch(texts["condition"]):
        raise UnreadableError("the condition is missing")
    dose, unit = doses.read(given.get("dose"), texts["dose"])
    if texts["unit"].isdecimal():
        raise UnreadableError("the unit '{given}' is a number", given=texts["unit"])
    said = unit or doses.unit
    units = [(1.0, said), (1.0, texts["unit"])]
    if all(u for _, u in units) and in_one_unit(units) != ([1.0, 1.0], said):  # uM is µM
        raise UnreadableError(
            "the dose is in '{unit}', the unit is '{given}'", unit=said, given=texts["unit"]
        )
    return Sample(
        texts["plate"], well, texts["condition"], dose, texts["unit"] or unit or doses.unit,
        texts["replicate"], number,
    )  # fmt: skip


def well_name(text: str) -> str | None:
    """`A1`, `a01`, `A-1`, `Well A 01` as "A01", `Position 03` as "position 3" (which microscopes
    count); None if it is no well of up to 1536."""
    text = unicodedata.normalize("NFKC", text).strip()
    if counted := _COUNTED.fullmatch(text):
        return f"{counted['kind'].lower()} {int(counted['number'])}"
    found = _WELL.fullmatch(text)
    return f"{found['row'].upper()}{int(found['col']):02d}" if found else None


def _without_doubles(samples: Iterable[Sample]) -> tuple[list[Sample], list[Problem]]:
    """Each well once. Of rows that say the same the first stays, of others none."""
    seen: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        seen.setdefault((plate_word(sample.plate), _spelled(sample.well)), []).append(sample)
    kept: list[Sample] = []
    problems: list[Problem] = []
    for same in seen.values():
        said = {(s.condition, s.dose, s.unit, s.replicate) for s in same}
        if len(said) == 1:
            kept.append(same[0])
        for again in same[1:]:
            what = mark("well {well} stands in row {row} already.")
            if len(said) > 1:
                what = mark(
                    "well {well} stands in row {row} already with something else: none of these "
                    "rows is used."
                )
            place = {"well": same[0].well, "row": same[0].row}
            problems.append(Problem(again.row, Message(what, place)))
    return kept, problems


def plate_word(plate: str) -> str:
    """What two spellings of one plate share: `Plate 01`, `plate1`, `P1` and `1`."""
    return _PLATE.sub("", plate.strip()).strip().lower() if plate else ""


def _spelled(well: str) -> str:
    """What two spellings of a series share."""
    return unicodedata.normalize("NFKC", well).strip().casefold()


def place_samples(sheet: SampleSheet, wells: Sequence[tuple[str, str]]) -> SampleSheet:
    """The sheet laid over the wells that were counted: (plate, well or series) each.

    A sheet that names no plate goes for the only one there is. What does not fit is named: rows of
    wells that have no image, and wells that the sheet does not mention.
    """
    known = {(plate_word(plate), _spelled(well)): (plate, well) for plate, well in wells if well}
    plates = sorted({plate for plate, well in wells if well})
    problems = list(sheet.problems)
    by_well: dict[tuple[str, str], Sample] = {}
    told = sorted({sample.plate for sample in sheet.samples if sample.plate})
    if plates == [""] and len(set(map(plate_word, told))) > 1:
        what = msg(
            "The sheet names several plates ({names}) and the names of the images none: keep the "
            "rows of the plate that was counted.",
            names=", ".join(told[:4]),
        )
        return SampleSheet(sheet.samples, (*problems, Problem(0, what)), sheet.name)
    for sample in sheet.samples:
        spelled = plate_word(sample.plate)
        if not sample.plate and len(plates) > 1:
            names = ", ".join(plates[:4])
            problems.append(
                Problem(sample.row, msg("the plate is missing, there are {names}.", names=names))
            )
            continue
        if len(plates) == 1 and (not sample.plate or not plates[0]):
            spelled = plate_word(plates[0])
        place = known.get((spelled, _spelled(sample.well)))
        if place is None:
            problems.append(Problem(sample.row, _not_counted(sample)))
        else:
            by_well[place] = sample
    problems += [Problem(0, what) for what in _alike({s.condition for s in by_well.values()})]
    missing = [
        f"{plate} {well}".strip() for plate, well in known.values() if (plate, well) not in by_well
    ]
    if missing:
        shown = ", ".join(missing[:6])
        said = msg(
            "The sheet says nothing of {n} counted wells, such as {shown}.",
            n=len(missing),
            shown=shown,
        )
        problems.append(Problem(0, said))
    return SampleSheet(sheet.samples, tuple(sorted(problems)), sheet.name, by_well)


def _not_counted(sample: Sample) -> str:
    if well_name(sample.well) is None:
        return msg(
            "'{well}' is no well such as A1 or H12, and no name in the table of wells.",
            well=sample.well[:40],
        )
    if sample.plate:
        return msg(
            "there is no image of well {well} of plate '{plate}'.",
            well=sample.well,
            plate=sample.plate,
        )
    return msg("there is no image of well {well}.", well=sample.well)


def _alike(conditions: Iterable[str]) -> list[str]:
    """Conditions that differ in capitals or gaps alone, as CHIR99021 and Chir-99021: said, since
    both may be meant."""
    spelled: dict[str, list[str]] = {}
    for name in sorted(conditions):
        spelled.setdefault(_GAPS.sub("", _spelled(name)), []).append(name)
    return [
        msg(
            "'{one}' and '{other}' differ in capitals or gaps only: they are taken for two "
            "conditions.",
            one=one,
            other=other,
        )
        for one, other, *_ in (names for names in spelled.values() if len(names) > 1)
    ]
