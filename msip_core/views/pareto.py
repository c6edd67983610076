"""Many models in one chart: accuracy over what it costs, and which of them no other beats in both.

Data first: `pareto_info`, then Plotly on screen; `pareto_paper` draws the same with matplotlib.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import plotly.graph_objects as go

from msip_core.language import say, t
from msip_core.views import style
from msip_core.views.screen import new_figure, say_empty, share_axis

Kind = Literal["baseline", "honest", "method", "main"]
# Kind: colour, symbol on screen, marker on paper. Colour is never the only sign.
LOOKS: dict[Kind, tuple[str, str, str]] = {
    "baseline": (style.BASELINE, "diamond", "D"),
    "honest": (style.GREY, "square", "s"),
    "method": (style.BLUE, "circle", "o"),
    "main": (style.AFTER, "star", "*"),
}


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


def pareto_figure(info: ParetoInfo, *, revision: str = "pareto", height: int = 420) -> go.Figure:
    """The chart on screen; hovering names the model."""
    figure = new_figure(info.unit, t("mAP50 (test)"), revision=revision, height=height)
    figure.update_layout(hovermode="closest", showlegend=False)
    front = [info.points[n] for n in info.front]
    figure.add_scatter(
        x=[p.cost for p in front], y=[p.map50 for p in front], mode="lines", hoverinfo="skip",
        line={"color": style.AFTER, "width": 1.5, "dash": "dot", "shape": "hv"},
    )  # fmt: skip
    for place, point in enumerate(info.points):
        colour, symbol, _ = LOOKS[point.kind]
        # Names of all would lie on each other; hovering tells the others.
        is_named = place in info.front or point.kind in ("baseline", "main")
        name = say(point.label)
        figure.add_scatter(
            x=[point.cost], y=[point.map50], name=name,
            mode="markers+text" if is_named else "markers",
            text=[name], textposition="top center", textfont={"size": 11},
            marker={"symbol": symbol, "size": 12 if point.kind == "main" else 9, "color": colour},
            error_y={
                "type": "data", "symmetric": False, "array": [point.high - point.map50],
                "arrayminus": [point.map50 - point.low], "color": colour, "thickness": 1,
                "width": 3,
            },
            hovertemplate="%{text}<br>%{x:.3g}, mAP50 %{y:.3f}<extra></extra>",
        )  # fmt: skip
    if not info.points:
        say_empty(figure, t("No row of this study has been measured yet"))
    share_axis(figure, [v for p in info.points for v in (p.low, p.high)])
    figure.update_xaxes(rangemode="tozero")
    return figure
