"""The plate as a whole: what was counted, the map, the table of wells, sizes."""

from __future__ import annotations

from typing import Any

import streamlit as st

from msip_core.language import mark, t, tn, told
from msip_core.markdown import md
from msip_core.plates.analysis import PlateAnalysis, WellResult
from msip_core.plates.book_tables import well_state
from msip_core.plates.figures import Shown, map_of, plates_of, sizes_info
from msip_core.plates.nested import Estimate
from msip_core.views.plate_map import map_figure
from msip_core.views.plate_sizes import size_figure
from pages.kit.choose import choose, choose_view
from pages.kit.classes import are_organoids
from pages.kit.layout import Fact, chart, facts, reasons_table
from pages.plate.choosing import Count, choose_class, choose_time, quantity

_SHOWN = {
    "fraction": mark("Crypts"),
    "count": mark("Objects per field"),
    "total": mark("Objects"),
    "diameter": mark("Size"),
}
STATE_WORDS = {
    "counted": mark("counted"),
    "no object": mark("nothing found"),
    "blank": mark("blank"),
    "failed": mark("failed"),
}
_NAME_PX = 130


def overview(count: Count) -> None:
    """Numbers of the plate, its map, its wells."""
    found = count.analysis
    choose_class(found)
    choose_time(found)
    _facts(found)
    if found.counting.wells_taken:
        st.caption(md(told(found.counting.wells_taken)))
    _map(found)
    st.subheader(t("Wells"), anchor=False)
    _wells(found)
    st.subheader(t("Sizes"), anchor=False)
    chart(size_figure(sizes_info(found)), "plate-sizes", t("Diameters of the objects, by class"))
    if found.sizes.cut:
        text = tn(
            "{n} object touches the border of its image and is left out here.",
            "{n} objects touch the border of their image and are left out here.",
            found.sizes.cut,
        )
        st.caption(md(text))
    _left_out(found)


def number(value: float | None, shown: str) -> str:
    """A share as per cent, a count with one decimal, a size in whole units."""
    if value is None:
        return "—"
    if shown == "fraction":
        return f"{100 * value:.1f} %"
    return f"{value:.0f}" if shown in ("diameter", "total") else f"{value:.1f}"


def interval(found: Estimate, shown: str) -> str:
    """ "24.1 % – 38.8 %"; a dash where no interval is honest."""
    if found.low is None or found.high is None:
        return "—"
    return f"{number(found.low, shown)} – {number(found.high, shown)}"


def _facts(found: PlateAnalysis) -> None:
    fraction, per_field = found.whole
    states = [image.state for image in found.counting.images]
    word = t("Organoids") if are_organoids(found.counting.classes) else t("Objects")
    row = [
        Fact(word, f"{len(found.counting.objects):,}"),
        Fact(
            t("Objects per field"), number(per_field.value, "count"), help=_help(per_field, "count")
        ),
        Fact(t("Images"), f"{len(states):,}"),
        Fact(t("Could not be read"), str(states.count("failed"))),
        Fact(t("Blank"), str(states.count("empty"))),
    ]
    if found.crypts:
        row.insert(
            1,
            Fact(
                quantity(found, "fraction"),
                number(fraction.value, "fraction"),
                help=_help(fraction, "fraction"),
            ),
        )
    facts(row)


def _help(found: Estimate, shown: str) -> str:
    if not found.has_interval:
        return told(found.reason)
    return t(
        "95 % interval over {n} wells: {interval}.", n=found.units, interval=interval(found, shown)
    )


def _map(found: PlateAnalysis) -> None:
    plates = plates_of(found)
    if not plates:
        st.info(
            t("The names of these images show no wells, so there is no map: see the table."),
            icon=":material/grid_off:",
        )
        return
    plate = plates[0]
    if len(plates) > 1:
        plate = choose(t("Plate"), plates, "plate", words=lambda name: name or "—")
    offered = {key: word for key, word in _SHOWN.items() if key != "fraction" or found.crypts}
    shown = choose_view(offered, next(iter(offered)), "plate-map", param="shown")
    key: Shown = shown if shown in ("fraction", "total", "diameter") else "count"  # type: ignore[assignment]
    info = map_of(found, plate, key)
    if info is not None:
        info = info._replace(what=quantity(found, key))
    chart(map_figure(info), "plate-map", t("The plate, well by well"))


def _wells(found: PlateAnalysis) -> None:
    rows = [_row(found, well) for well in found.wells]
    names: dict[str, Any] = {t("Well"): st.column_config.Column(width=_NAME_PX, pinned=True)}
    st.dataframe(
        rows,
        hide_index=True,
        width="stretch",
        column_config=names,
        placeholder="—",
        key="plate:wells",
    )
    if found.crypts:
        st.caption(
            t(
                "Intervals are 95 %, over the fields of a well; none where it has fewer than three "
                "with objects, or where none or all of them are of the class."
            )
        )


def _row(found: PlateAnalysis, well: WellResult) -> dict[str, Any]:
    row, seen = well.seen.row, bool(well.seen.fields)
    cells: dict[str, Any] = {t("Well"): row.group}
    if found.conditions:
        cells[t("Condition")] = found.held(well) or "—"
    cells[t("State")] = t(STATE_WORDS[well_state(well)])
    cells[t("Fields")] = f"{len(well.seen.fields)} / {row.fields_counted + row.fields_failed}"
    for name in found.counting.classes:
        cells[name] = row.counts.get(name) if seen else None
    if found.crypts:
        cells[quantity(found, "fraction")] = number(well.fraction.value, "fraction")
        cells[t("95 % interval")] = interval(well.fraction, "fraction")
    cells[t("Objects per field")] = number(well.per_field.value, "count")
    cells[quantity(found, "diameter")] = number(well.diameter, "diameter")
    return cells


def _left_out(found: PlateAnalysis) -> None:
    rows: list[dict[str, str]] = [
        {
            t("Image"): image.image,
            t("State"): t(STATE_WORDS["failed" if image.state == "failed" else "blank"]),
            t("Why"): told(image.reason),
        }
        for image in found.counting.images
        if image.state != "counted"
    ]
    if not rows:
        return
    title = tn(
        "{n} image that shows nothing or could not be read",
        "{n} images that show nothing or could not be read",
        len(rows),
    )
    with st.expander(md(title), icon=":material/rule:"):
        reasons_table(rows, alt=t("Images that were left out and why"))
        st.caption(
            t("They are no images without objects: no share and no count per field has them.")
        )
