"""Conditions side by side: every well a dot, the estimate with its interval beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go
from matplotlib.figure import FigureBase

from msip_core.language import t
from msip_core.views import style
from msip_core.views.paper import open_circles
from msip_core.views.paper_page import Panel, Room, corner_letter, lettered
from msip_core.views.screen import OPEN_CIRCLE, as_label, new_figure, say_empty

_SPREAD = 0.22  # of the dots, to either side
_TILT = 6  # more conditions than this: their names are slanted


class Strip(NamedTuple):
    """One condition.

    Attributes:
        wells: name and value of each.
        value, low, high: the estimate; no bounds where no interval is honest.
    """

    name: str
    wells: tuple[tuple[str, float], ...]
    value: float | None
    low: float | None
    high: float | None


class StripInfo(NamedTuple):
    strips: tuple[Strip, ...]
    what: str
    is_share: bool
    control: str | None


def strip_info(
    strips: Sequence[Strip], what: str, *, is_share: bool, control: str | None = None
) -> StripInfo:
    """The control first, the others in their order."""
    first = [strip for strip in strips if strip.name == control]
    return StripInfo(
        (*first, *(one for one in strips if one.name != control)), what, is_share, control
    )


def beside(count: int) -> list[float]:
    """Places of `count` dots around 0, spread without chance: neighbours in order stand apart."""
    if count < 2:
        return [0.0] * count
    step = 2 * _SPREAD / (count - 1)
    order = [*range(0, count, 2), *range(1, count, 2)]
    return [-_SPREAD + step * place for place in order]


def strip_figure(info: StripInfo, *, revision: str = "strips") -> go.Figure:
    """The chart on screen; hovering names the well."""
    figure = new_figure("", info.what, revision=revision, height=380)
    figure.update_layout(hovermode="closest")
    if not info.strips:
        say_empty(figure, t("No condition has a well that was counted"))
        return figure
    dots = [
        (number + shift, value, f"{strip.name}: {well}")
        for number, strip in enumerate(info.strips)
        for shift, (well, value) in zip(beside(len(strip.wells)), strip.wells)
    ]
    form = ".1%" if info.is_share else ".1f"
    figure.add_scatter(
        x=[x for x, _, _ in dots],
        y=[y for _, y, _ in dots],
        mode="markers",
        name=t("a well"),
        text=[as_label(well) for *_, well in dots],
        hovertemplate="%{text}<br>%{y:" + form + "}<extra></extra>",
        marker=OPEN_CIRCLE,
    )
    known = [(n, strip) for n, strip in enumerate(info.strips) if strip.value is not None]
    figure.add_scatter(
        x=[n + 0.33 for n, _ in known], y=[strip.value for _, strip in known], mode="markers",
        name=t("estimate, 95 % interval over wells"),
        marker={"symbol": "diamond", "size": 10, "color": style.VERMILLION},
        error_y={
            "type": "data", "symmetric": False, "color": style.VERMILLION, "thickness": 2,
            "array": [_above(strip) for _, strip in known],
            "arrayminus": [_below(strip) for _, strip in known],
        },
        text=[as_label(strip.name) for _, strip in known],
        hovertemplate="%{text}<br>%{y:" + form + "}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(
        tickvals=list(range(len(info.strips))),
        range=[-0.6, len(info.strips) - 0.3],
        ticktext=[as_label(strip.name) for strip in info.strips],
        showgrid=False,
        # Few names stand level, unless the screen is too narrow for them. Tilted the other way the
        # last one would end outside, and Plotly leaves such a one out.
        autotickangles=[-35] if len(info.strips) > _TILT else [0, -35],
    )
    figure.update_yaxes(rangemode="tozero", tickformat=".0%" if info.is_share else "")
    return figure


def _above(strip: Strip) -> float:
    return (strip.high - strip.value) if strip.high is not None and strip.value is not None else 0.0


def _below(strip: Strip) -> float:
    return (strip.value - strip.low) if strip.low is not None and strip.value is not None else 0.0


def strip_panel(info: StripInfo) -> Panel:
    """The chart on paper."""
    return Panel(
        f"{info.what} per condition",
        1,
        50,
        lambda width: min(80.0, max(50.0, 0.6 * width)),
        lambda parent, room: _draw(parent, room, info),
        lambda letters: lettered(letters, 0, _words(info)),
    )


def _draw(parent: FigureBase, room: Room, info: StripInfo) -> None:
    axes = parent.subplots()
    for number, strip in enumerate(info.strips):
        places = [number + shift for shift in beside(len(strip.wells))]
        values = [value for _, value in strip.wells]
        open_circles(axes, places, values)
        if strip.value is not None:
            axes.errorbar(
                [number + 0.33], [strip.value], yerr=[[_below(strip)], [_above(strip)]], fmt="D",
                color=style.VERMILLION, markersize=3.5, capsize=2, linewidth=1,
            )  # fmt: skip
    many = len(info.strips) > _TILT or max((len(s.name) for s in info.strips), default=0) > 14
    axes.set_xticks(
        range(len(info.strips)),
        [strip.name for strip in info.strips],
        rotation=35 if many else 0,
        ha="right" if many else "center",
    )
    axes.set(ylabel=info.what, xlim=(-0.6, len(info.strips) - 0.3))
    axes.set_ylim(bottom=0)
    axes.grid(visible=False, axis="x")
    if info.is_share:
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    corner_letter(parent, room)


def _words(info: StripInfo) -> str:
    wells = sum(len(strip.wells) for strip in info.strips)
    return (
        f"{info.what} of {wells} wells (open circles); diamonds with bars: estimate of each "
        "condition with its 95 % interval over wells (no bar: too few wells for one)."
    )
