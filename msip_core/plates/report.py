"""The report of a plate: one HTML file with map, conditions, doses, agreement and methods."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msip_core
from msip_core.plates.analysis import PlateAnalysis
from msip_core.plates.book_tables import well_state
from msip_core.plates.conditions import Measure
from msip_core.plates.figures import panels_of, what
from msip_core.plates.methods import Part, methods
from msip_core.plates.statements import (
    agreement_sentence,
    comparison_sentence,
    difference_words,
    dose_sentence,
    p_words,
    signed,
    whole_sentence,
    with_interval,
)
from msip_core.views import inline
from msip_core.views.paper_page import Panel
from msip_core.views.report import Figure, figure_of
from msip_core.workspace import write_text

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Section:
    """One part of the report; parts without anything in them are left out."""

    id: str
    title: str
    sentences: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[tuple[str, Rows]] = field(default_factory=tuple)


def write_report(
    found: PlateAnalysis, path: Path, settings: Sequence[Part] = (), title: str = ""
) -> Path:
    """Write the report as one self-contained HTML file."""
    write_text(path, render_report(found, settings, title))
    return path


def render_report(found: PlateAnalysis, settings: Sequence[Part] = (), title: str = "") -> str:
    """The report's HTML.

    Args:
        settings: of the count, as they are to be read.
        title: what people call the count.
    """
    figures = {name: _figure(name, panel) for name, panel in panels_of(found).items()}
    made = [
        _plate(found, figures),
        _conditions(found, figures),
        _doses(found, figures),
        _models(found, figures),
        _labels(found, figures),
        _left_out(found),
    ]
    return inline.template("plate.html.j2").render(
        title=title or found.counting.source,
        version=msip_core.__version__,
        made=time.strftime("%Y-%m-%d %H:%M"),
        summary=whole_sentence(found),
        remarks=_remarks(found),
        sections=[one for one in made if one.sentences or one.figures or one.tables],
        methods=methods(found, settings),
    )


def _figure(name: str, panel: Panel) -> Figure:
    letters = "".join(letter for letter in name if letter.isalpha())
    number = "".join("abcdefghij"[int(digit)] for digit in name if digit.isdecimal())
    return figure_of(panel, letters + number)


def _of(figures: dict[str, Figure], *beginnings: str) -> list[Figure]:
    return [figure for name, figure in figures.items() if name.startswith(beginnings)]


def _remarks(found: PlateAnalysis) -> list[str]:
    counting = found.counting
    said = [counting.wells_taken]
    if not counting.done:
        said.append(
            f"The count is not finished: {len(counting.images)} of {counting.total} images."
        )
    return [text for text in said if text]


# --- parts --------------------------------------------------------------------


def _plate(found: PlateAnalysis, figures: dict[str, Figure]) -> Section:
    share = what(found, "fraction") if found.crypts else ""
    rows: Rows = []
    for well in found.wells:
        row = well.seen.row
        seen = bool(well.seen.fields)
        rows.append(
            {
                "well": row.group,
                **({"condition": found.held(well)} if found.conditions else {}),
                "state": well_state(well),
                "fields": f"{len(well.seen.fields)} of {row.fields_counted + row.fields_failed}",
                **{name: (row.counts.get(name) if seen else None)
                   for name in found.counting.classes},
                "objects per field": with_interval(well.per_field, "count"),
                **({share: with_interval(well.fraction, "fraction")} if share else {}),
            }
        )  # fmt: skip
    caption = "Every well with its 95 % interval over fields, where it has three or more."
    tables = [(caption, rows)] if rows else []
    return Section("plate", "The plate", (), _of(figures, "map", "sizes"), tables)


def _conditions(found: PlateAnalysis, figures: dict[str, Figure]) -> Section:
    share = what(found, "fraction") if found.crypts else ""
    rows: Rows = [
        {
            "condition": one.condition.name,
            "wells": len(one.condition.members),
            "units": f"{one.per_field.units} {one.per_field.unit}s",
            **({share: with_interval(one.fraction, "fraction")} if share else {}),
            "objects per field": with_interval(one.per_field, "count"),
        }
        for one in found.conditions
    ]
    tables = [("Estimates with 95 % intervals over the units.", rows)] if rows else []
    compared: Rows = [
        {
            "condition": f"{one.group} against {one.control}",
            "measure": what(found, one.measure).lower(),
            "difference": difference_words(one.difference, one.measure) if one.difference else "–",
            "ratio": "–" if one.ratio is None else "{:.2f} ({:.2f} to {:.2f})".format(*one.ratio),
            "p (Holm)": "–" if one.adjusted is None else p_words(one.adjusted),
            "clear": "–" if one.adjusted is None else "yes" if one.is_clear else "no",
        }
        for one in found.comparisons
    ]
    if compared:
        caption = "Ratio: odds ratio of shares, ratio of objects per field. 95 % intervals."
        tables.append((caption, compared))
    sentences = [
        comparison_sentence(one) for one in found.comparisons if one.is_clear or one.reason
    ]
    return Section("conditions", "Conditions", sentences, _of(figures, "conditions"), tables)


def _doses(found: PlateAnalysis, figures: dict[str, Figure]) -> Section:
    sentences = [dose_sentence(measure, one) for measure, one in found.doses]
    return Section("doses", "Dose and response", sentences, _of(figures, "dose"))


def _models(found: PlateAnalysis, figures: dict[str, Figure]) -> Section:
    rows: Rows = []
    conditions: Rows = []
    for one in found.agreement:
        words = what(found, one.measure).lower()
        if one.limits is not None:
            bias, low, high = one.limits.bias
            rows.append(
                {
                    "measure": words,
                    "wells": one.limits.units,
                    "bias": _difference(bias, low, high, one.measure),
                    "limits of agreement": f"{signed(one.limits.lower.value, one.measure)} to "
                    f"{signed(one.limits.upper.value, one.measure)}",
                    "concordance": f"{one.concordance.value:.3f}" if one.concordance else "–",
                    "ICC(A,1)": "–" if one.intraclass is None else f"{one.intraclass:.3f}",
                    "p (equivalence)": p_words(one.equivalence.p) if one.equivalence else "–",
                    "verdict": one.equivalence.verdict if one.equivalence else "too few wells",
                }
            )
        conditions += [
            {
                "condition": name,
                "measure": words,
                "baseline": with_interval(reference, one.measure),
                "this model": with_interval(other, one.measure),
            }
            for name, reference, other in one.by_condition
        ]
    tables = []
    if rows:
        tables.append(("This model minus the baseline, well by well.", rows))
    if conditions:
        tables.append(("Each condition as both models count it.", conditions))
    return Section(
        "models",
        "Does the lighter model give the same biology?",
        [agreement_sentence(one) for one in found.agreement],
        _of(figures, "models"),
        tables,
    )


def _difference(value: float, low: float | None, high: float | None, measure: Measure) -> str:
    if low is None or high is None:
        return signed(value, measure)
    return difference_words((value, low, high), measure)


def _labels(found: PlateAnalysis, figures: dict[str, Figure]) -> Section:
    rows: Rows = [
        {
            "class": one.name,
            "labelled": one.labelled,
            "counted": one.found,
            "counted per labelled": "–" if one.ratio is None else f"{one.ratio:.2f}",
            "bias per image": _difference(*one.limits.bias, "count") if one.limits else "–",
            "slope": f"{one.limits.slope.value:.2f}" if one.limits and one.limits.slope else "–",
        }
        for one in found.calibration
    ]
    tables = [("Counts held against labels, image by image.", rows)] if rows else []
    return Section("labels", "How sure is a count?", (), _of(figures, "labels"), tables)


def _left_out(found: PlateAnalysis) -> Section:
    images: Rows = [
        {"image": image.image, "state": image.state, "reason": image.reason}
        for image in found.counting.images
        if image.state != "counted"
    ]
    problems: Rows = [{"row": p.row or "", "what": p.what} for p in found.problems]
    tables = []
    if images:
        tables.append(("Images that could not be read, or on which nothing could be seen.", images))
    if problems:
        tables.append(("The sample sheet, row by row.", problems))
    return Section("left-out", "Left out", (), (), tables)
