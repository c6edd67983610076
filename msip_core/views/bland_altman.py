"""Two ways of counting, unit by unit: differences over means, bias and limits of agreement."""

from __future__ import annotations

from typing import NamedTuple

import plotly.graph_objects as go
from matplotlib.figure import FigureBase

from msip_core.language import mark, t
from msip_core.views import style
from msip_core.views.paper import open_circles
from msip_core.views.paper_page import Panel, Room, corner_letter, lettered
from msip_core.views.screen import OPEN_CIRCLE, as_label, new_figure, reference_line, say_empty
from msip_core.views.wording import signed

LEVELS = (mark("bias"), mark("lower limit"), mark("upper limit"))
_BAND = "rgba(122,130,144,0.16)"


class Level(NamedTuple):
    """A line with its 95 % interval, where there is one."""

    value: float
    low: float | None
    high: float | None


class AltmanInfo(NamedTuple):
    """Differences (other minus reference) over means.

    Attributes:
        points: name, mean, difference of each unit.
        levels: bias, lower and upper limit of agreement; () with too few units.
        margin: the largest difference that counts as the same; None where nobody set one.
        x_title, y_title: what is shown; `is_share`: written as per cent.
    """

    points: tuple[tuple[str, float, float], ...]
    levels: tuple[Level, ...]
    margin: float | None
    x_title: str
    y_title: str
    is_share: bool


def altman_figure(info: AltmanInfo, *, revision: str = "altman") -> go.Figure:
    """The chart on screen; hovering names the unit."""
    figure = new_figure(info.x_title, info.y_title, revision=revision, height=380)
    figure.update_layout(hovermode="closest")
    if not info.points:
        say_empty(figure, t("No well was counted by both"))
        return figure
    # Differences of shares are points: "+5 %" could mean a twentieth more.
    scale, unit = (100, f" {t('points')}") if info.is_share else (1, "")
    figure.add_scatter(
        x=[x for _, x, _ in info.points],
        y=[scale * y for *_, y in info.points],
        mode="markers",
        name=t("a well or image"),
        text=[as_label(name) for name, *_ in info.points],
        marker=OPEN_CIRCLE,
        hovertemplate="%{text}<br>%{x:"
        + (".1%" if info.is_share else ".1f")
        + "}, %{y:+.1f}"
        + f"{unit}<extra></extra>",
        showlegend=False,
    )
    for word, level, dash in zip(LEVELS, info.levels, ("solid", "dash", "dash")):
        number = _number(level.value, info.is_share).replace("points", t("points"))
        # Between its limits lie the margins, whose lines would go through the words.
        place = "bottom right" if word == "lower limit" else "top right"
        text = f"{t(word)} {number}"
        reference_line(figure, scale * level.value, text, style.AFTER, dash, place=place)
        if level.low is not None and level.high is not None:
            low, high = scale * level.low, scale * level.high
            figure.add_hrect(y0=low, y1=high, fillcolor=_BAND, line={"width": 0}, layer="below")
    if info.margin is not None:
        beyond = info.levels and info.levels[2].value > info.margin
        place = "bottom left" if beyond else "top left"
        for sign, text in ((-1, ""), (1, t("margin"))):
            at = sign * scale * info.margin
            reference_line(figure, at, text, style.VERMILLION, "dot", place=place)
    figure.update_xaxes(tickformat=".0%" if info.is_share else "")
    figure.update_yaxes(tickformat="+", zeroline=True)
    if info.is_share:
        figure.update_yaxes(title_text=f"{info.y_title} ({t('points')})")
    return figure


def _number(value: float, is_share: bool) -> str:
    return f"{signed(100 * value, 1)} points" if is_share else signed(value, 1)


def altman_panel(info: AltmanInfo, title: str) -> Panel:
    """The chart on paper."""
    return Panel(
        title,
        1,
        55,
        lambda width: min(70.0, max(48.0, 0.6 * width)),
        lambda parent, room: _draw(parent, room, info),
        lambda letters: lettered(letters, 0, _words(info, title)),
    )


def _draw(parent: FigureBase, room: Room, info: AltmanInfo) -> None:
    axes = parent.subplots()
    open_circles(axes, [x for _, x, _ in info.points], [y for *_, y in info.points])
    for word, level, dash in zip(LEVELS, info.levels, ("-", "--", "--")):
        axes.axhline(level.value, color=style.AFTER, linestyle=dash, linewidth=0.9)
        if level.low is not None and level.high is not None:
            axes.axhspan(level.low, level.high, color=style.GREY, alpha=0.16, linewidth=0)
        axes.annotate(
            f"{word} {_number(level.value, info.is_share)}", (1, level.value), fontsize=5.5,
            xycoords=("axes fraction", "data"), ha="right", va="bottom", color=style.AFTER,
        )  # fmt: skip
    if info.margin is not None:
        for sign in (-1, 1):
            axes.axhline(sign * info.margin, color=style.VERMILLION, linestyle=":", linewidth=0.9)
    unit = " (points)" if info.is_share else ""
    axes.set(xlabel=info.x_title, ylabel=f"{info.y_title}{unit}")
    if info.is_share:
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:+.3g}")
    corner_letter(parent, room)


def _words(info: AltmanInfo, title: str) -> str:
    text = f"{title}: differences over means of {len(info.points)} units (Bland and Altman)"
    if info.levels:
        bias, lower, upper = (_number(level.value, info.is_share) for level in info.levels)
        text += f"; line: bias {bias}; dashed: 95 % limits of agreement {lower} and {upper}"
        text += "; grey: their 95 % intervals"
    if info.margin is not None:
        text += f"; dotted: the margin, ± {_number(info.margin, info.is_share).lstrip('+')}"
    return f"{text}."
