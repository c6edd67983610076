"""What was done to the wells: the sample sheet, conditions beside the control, doses."""

from __future__ import annotations

from typing import Any

import streamlit as st

from msip_core.language import mark, t, tn, told
from msip_core.markdown import md
from msip_core.plates.analysis import PlateAnalysis
from msip_core.plates.conditions import WELCH, Comparison, Measure
from msip_core.plates.dose import DoseFit
from msip_core.plates.figures import dose_of, strips_of
from msip_core.plates.outcome import keep_sheet, sheet_path
from msip_core.plates.sheet import MOST_BYTES
from msip_core.plates.statements import difference_words, p_words
from msip_core.views.plate_dose import dose_figure
from msip_core.views.plate_strips import strip_figure
from pages.kit.choose import choose, choose_view, remember
from pages.kit.layout import chart, reasons_table
from pages.kit.saving import save_button
from pages.plate.choosing import Count, choose_class, choose_time, quantity
from pages.plate.overview import interval, number

_MEASURES = {"fraction": mark("Crypts"), "count": mark("Objects per field")}
_SHEETS = ["csv", "tsv", "txt", "xlsx"]
_EXAMPLE = """plate;well;condition;dose;unit;replicate
P1;A1;control;;;1
P1;A2;CHIR99021;0,5;µM;1
P1;A3;CHIR99021;1;µM;1
"""


def conditions(count: Count) -> None:
    """The sheet first; without one there is nothing to compare."""
    found = count.analysis
    choose_class(found)
    choose_time(found)
    _sheet(count)
    if not found.conditions:
        return
    measure = _measure(found)
    control = _control(found)
    info = strips_of(found, measure)._replace(what=quantity(found, measure))
    chart(
        strip_figure(info, revision=f"strips-{measure}"),
        "plate-strips",
        t("Wells of each condition, with the estimate and its interval"),
    )
    _estimates(found, measure)
    if control is None:
        st.info(
            t("Choose the control above: conditions are compared with it."),
            icon=":material/compare_arrows:",
        )
    else:
        _compared(found, measure, control)
    _doses(found, measure)


def _measure(found: PlateAnalysis) -> Measure:
    offered = {str(one): _MEASURES[one] for one in found.measures}
    chosen = choose_view(offered, found.measures[0], "plate-measure", param="measure")
    return "fraction" if chosen == "fraction" else "count"


# --- the sheet ----------------------------------------------------------------


def _sheet(count: Count) -> None:
    kept = sheet_path(count.folder)
    title = t("Sample sheet") if kept is None else t("Another sample sheet")
    with st.expander(md(title), icon=":material/table:", expanded=kept is None):
        st.caption(
            t(
                "A table with a row a well, as CSV or Excel. Only the well and the condition are "
                "needed; wells may be written A1 or A01, and where names show no wells, as the "
                "table of wells shows them. Wells with the same condition and replicate on one "
                "plate count as one unit."
            )
        )
        example = _EXAMPLE.encode("utf-8-sig")
        label, key = t("An example to fill in"), "plate:sheet-example"
        save_button(label, example, "sample-sheet.csv", key=key)
        file = st.file_uploader(
            t("Sample sheet"),
            type=_SHEETS,
            max_upload_size=MOST_BYTES // 1024**2,
            key=f"plate:sheet:{count.run.id}",
        )
        if file is not None and st.button(
            t("Use this sheet"), type="primary", icon=":material/check:", key="plate:sheet-use"
        ):
            keep_sheet(count.folder, file.getvalue(), file.name)
            remember("control", None)
            st.rerun()
    problems = count.analysis.problems
    if problems:
        text = tn(
            "{n} remark on the sample sheet", "{n} remarks on the sample sheet", len(problems)
        )
        with st.expander(md(text), icon=":material/rule:", expanded=True):
            rows: list[dict[str, str]] = [
                {t("Row"): str(one.row or "—"), t("What"): told(one.what)} for one in problems
            ]
            reasons_table(rows, alt=t("Rows of the sample sheet and what is wrong"))
    if kept is not None and not count.analysis.conditions:
        st.warning(
            t("No row of the sample sheet fits a counted well: see the remarks."),
            icon=":material/warning:",
        )


def _control(found: PlateAnalysis) -> str | None:
    names = [one.condition.name for one in found.conditions]
    if len(names) < 2:
        return None
    none = t("no control")
    wanted = found.control or ""
    key = "plate:control"
    st.session_state[key] = wanted

    def changed() -> None:
        remember("control", st.session_state[key] or None)

    st.selectbox(
        t("Control"),
        ["", *names] if found.control is None else names,
        key=key,
        format_func=lambda name: name or none,
        on_change=changed,
        help=t("The condition that the others are compared with."),
    )
    return found.control


# --- conditions ---------------------------------------------------------------


def _estimates(found: PlateAnalysis, measure: Measure) -> None:
    rows: list[dict[str, Any]] = []
    for one in found.conditions:
        estimate = one.fraction if measure == "fraction" else one.per_field
        rows.append(
            {
                t("Condition"): one.condition.name,
                t("Wells"): len(one.condition.members),
                t("Units"): estimate.units,
                quantity(found, measure): number(estimate.value, measure),
                t("95 % interval"): interval(estimate, measure),
                quantity(found, "diameter"): number(one.diameter.value, "diameter"),
                t("Remark"): told(estimate.reason),
            }
        )
    _table(rows, f"plate:estimates:{measure}")
    if any(one.condition.by_replicate for one in found.conditions):
        st.caption(t("Units are replicates: wells of one replicate are no independent repeats."))


def _table(rows: list[dict[str, Any]], key: str) -> None:
    """The condition stays in sight when the table is moved sideways."""
    names: dict[str, Any] = {t("Condition"): st.column_config.Column(pinned=True)}
    st.dataframe(rows, hide_index=True, column_config=names, key=key)


def _compared(found: PlateAnalysis, measure: Measure, control: str) -> None:
    st.subheader(md(t("Compared with {control}", control=control)), anchor=False)
    comparisons = [one for one in found.comparisons if one.measure == measure]
    rows = [_comparison(one) for one in comparisons]
    _table(rows, f"plate:compared:{measure}")
    st.caption(
        t(
            "The unit is the well (or the replicate), not the single object. Differences with "
            "95 % intervals; p after Holm's correction over the conditions; clear means that p is "
            "at most 0.05."
        )
    )
    if any(one.method == WELCH for one in comparisons):
        st.caption(
            t(
                "Where a condition has none of the class, or nothing else, Welch's interval of the "
                "wells stands in place of the model."
            )
        )
    if any(one.blocks for one in comparisons):
        st.caption(t("Several plates hold the same conditions: plates are blocks of the model."))


def _comparison(one: Comparison) -> dict[str, Any]:
    clear = "—"
    if one.adjusted is not None:
        clear = t("clear") if one.is_clear else t("not clear")
    gap = one.difference
    return {
        t("Condition"): one.group,
        t("Difference"): _gap(gap, one.measure) if gap else "—",
        t("Ratio"): "—" if one.ratio is None else "{:.2f} ({:.2f} – {:.2f})".format(*one.ratio),
        t("p (Holm)"): "—" if one.adjusted is None else p_words(one.adjusted),
        t("Verdict"): clear,
        t("Units"): f"{one.units} / {one.control_units}",
        t("Remark"): told(one.reason),
    }


def _gap(gap: tuple[float, float, float], measure: Measure) -> str:
    words = difference_words(gap, measure)
    return words.replace("points", t("points")).replace(" to ", " – ")


# --- doses --------------------------------------------------------------------


def _doses(found: PlateAnalysis, measure: Measure) -> None:
    series = {one.name: one for which, one in found.doses if which == measure}
    if not series:
        return
    st.subheader(t("Dose and response"), anchor=False)
    names = list(series)
    name = names[0] if len(names) == 1 else choose(t("Series"), names, "series")
    one = series[name]
    _ec50(one)
    info = dose_of(found, measure, one)._replace(what=quantity(found, measure))
    chart(
        dose_figure(info, revision=f"dose-{measure}-{name}"),
        "plate-dose",
        t("Response of each well over the dose, with the fitted curve"),
    )


def _ec50(one: DoseFit) -> None:
    found = one.ec50
    if found.value is None:
        st.info(md(t("No EC50. {why}", why=told(found.reason))), icon=":material/show_chart:")
        return
    value = f"{found.value:.3g} {one.unit}".rstrip()
    if found.low is None or found.high is None:
        st.markdown(md(t("EC50 {value}. {why}", value=value, why=told(found.reason))))
        return
    words = t(
        "EC50 {value}, 95 % interval {low} to {high}, over {n} units.",
        value=value,
        low=f"{found.low:.3g}",
        high=f"{found.high:.3g}",
        n=found.units,
    )
    st.markdown(md(words))
