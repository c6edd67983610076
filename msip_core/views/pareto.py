"""Many models in one chart: accuracy over what it costs, and which of them no other beats in both.

Data first: `pareto_info`, then Plotly on screen; `pareto_paper` draws the same with matplotlib.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Literal, NamedTuple

import plotly.graph_objects as go

from msip_core.language import mark, t, told
from msip_core.views import style
from msip_core.views.screen import as_label, new_figure, say_empty, share_axis, share_range

Kind = Literal["baseline", "honest", "method", "main"]
# Kind: colour, symbol on screen, marker on paper. Colour is never the only sign.
LOOKS: dict[Kind, tuple[str, str, str]] = {
    "baseline": (style.BASELINE, "diamond", "D"),
    "honest": (style.GREY, "square", "s"),
    "method": (style.BLUE, "circle", "o"),
    "main": (style.AFTER, "star", "*"),
}
# The main row stands in the legend by its own name.
KINDS: dict[Kind, str] = {
    "baseline": mark("unpruned"),
    "honest": mark("simple rivals"),
    "method": mark("other methods"),
    "main": "MSIP",
}
_NAME_WIDTH = 24  # characters of a line of a name
_LINE_PX, _AROUND_PX = 15, 120  # height of such a line; what the plot leaves for title and ticks


class Point(NamedTuple):
    """One model: cost on the x axis, mAP50 with its interval on the y axis."""

    label: str
    kind: Kind
    cost: float
    map50: float
    low: float
    high: float


class ParetoInfo(NamedTuple):
    """Points, and those of them (by place) that no other beats in cost and accuracy at once."""

    points: tuple[Point, ...]
    front: tuple[int, ...]
    unit: str


def pareto_info(points: Sequence[Point], unit: str) -> ParetoInfo:
    """The front from cheap to dear: each point on it is more accurate than all cheaper ones."""
    order = sorted(range(len(points)), key=lambda n: (points[n].cost, -points[n].map50))
    front: list[int] = []
    for place in order:
        if not front or points[place].map50 > points[front[-1]].map50:
            front.append(place)
    return ParetoInfo(tuple(points), tuple(front), unit)


def pareto_figure(info: ParetoInfo, *, revision: str = "pareto", height: int = 460) -> go.Figure:
    """The chart on screen: the best of each cost are named, hovering names the others."""
    figure = new_figure(told(info.unit), t("mAP50 (test)"), revision=revision, height=height)
    figure.update_layout(hovermode="closest")
    front = [info.points[n] for n in info.front]
    figure.add_scatter(
        x=[p.cost for p in front],
        y=[p.map50 for p in front],
        mode="lines",
        hoverinfo="skip",
        line={"color": style.AFTER, "width": 1.5, "dash": "dot", "shape": "hv"},
        name=t("best at its cost"),
        showlegend=bool(front),
    )
    for place, point in enumerate(info.points):
        is_first = point.kind not in {earlier.kind for earlier in info.points[:place]}
        _add(figure, point, in_legend=is_first)
    values = [v for p in info.points for v in (p.low, p.high)]
    if info.points:
        _name(figure, _named(info), height, share_range(values))
    else:
        say_empty(figure, t("No row of this study has been measured yet"))
    share_axis(figure, values)
    figure.update_xaxes(rangemode="tozero")
    return figure


def _add(figure: go.Figure, point: Point, *, in_legend: bool) -> None:
    """One model with its interval; the first of its kind stands for all in the legend."""
    colour, symbol, _ = LOOKS[point.kind]
    name = as_label(told(point.label))
    figure.add_scatter(
        x=[point.cost], y=[point.map50], mode="markers", text=[name],
        name=name if point.kind == "main" else t(KINDS[point.kind]), legendgroup=point.kind,
        showlegend=in_legend,
        marker={"symbol": symbol, "size": 12 if point.kind == "main" else 9, "color": colour},
        error_y={
            "type": "data", "symmetric": False, "array": [point.high - point.map50],
            "arrayminus": [point.map50 - point.low], "color": colour, "thickness": 1, "width": 3,
        },
        hovertemplate="%{text}<br>%{x:.3g}, mAP50 %{y:.3f}<extra></extra>",
    )  # fmt: skip


def _named(info: ParetoInfo) -> list[Point]:
    """Names of all would lie on each other. The least accurate first."""
    points = [
        point
        for place, point in enumerate(info.points)
        if place in info.front or point.kind in ("baseline", "main")
    ]
    return sorted(points, key=lambda point: point.map50)


def _name(
    figure: go.Figure, points: Sequence[Point], height: int, limits: tuple[float, float]
) -> None:
    """Names beside the cheap and beside the dear points, towards the middle, above all of them:
    the line of the front runs below."""
    texts = [[as_label(line) for line in wrap(told(point.label), _NAME_WIDTH)] for point in points]
    line = _LINE_PX / (height - _AROUND_PX) * (limits[1] - limits[0])
    sizes = [len(text) * line for text in texts]
    middle = max(point.cost for point in points) / 2
    cheap = [p for p in points if p.cost <= middle]
    dear = [p for p in points if p.cost > middle]
    wanted = [
        max(other.map50 for other in (cheap if p in cheap else dear)) + size / 2
        for p, size in zip(points, sizes)
    ]
    for point, text, y in zip(points, texts, spread(wanted, sizes, limits)):
        is_cheap = point in cheap
        x = max(p.cost for p in cheap) if is_cheap else min(p.cost for p in dear)
        side: Literal["left", "right"] = "left" if is_cheap else "right"
        figure.add_annotation(
            text="<br>".join(text), x=point.cost, y=point.map50, ay=y, axref="x", ayref="y",
            ax=x + (0.06 if is_cheap else -0.06) * middle, xanchor=side, align=side,
            yanchor="middle", standoff=6, arrowhead=0, arrowwidth=1, arrowcolor=style.GREY,
            font={"size": 11},
        )  # fmt: skip


def spread(
    wanted: Sequence[float], sizes: Sequence[float], limits: tuple[float, float]
) -> list[float]:
    """Middles as near above the wanted ones as they can be without overlap, inside the limits.

    Args:
        wanted, sizes: middle and extent of each, in one unit; of two equal ones the first is lower.

    Returns:
        The middles in the order given. More than fit stick out at the bottom.
    """
    order = sorted(range(len(wanted)), key=lambda n: wanted[n])
    found = list(wanted)
    edge = limits[0]
    for n in order:
        found[n] = max(wanted[n], edge + sizes[n] / 2)
        edge = found[n] + sizes[n] / 2
    edge = limits[1]
    for n in reversed(order):
        found[n] = min(found[n], edge - sizes[n] / 2)
        edge = found[n] - sizes[n] / 2
    return found
