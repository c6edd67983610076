"""Which layers hurt: the accuracy that each loses when it alone is pruned (METHODS section 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from msip_core.language import t
from msip_core.views import style, wording
from msip_core.views.channels import PARTS, part_of, position_of, short_label
from msip_core.views.screen import as_label, new_figure

_SHARE = 0.5  # where layers are compared: about half of their channels gone
_COLOURS = dict(zip(PARTS, (style.BLUE, style.GOLD, style.ACCENT)))
_SHAPES = dict(zip(PARTS, ("", "/", ".")))


class LayerDrop(NamedTuple):
    """One group of coupled channels, named by its root convolution.

    Attributes:
        share: of its channels, the tried one nearest to a half.
        drop: mAP50 lost at that share; negative where the network gained.
        ratio: share that the search allows it to lose, before scaling.
        curve: every tried (share, drop), smallest share first.
    """

    name: str
    label: str
    part: str
    channels: int
    share: float
    drop: float
    ratio: float
    curve: tuple[tuple[float, float], ...]


class SensitivityInfo(NamedTuple):
    """Layers in the order of the network.

    Attributes:
        map50: of the network with nothing removed, batch norm recalibrated.
        delta: mAP50 that each layer may cost by itself.
    """

    layers: tuple[LayerDrop, ...]
    map50: float
    delta: float


def sensitivity_info(stored: Mapping[str, Any]) -> SensitivityInfo:
    """From `search/sensitivity.json` of a run; groups that were too narrow to try are left out."""
    layers = tuple(
        _layer(group)
        for group in sorted(stored["groups"], key=lambda group: position_of(group["name"]))
        if group["ratios"]
    )
    return SensitivityInfo(layers, float(stored["map50"]), float(stored["delta"]))


def _layer(group: Mapping[str, Any]) -> LayerDrop:
    curve = tuple(zip(group["ratios"], group["drops"]))
    share, drop = min(curve, key=lambda point: abs(point[0] - _SHARE))
    return LayerDrop(
        name=group["name"], label=short_label(group["name"]), part=part_of(group["name"]),
        channels=int(group["channels"]), share=share, drop=drop, ratio=float(group["ratio"]),
        curve=curve,
    )  # fmt: skip


def most_sensitive(info: SensitivityInfo, limit: int = 5) -> tuple[LayerDrop, ...]:
    """The layers that hurt most, worst first."""
    return tuple(sorted(info.layers, key=lambda layer: -layer.drop)[:limit])


def sensitivity_figure(info: SensitivityInfo, *, revision: str = "sensitivity") -> go.Figure:
    """A bar a layer, as tall as what halving it costs; its whole curve is in the hover."""
    figure = new_figure("", t("mAP50 lost"), revision=revision, height=420)
    for part in PARTS:
        layers = [layer for layer in info.layers if layer.part == part]
        figure.add_bar(
            x=[as_label(layer.label) for layer in layers],
            y=[layer.drop for layer in layers],
            name=t(part),
            customdata=[_curve_text(layer.curve) for layer in layers],
            marker={"color": _COLOURS[part], "pattern": {"shape": _SHAPES[part], "solidity": 0.25}},
            hovertemplate="<b>%{x}</b><br>%{customdata}<extra></extra>",
        )
    _allowed(figure, info.delta)
    figure.update_layout(hovermode="closest", bargap=0.15)
    figure.update_xaxes(type="category", tickangle=-60, tickfont={"size": 10})
    return figure


def _allowed(figure: go.Figure, delta: float) -> None:
    """The level that the search took, named in the legend: a name on the line would lie on bars."""
    line = {"color": style.TARGET, "dash": "dash", "width": 1.5}
    name = t("allowed: {drop}", drop=wording.accuracy(delta))
    figure.add_scatter(x=[None], y=[None], mode="lines", line=line, name=name)
    figure.add_hline(y=delta, line=line)


def _curve_text(curve: Sequence[tuple[float, float]]) -> str:
    return "<br>".join(
        t("{share} gone: {drop}", share=wording.percent(share), drop=wording.signed(-drop))
        for share, drop in curve
    )
