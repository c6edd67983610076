"""The figures of a plate's analysis, as data for `views`: English; a page puts its own words in."""

from __future__ import annotations

from typing import Literal

import numpy as np

from msip_core.plates.agreement import Limits
from msip_core.plates.analysis import ModelAgreement, PlateAnalysis, WellResult
from msip_core.plates.book_tables import well_state
from msip_core.plates.conditions import Measure
from msip_core.plates.dose import DoseFit
from msip_core.plates.rows import crypt_class
from msip_core.plates.statements import with_interval
from msip_core.views.bland_altman import AltmanInfo, Level
from msip_core.views.bland_altman import altman_panel as _altman
from msip_core.views.paper_page import Panel
from msip_core.views.plate_dose import DoseInfo, dose_panel
from msip_core.views.plate_map import MapInfo, MapWell, State, map_info, map_panel
from msip_core.views.plate_sizes import SizeInfo, size_info, size_panel
from msip_core.views.plate_strips import Strip, StripInfo, strip_info, strip_panel

Shown = Literal["fraction", "count", "total", "diameter"]  # what a map can show
_POINTS = 120  # of a curve
_STATES: dict[str, State] = {
    "counted": "value",
    "no object": "none",
    "blank": "blank",
    "failed": "failed",
}


def what(found: PlateAnalysis, shown: Shown) -> str:
    """The quantity in words for a paper."""
    if shown == "fraction":
        named = found.crypts == crypt_class(found.counting.classes)
        return "Crypt fraction" if named else f"Share of {found.crypts}"
    if shown == "diameter":
        return f"Median diameter ({found.sizes.unit})"
    return "Objects per field" if shown == "count" else "Objects"


def plates_of(found: PlateAnalysis) -> list[str]:
    """Plates whose wells are known, in their order."""
    return list(dict.fromkeys(w.seen.key.plate for w in found.wells if w.seen.key.well))


def map_of(found: PlateAnalysis, plate: str, shown: Shown) -> MapInfo | None:
    """One plate; None where its names show no wells."""
    wells = [_map_well(found, well, shown) for well in found.wells if well.seen.key.plate == plate]
    return map_info(plate, wells, what(found, shown), is_share=shown == "fraction")


def _map_well(found: PlateAnalysis, well: WellResult, shown: Shown) -> MapWell:
    state = _STATES[well_state(well)]
    value = {
        "fraction": well.fraction.value,
        "count": well.per_field.value,
        "total": float(well.seen.objects()) if well.seen.fields else None,
        "diameter": well.diameter,
    }[shown]
    if state == "none" and shown in ("count", "total"):
        value = None  # its sign says 0
    row = well.seen.row
    lines = [well.sample.condition] if well.sample else []
    if well.seen.fields:
        lines.append(", ".join(f"{n} {name}" for name, n in row.counts.items()))
    if found.crypts and well.fraction.value is not None:
        lines.append(with_interval(well.fraction, "fraction"))
    if row.fields_failed or row.fields_empty:
        lines.append(f"{row.fields_failed} failed, {row.fields_empty} blank")
    return MapWell(well.seen.key.well, value, state, "\n".join(lines))


def strips_of(found: PlateAnalysis, measure: Measure) -> StripInfo:
    """Conditions with their wells; all wells of each plate where no sheet says what they hold."""
    strips = []
    for one in found.conditions:
        keys = {well.key for well in one.condition.wells}
        estimate = one.fraction if measure == "fraction" else one.per_field
        values = tuple(
            (f"{well.seen.key.plate} {well.seen.key.well}".strip(), value)
            for well in found.wells
            if well.seen.key in keys and (value := _value(well, measure)) is not None
        )
        strips.append(
            Strip(one.condition.name, values, estimate.value, estimate.low, estimate.high)
        )
    is_share = measure == "fraction"
    return strip_info(strips, what(found, measure), is_share=is_share, control=found.control)


def _value(well: WellResult, measure: Measure) -> float | None:
    return well.fraction.value if measure == "fraction" else well.per_field.value


def dose_of(found: PlateAnalysis, measure: Measure, one: DoseFit) -> DoseInfo:
    """One series with its curve."""
    wells = tuple(zip(one.doses.tolist(), one.responses.tolist()))
    info = DoseInfo(
        one.name, one.unit, what(found, measure), measure == "fraction", wells, (),
        one.ec50.value, one.ec50.low, one.ec50.high, one.ec50.reason or one.reason,
    )  # fmt: skip
    if one.curve is None:
        return info
    low = info.zero if (one.doses == 0).any() else float(one.doses[one.doses > 0].min())
    places = np.geomspace(low, float(one.doses.max()), _POINTS)
    return info._replace(curve=tuple(zip(places.tolist(), one.curve(places).tolist())))


def sizes_info(found: PlateAnalysis) -> SizeInfo:
    """Diameters class by class."""
    in_um = found.sizes.unit == "µm"
    sizes: dict[str, list[float]] = {name: [] for name in found.counting.classes}
    for item in found.counting.objects:
        size = item.diameter_um if in_um else item.diameter_px
        if not item.at_edge and size:
            sizes.setdefault(item.class_name, []).append(size)
    return size_info(sizes, found.sizes.unit, found.sizes.cut)


def models_info(found: PlateAnalysis, one: ModelAgreement) -> AltmanInfo:
    """Baseline against the model, well by well."""
    words = what(found, one.measure)
    margin = one.equivalence.margin if one.equivalence else None
    return _info(
        one.limits,
        f"Mean of both: {words.lower()}",
        "This model minus baseline",
        margin,
        is_share=one.measure == "fraction",
    )


def labels_info(limits: Limits | None) -> AltmanInfo:
    """Counts against labels, image by image."""
    return _info(limits, "Mean of both: objects", "Counted minus labelled", None, is_share=False)


def _info(
    limits: Limits | None, x_title: str, y_title: str, margin: float | None, *, is_share: bool
) -> AltmanInfo:
    if limits is None:
        return AltmanInfo((), (), margin, x_title, y_title, is_share)
    points = tuple((pair.name, pair.mean, pair.difference) for pair in limits.pairs)
    levels = tuple(Level(*bounds) for bounds in (limits.bias, limits.lower, limits.upper))
    return AltmanInfo(points, levels, margin, x_title, y_title, is_share)


def panels_of(found: PlateAnalysis) -> dict[str, Panel]:
    """Every figure on paper: name for a file -> panel."""
    panels: dict[str, Panel] = {}
    first: Measure = found.measures[0]
    for number, plate in enumerate(plates_of(found), start=1):
        info = map_of(found, plate, first)
        if info is not None:
            panels[f"map-{number}"] = map_panel(info)
    for measure in found.measures if found.conditions else ():
        panels[f"conditions-{measure}"] = strip_panel(strips_of(found, measure))
    for number, (measure, one) in enumerate(found.doses, start=1):
        panels[f"dose-{number}"] = dose_panel(dose_of(found, measure, one))
    for agreement in found.agreement:
        if agreement.limits is not None:
            title = f"Baseline and this model, {what(found, agreement.measure).lower()}"
            panels[f"models-{agreement.measure}"] = _altman(models_info(found, agreement), title)
    for calibration in found.calibration[:1]:
        if calibration.limits is not None:
            panels["labels"] = _altman(labels_info(calibration.limits), "Counts and labels")
    if found.counting.objects:
        panels["sizes"] = size_panel(sizes_info(found))
    return panels
