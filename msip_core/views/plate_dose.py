"""Dose and response: wells, the fitted curve, the EC50 with its interval."""

from __future__ import annotations

from math import log10
from typing import NamedTuple

import plotly.graph_objects as go
from matplotlib.figure import FigureBase

from msip_core.language import t
from msip_core.views import style
from msip_core.views.paper import open_circles
from msip_core.views.paper_page import Panel, Room, corner_letter, lettered
from msip_core.views.screen import OPEN_CIRCLE, as_label, new_figure


class DoseInfo(NamedTuple):
    """One series.

    Attributes:
        wells: dose and response of each; a dose of 0 stands left of the axis' break.
        curve: doses and responses of the line, () where none was fitted.
        ec50, low, high: None where there is none, or no interval.
        reason: why there is no EC50; "" if there is one.
    """

    name: str
    unit: str
    what: str
    is_share: bool
    wells: tuple[tuple[float, float], ...]
    curve: tuple[tuple[float, float], ...]
    ec50: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""

    @property
    def zero(self) -> float:
        """Where wells without a dose are drawn: half a decade below the lowest dose."""
        some = [dose for dose, _ in self.wells if dose > 0]
        return min(some) / 10**0.7 if some else 1.0

    @property
    def axis(self) -> str:
        return f"{self.name} ({self.unit})" if self.unit else self.name


def shown_doses(info: DoseInfo) -> list[float]:
    """Of each well, on the logarithmic axis."""
    return [dose if dose > 0 else info.zero for dose, _ in info.wells]


def dose_figure(info: DoseInfo, *, revision: str = "dose") -> go.Figure:
    """The chart on screen."""
    figure = new_figure(as_label(info.axis), info.what, revision=revision, height=380)
    figure.update_layout(hovermode="closest")
    form = ".1%" if info.is_share else ".1f"
    figure.add_scatter(
        x=shown_doses(info),
        y=[value for _, value in info.wells],
        mode="markers",
        name=t("a well"),
        marker=OPEN_CIRCLE,
        text=[f"{dose:g}" for dose, _ in info.wells],
        hovertemplate="%{text}: %{y:" + form + "}<extra></extra>",
    )
    if info.curve:
        figure.add_scatter(
            x=[x for x, _ in info.curve],
            y=[y for _, y in info.curve],
            mode="lines",
            name=t("fitted curve"),
            line={"color": style.AFTER, "width": 2},
            hoverinfo="skip",
        )
    if info.ec50 is not None:
        if info.low is not None and info.high is not None:
            figure.add_shape(
                type="rect", xref="x", yref="paper", x0=info.low, x1=info.high, y0=0, y1=1,
                fillcolor="rgba(213,94,0,0.15)", line={"width": 0}, layer="below",
            )  # fmt: skip
        figure.add_shape(
            type="line", xref="x", yref="paper", x0=info.ec50, x1=info.ec50, y0=0, y1=1,
            line={"color": style.VERMILLION, "dash": "dash", "width": 1.5},
        )  # fmt: skip
        figure.add_annotation(
            text="EC50", x=log10(info.ec50), xref="x", y=1, yref="paper", yanchor="bottom",
            showarrow=False, font={"color": style.VERMILLION},
        )  # fmt: skip
    ticks, words = _ticks(info)
    figure.update_xaxes(type="log", tickvals=ticks, ticktext=words)
    figure.update_yaxes(rangemode="tozero", tickformat=".0%" if info.is_share else "")
    return figure


def _ticks(info: DoseInfo) -> tuple[list[float], list[str]]:
    doses = sorted({dose for dose, _ in info.wells if dose > 0})
    values, words = list(doses), [f"{dose:g}" for dose in doses]
    if any(dose == 0 for dose, _ in info.wells):
        values, words = [info.zero, *values], ["0", *words]
    return values, words


def dose_panel(info: DoseInfo) -> Panel:
    """The chart on paper."""
    return Panel(
        f"Dose and response: {info.name}",
        1,
        50,
        lambda width: min(70.0, max(48.0, 0.6 * width)),
        lambda parent, room: _draw(parent, room, info),
        lambda letters: lettered(letters, 0, _words(info)),
    )


def _draw(parent: FigureBase, room: Room, info: DoseInfo) -> None:
    axes = parent.subplots()
    axes.set_xscale("log")
    open_circles(axes, shown_doses(info), [value for _, value in info.wells])
    if info.curve:
        axes.plot(*zip(*info.curve), "-", color=style.AFTER)
    if info.ec50 is not None:
        axes.axvline(info.ec50, color=style.VERMILLION, linestyle="--", linewidth=0.9)
        if info.low is not None and info.high is not None:
            axes.axvspan(info.low, info.high, color=style.VERMILLION, alpha=0.12, linewidth=0)
    ticks, words = _ticks(info)
    axes.set_xticks(ticks, words, rotation=35 if len(ticks) > 7 else 0)
    axes.minorticks_off()
    axes.set(xlabel=info.axis, ylabel=info.what)
    axes.set_ylim(bottom=0)
    if info.is_share:
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    corner_letter(parent, room)


def _words(info: DoseInfo) -> str:
    text = f"{info.what} of {len(info.wells)} wells (open circles) over the dose of {info.name}"
    if info.ec50 is None:
        return f"{text}; no EC50. {info.reason}"
    text += f"; line: four-parameter log-logistic curve; dashed: EC50, {info.ec50:.3g} {info.unit}"
    if info.low is not None and info.high is not None:
        text += f" (95 % interval {info.low:.3g} to {info.high:.3g}, shaded)"
    return f"{text.rstrip()}."
