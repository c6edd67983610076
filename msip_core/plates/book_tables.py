"""Every table of a plate's analysis, as rows: what the workbook, the CSV files and the report show.

Numbers stay numbers, a share is a fraction of one, an empty cell is a number that does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msip_core.plates.agreement import Bounds, Limits
from msip_core.plates.analysis import PlateAnalysis, WellResult
from msip_core.plates.conditions import Measure
from msip_core.plates.nested import Estimate
from msip_core.plates.rows import (
    OBJECT_COLUMNS,
    image_cells,
    image_columns,
    object_cells,
    well_cells,
)

Cells = dict[str, Any]
MEASURES: Mapping[Measure, str] = {"fraction": "fraction", "count": "objects per field"}


@dataclass(frozen=True)
class Table:
    """Rows under their columns; `rows` can be gone through once or several times.

    Attributes:
        name: of the sheet, and of the CSV file in lower case.
    """

    name: str
    columns: Sequence[str]
    rows: Iterable[Mapping[str, Any]]

    @property
    def file(self) -> str:
        return self.name.lower().replace(" ", "_")


def tables_of(found: PlateAnalysis) -> list[Table]:
    """All tables that have anything to show, the wells first."""
    made = [
        _listed("Wells", [_well(found, well) for well in found.wells]),
        _listed("Conditions", [_condition(found, n) for n in range(len(found.conditions))]),
        _listed("Comparisons", list(_comparisons(found))),
        _listed("Dose response", list(_doses(found))),
        _listed("Agreement", [*_agreement(found), *_calibration(found)]),
        _listed("Models by condition", list(_by_condition(found))),
    ]
    for kind, one in (("", found.counting), ("Baseline ", found.baseline)):
        if one is not None:
            images = _Again(one.images, image_cells)
            made.append(Table(f"{kind}images".capitalize(), image_columns(one.classes), images))
            objects = _Again(one.objects, object_cells)
            made.append(Table(f"{kind}objects".capitalize(), OBJECT_COLUMNS, objects))
    problems = [{"row": p.row or None, "what": p.what} for p in found.problems]
    made.append(_listed("Sheet problems", problems))
    return [table for table in made if table.columns]


def _listed(name: str, rows: Sequence[Cells]) -> Table:
    return Table(name, list(rows[0]) if rows else (), rows)


class _Again:
    """Rows that are made anew each time they are gone through: objects are many."""

    def __init__(self, rows: Sequence[Any], cells: Any) -> None:
        self._rows, self._cells = rows, cells

    def __iter__(self) -> Iterator[Cells]:
        return (self._cells(row) for row in self._rows)


def rounded(value: float | None, digits: int = 6) -> float | None:
    """What a cell holds: six digits behind the point are more than any count knows."""
    return None if value is None else round(float(value), digits)


def bounds(name: str, found: Estimate | Bounds | None) -> Cells:
    """Three cells: a number and its 95 % interval."""
    return {
        name: rounded(found.value) if found else None,
        f"{name}_low": rounded(found.low) if found else None,
        f"{name}_high": rounded(found.high) if found else None,
    }


# --- wells and conditions -----------------------------------------------------


def well_state(well: WellResult) -> str:
    """counted, no object, blank, or failed: what an empty cell of a well means."""
    row = well.seen.row
    if row.fields_counted == 0:
        return "failed"
    if not well.seen.fields:
        return "blank"
    return "counted" if row.total else "no object"


def _well(found: PlateAnalysis, well: WellResult) -> Cells:
    cells = well_cells(well.seen.row)
    keys = ("plate", "well", "group", "time")
    classes = {f"n_{name}": cells.get(name) for name in found.counting.classes}
    seen = bool(well.seen.fields)
    return {
        **{key: cells[key] for key in keys},
        **_sample(well, with_sheet=bool(found.conditions)),
        "state": well_state(well),
        "fields": cells["fields"],
        "fields_blank": cells["fields_empty"],
        "fields_failed": cells["fields_failed"],
        **{name: count if seen else None for name, count in classes.items()},
        "objects": cells["total"] if seen else None,
        **bounds("objects_per_field", well.per_field),
        **(bounds("fraction", well.fraction) if found.crypts else {}),
        f"median_diameter_{_unit(found)}": rounded(well.diameter, 2),
    }


def _sample(well: WellResult, *, with_sheet: bool) -> Cells:
    if not with_sheet:
        return {}
    sample = well.sample
    return {
        "condition": sample.condition if sample else None,
        "dose": sample.dose if sample else None,
        "unit": sample.unit if sample else None,
        "replicate": sample.replicate if sample else None,
    }


def _unit(found: PlateAnalysis) -> str:
    return "um" if found.sizes.unit == "µm" else "px"


def _condition(found: PlateAnalysis, number: int) -> Cells:
    one = found.conditions[number]
    return {
        "condition": one.condition.name,
        "dose": one.condition.dose,
        "unit": one.condition.unit,
        "wells": len(one.condition.members),
        "wells_with_objects": sum(bool(well.objects()) for well in one.condition.wells),
        "units_are": "replicates" if one.condition.by_replicate else "wells",
        "units": one.per_field.units,
        "objects": sum(well.objects() for well in one.condition.wells),
        **(bounds("fraction", one.fraction) if found.crypts else {}),
        **bounds("objects_per_field", one.per_field),
        **bounds(f"median_diameter_{_unit(found)}", one.diameter),
        "note": one.fraction.reason if found.crypts else one.per_field.reason,
    }


def _comparisons(found: PlateAnalysis) -> Iterator[Cells]:
    for one in found.comparisons:
        gap, ratio = (Bounds(*b) if b else None for b in (one.difference, one.ratio))
        yield {
            "measure": MEASURES[one.measure],
            "condition": one.group,
            "control": one.control,
            "units": one.units,
            "control_units": one.control_units,
            **bounds("difference", gap),
            **bounds("ratio", ratio),
            "p": rounded(one.p, 9),
            "p_holm": rounded(one.adjusted, 9),
            "clear": None if one.adjusted is None else "yes" if one.is_clear else "no",
            "method": one.method,
            "dispersion": rounded(one.dispersion, 3),
            "plates_as_blocks": "yes" if one.blocks else "no",
            "note": one.reason,
        }


def _doses(found: PlateAnalysis) -> Iterator[Cells]:
    for measure, one in found.doses:
        curve = one.curve
        yield {
            "measure": MEASURES[measure],
            "series": one.name,
            "unit": one.unit,
            "wells": len(one.doses),
            **bounds("ec50", one.ec50),
            "bottom": rounded(curve.bottom) if curve else None,
            "top": rounded(curve.top) if curve else None,
            "slope": rounded(curve.slope) if curve else None,
            "note": one.ec50.reason or one.reason,
        }


# --- how sure -----------------------------------------------------------------


def _limits(found: Limits | None) -> Cells:
    return {
        "units": found.units if found else None,
        "clusters": found.clusters if found else None,
        **bounds("bias", found.bias if found else None),
        **bounds("lower_limit", found.lower if found else None),
        **bounds("upper_limit", found.upper if found else None),
        **bounds("slope", found.slope if found else None),
    }


def _agreement(found: PlateAnalysis) -> Iterator[Cells]:
    for one in found.agreement:
        same = one.equivalence
        yield {
            "compared": "this model minus baseline, per well",
            "measure": MEASURES[one.measure],
            **_limits(one.limits),
            "margin": rounded(same.margin) if same else None,
            "bias_90_low": rounded(same.low) if same else None,
            "bias_90_high": rounded(same.high) if same else None,
            "p_equivalence": rounded(same.p, 9) if same else None,
            "verdict": same.verdict if same else None,
            "beyond_margin": same.outside if same else None,
            **bounds("concordance", one.concordance),
            "icc_a1": rounded(one.intraclass),
            "found": None,
            "labelled": None,
        }


def _calibration(found: PlateAnalysis) -> Iterator[Cells]:
    for one in found.calibration:
        yield {
            "compared": "counted minus labelled, per image",
            "measure": one.name,
            **_limits(one.limits),
            **dict.fromkeys(
                ("margin", "bias_90_low", "bias_90_high", "p_equivalence", "verdict",
                 "beyond_margin", "concordance", "concordance_low", "concordance_high", "icc_a1")
            ),
            "found": one.found,
            "labelled": one.labelled,
        }  # fmt: skip


def _by_condition(found: PlateAnalysis) -> Iterator[Cells]:
    for one in found.agreement:
        for name, reference, other in one.by_condition:
            yield {
                "measure": MEASURES[one.measure],
                "condition": name,
                "units": other.units,
                **bounds("baseline", reference),
                **bounds("this_model", other),
                "difference": rounded(other.value - reference.value)
                if other.value is not None and reference.value is not None
                else None,
            }
