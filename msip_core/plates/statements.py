"""What the numbers of a plate say, in sentences: English, for the workbook and the report."""

from __future__ import annotations

import math

from msip_core.intervals import ALPHA, LEAST_UNITS
from msip_core.plates.agreement import Bounds
from msip_core.plates.analysis import ModelAgreement, PlateAnalysis
from msip_core.plates.conditions import WELCH, Comparison, Measure
from msip_core.plates.dose import DoseFit
from msip_core.plates.nested import Estimate
from msip_core.views import wording
from msip_core.views.wording import plural

_WHAT: dict[Measure, str] = {"fraction": "crypt fraction", "count": "objects per field"}


def number(value: float | None, measure: Measure) -> str:
    """A share as per cent, a count with one decimal."""
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if measure == "fraction" else f"{value:.1f}"


def with_interval(found: Estimate | Bounds, measure: Measure) -> str:
    """ "31.0 % (24.1 % to 38.8 %)"; the number alone where no interval is honest."""
    value = number(found.value, measure)
    if found.low is None or found.high is None:
        return value
    return f"{value} ({number(found.low, measure)} to {number(found.high, measure)})"


def difference_words(bounds: tuple[float, float, float], measure: Measure) -> str:
    """ "+12.0 points (+3.1 to +20.9)"; of counts, "+2.1 (+0.4 to +3.8)"."""
    value, low, high = (signed(one, measure) for one in bounds)
    return f"{value} ({low.removesuffix(' points')} to {high.removesuffix(' points')})"


def comparison_sentence(one: Comparison) -> str:
    """What is said of one condition against the control."""
    what = _WHAT[one.measure]
    if one.difference is None or one.p is None:
        return f"{one.group} against {one.control}, {what}: no verdict. {one.reason}"
    words = difference_words(one.difference, one.measure)
    clear = "differs from" if one.is_clear else "is not clearly different from"
    p = f"p = {p_words(one.adjusted or one.p)}".replace("= <", "<")
    how = (
        " Welch's interval of the wells, since one of them is at the end of the scale."
        if (one.method == WELCH)
        else ""
    )
    reason = f" {one.reason}" if one.reason else ""
    return (
        f"{one.group} {clear} {one.control} in {what}: {words}, {p} after Holm's correction, "
        f"{one.units} against {one.control_units} units.{how}{reason}"
    )


def p_words(p: float) -> str:
    """ "0.032" or "< 0.001"; "0.0496" where three digits would read as the limit itself."""
    if f"{p:.3f}" == f"{ALPHA:.3f}":
        return f"{math.floor(1e4 * p) / 1e4:.4f}"  # not rounded up to it either
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def dose_sentence(measure: Measure, one: DoseFit) -> str:
    """The EC50 of a series, or why there is none."""
    what = f"{one.name}, {_WHAT[measure]}"
    if one.ec50.value is None or one.curve is None:
        return f"{what}: no EC50. {one.ec50.reason}"
    found = one.ec50
    words = f"EC50 {found.value:.3g}"
    if found.low is not None and found.high is not None:
        words += f" (95 % interval {found.low:.3g} to {found.high:.3g})"
    words += f" {one.unit}".rstrip()
    ends = f"from {number(one.curve.bottom, measure)} to {number(one.curve.top, measure)}"
    reason = f" {found.reason}" if found.reason else ""
    over = plural(found.units, found.unit)
    return f"{what}: {words}, {ends}, slope {one.curve.slope:.2g}, {over}.{reason}"


def agreement_sentence(one: ModelAgreement) -> str:
    """Does the lighter model give the same biology?"""
    what = _WHAT[one.measure]
    if one.limits is None or one.limits.clusters < LEAST_UNITS:
        few = f"fewer than {LEAST_UNITS} wells or replicates that both could count"
        return f"Baseline and this model, {what}: {few}."
    if one.equivalence is None:
        return (
            f"Baseline and this model, {what}: the baseline counts none, so no margin can be set."
        )
    found, result = one.limits, one.equivalence
    gap = difference_words((found.bias.value, result.low, result.high), one.measure)
    margin = signed(result.margin, one.measure).lstrip("+")
    said = {
        "same": f"The same {what} within ± {margin}",
        "different": f"Another {what}, by more than ± {margin}",
        "unclear": f"Whether both give the same {what} within ± {margin} cannot be told",
    }[result.verdict]
    return (
        f"{said}: this model minus baseline {gap.replace(' (', ' (90 % interval ')}, over "
        f"{plural(found.units, 'well')}; single wells differ by "
        f"{signed(found.lower.value, one.measure)} to {signed(found.upper.value, one.measure)} "
        f"(limits of agreement), {result.outside} of {found.units} by more than the margin."
    )


def signed(value: float, measure: Measure) -> str:
    """A difference: "+1.2 points" of a share, "+1.2" of objects per field."""
    if measure == "fraction":
        return f"{wording.signed(100 * value, 1)} points"
    return wording.signed(value, 1)


def whole_sentence(found: PlateAnalysis) -> str:
    """The plate as a whole."""
    seen = sum(bool(well.seen.fields) for well in found.wells)
    text = f"{plural(len(found.counting.objects), 'object')} in {plural(seen, 'well')}"
    fraction, per_field = found.whole
    if fraction.value is not None:
        text += f", crypt fraction {with_interval(fraction, 'fraction')}"
    if per_field.value is not None:
        text += f", {with_interval(per_field, 'count')} objects per field"
    return f"{text}."
