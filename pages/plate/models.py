"""How sure a count is: against people's labels, and of the lighter model against the baseline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from msip_core.language import mark, t
from msip_core.markdown import md
from msip_core.plates.agreement import ALL, Bounds, Calibration
from msip_core.plates.analysis import COUNT_MARGIN, MARGIN, ModelAgreement, PlateAnalysis
from msip_core.plates.conditions import Measure
from msip_core.plates.figures import labels_info, models_info
from msip_core.plates.outcome import is_here
from msip_core.plates.statements import p_words
from msip_core.views.bland_altman import altman_figure
from msip_core.views.wording import signed
from pages.kit.choose import choose
from pages.kit.lab import lab
from pages.kit.layout import chart
from pages.kit.words import strong
from pages.plate.choosing import (
    COUNT_MARGIN_KEY,
    MARGIN_KEY,
    POINTS,
    Count,
    choose_class,
    choose_time,
    quantity,
)
from pages.plate.overview import interval, number

_VERDICTS = {
    "same": (mark("the same within the margin"), ":material/check_circle:", "green"),
    "different": (mark("different, by more than the margin"), ":material/error:", "red"),
    "unclear": (mark("cannot be told from so few wells"), ":material/help:", "gray"),
}


def how_sure(count: Count) -> None:
    """Both questions, each where it can be asked."""
    found = count.analysis
    choose_class(found)
    choose_time(found)
    st.subheader(t("Does the lighter model give the same biology?"), anchor=False)
    if found.baseline is None:
        st.info(
            t(
                "This plate was counted by one model. Count it again with a second one beside it, "
                "as the reference."
            ),
            icon=":material/compare:",
        )
    else:
        _models(found)
    st.subheader(t("Counts against labels"), anchor=False)
    dataset = count.config.dataset
    if dataset and not is_here(lab().workspace, dataset):
        st.info(t("The dataset of these images was deleted since."), icon=":material/label_off:")
    elif not found.calibration:
        st.info(
            t(
                "These images have no labels. Count a dataset with labels (its part “kept for the "
                "final test”) to see how sure a count is."
            ),
            icon=":material/label_off:",
        )
    else:
        _labels(found)


# --- two models ---------------------------------------------------------------


def _models(found: PlateAnalysis) -> None:
    left, right = st.columns(2)
    if found.crypts:
        left.number_input(
            t("Margin of the crypt fraction (points)"), min_value=0.5, max_value=50.0,
            value=MARGIN * POINTS, step=0.5, key=MARGIN_KEY, persist_state="session",
            help=t("The largest difference that you would still call the same biology."),
        )  # fmt: skip
    right.number_input(
        t("Margin of objects per field (% of the reference)"), min_value=1.0, max_value=100.0,
        value=COUNT_MARGIN * POINTS, step=1.0, key=COUNT_MARGIN_KEY, persist_state="session",
    )  # fmt: skip
    names = found.baseline.name if found.baseline else ""
    text = t(
        "{model} minus {baseline} (the reference), well by well.",
        model=found.counting.name or found.counting.model,
        baseline=names or (found.baseline.model if found.baseline else ""),
    )
    st.caption(md(text))
    for one in found.agreement:
        _one(found, one)
    _lines()
    _by_condition(found)


def _lines() -> None:
    st.caption(
        t(
            "Line: the mean difference (bias); dashed: the limits between which 95 % of the "
            "differences are expected; grey: the 95 % intervals of all three; dotted: the margin."
        )
    )


def _one(found: PlateAnalysis, one: ModelAgreement) -> None:
    words = quantity(found, one.measure)
    if one.limits is None or one.equivalence is None:
        st.warning(
            md(t("{what}: fewer than three wells were counted by both.", what=words)),
            icon=":material/warning:",
        )
        return
    text, icon, colour = _VERDICTS[one.equivalence.verdict]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(md(strong(words)), width="content")
        st.badge(md(t(text)), icon=icon, color=colour)  # type: ignore[arg-type]
    same = one.equivalence
    rows = [
        {
            t("Wells"): one.limits.units,
            t("Mean difference"): _signed(one.limits.bias.value, one.measure),
            t("90 % interval"): f"{_signed(same.low, one.measure)} – "
            f"{_signed(same.high, one.measure)}",
            t("Limits of agreement"): f"{_signed(one.limits.lower.value, one.measure)} – "
            f"{_signed(one.limits.upper.value, one.measure)}",
            t("Wells beyond the margin"): f"{same.outside} / {one.limits.units}",
            t("p (equivalence)"): p_words(same.p),
            t("Concordance"): f"{one.concordance.value:.3f}" if one.concordance else "—",
            t("ICC"): "—" if one.intraclass is None else f"{one.intraclass:.3f}",
        }
    ]
    st.dataframe(rows, hide_index=True, key=f"plate:models:{one.measure}")
    info = models_info(found, one)._replace(
        x_title=t("Mean of both: {what}", what=words), y_title=t("This model minus the reference")
    )
    chart(
        altman_figure(info, revision=f"models-{one.measure}"),
        f"plate-models-{one.measure}",
        t("Difference of the two models over their mean, a dot a well"),
    )


def _signed(value: float, measure: Measure) -> str:
    if measure == "fraction":
        return t("{value} points", value=signed(100 * value, 1))
    return signed(value, 1)


def _by_condition(found: PlateAnalysis) -> None:
    rows: list[dict[str, Any]] = [
        {
            t("Condition"): name,
            t("Quantity"): quantity(found, one.measure),
            t("Reference"): number(reference.value, one.measure),
            t("its 95 % interval"): interval(reference, one.measure),
            t("This model"): number(other.value, one.measure),
            t("95 % interval"): interval(other, one.measure),
        }
        for one in found.agreement
        for name, reference, other in one.by_condition
    ]
    if rows:
        st.markdown(t("Each condition as both count it:"))
        st.dataframe(rows, hide_index=True, key="plate:models-by-condition")


# --- labels -------------------------------------------------------------------


def _labels(found: PlateAnalysis) -> None:
    rows = [_calibration(one) for one in found.calibration]
    st.dataframe(rows, hide_index=True, key="plate:labels")
    st.caption(
        t(
            "Bias: objects per image that are counted too many (+) or too few (−). Slope: below 1 "
            "where crowded images lose more. 95 % intervals, with wells as clusters."
        )
    )
    known = {one.name: one for one in found.calibration if one.limits is not None}
    if not known:
        return
    name = choose(
        t("Class"), list(known), "class", words=lambda one: t("all classes") if one == ALL else one
    )
    info = labels_info(known[name].limits)._replace(
        x_title=t("Mean of both: objects per image"), y_title=t("Counted minus labelled")
    )
    chart(
        altman_figure(info, revision=f"labels-{name}"),
        "plate-labels",
        t("Difference of count and labels over their mean, a dot an image"),
    )
    _lines()


def _calibration(one: Calibration) -> dict[str, Any]:
    limits, between = one.limits, "—"
    if limits:
        between = f"{signed(limits.lower.value, 1)} – {signed(limits.upper.value, 1)}"
    return {
        t("Class"): t("all classes") if one.name == ALL else one.name,
        t("Labelled"): one.labelled,
        t("Counted"): one.found,
        t("Counted for each labelled"): "—" if one.ratio is None else f"{one.ratio:.2f}",
        t("Bias per image"): _bounds(limits.bias, signed) if limits else "—",
        t("Limits of agreement"): between,
        t("Slope"): _bounds(limits.slope, _plain) if limits and limits.slope else "—",
    }


def _plain(value: float, digits: int) -> str:
    return f"{value:.{digits}f}"


def _bounds(found: Bounds, form: Callable[[float, int], str]) -> str:
    value = form(found.value, 2)
    if found.low is None or found.high is None:
        return value
    return f"{value} ({form(found.low, 2)} – {form(found.high, 2)})"
