"""Channels per layer, grouped as YOLOv8 is built: backbone, neck, head."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from msip_core.events import LayerChannels
from msip_core.language import mark, t
from msip_core.views import style, wording

if TYPE_CHECKING:  # tables use this module, and few verbs draw
    import plotly.graph_objects as go

PARTS = (mark("backbone"), mark("neck"), mark("head"))
_BACKBONE_END, _NECK_END = 10, 22  # YOLOv8's yaml: layers 0-9, 10-21, 22 is Detect
_NUMBER = re.compile(r"(?:^|\.)(\d+)(?:\.|$)")


class LayerBar(NamedTuple):
    """One convolution: `removed` is the share of its original channels that is gone."""

    name: str
    label: str
    part: str
    original: int
    before: int
    after: int
    removed: float


class ChannelsInfo(NamedTuple):
    """Bars in the order of the network, and per part (original, after) channel sums."""

    bars: tuple[LayerBar, ...]
    totals: dict[str, tuple[int, int]]


def position_of(name: str) -> int:
    """Place in YOLOv8's list of layers: 15 for 'model.15.m.0.cv1.conv'."""
    match = _NUMBER.search(name)
    return int(match.group(1)) if match else 0


def part_of(name: str) -> str:
    """Part of YOLOv8 that a layer such as 'model.15.m.0.cv1.conv' belongs to."""
    number = position_of(name)
    return PARTS[0] if number < _BACKBONE_END else PARTS[1] if number < _NECK_END else PARTS[2]


def short_label(name: str) -> str:
    """'model.15.m.0.cv1.conv' -> '15 · m.0.cv1'; 'model.0.conv' -> '0'."""
    text = re.sub(r"^(model\.)+", "", name)
    text = re.sub(r"\.conv$", "", text)
    number, _, rest = text.partition(".")
    return f"{number} · {rest}" if rest and rest != "conv" else number


def channels_info(layers: Sequence[LayerChannels]) -> ChannelsInfo:
    """Every convolution's channels before the first cut and now."""
    bars = tuple(
        LayerBar(
            name=layer.name,
            label=short_label(layer.name),
            part=part_of(layer.name),
            original=layer.original,
            before=layer.before,
            after=layer.after,
            removed=1 - layer.after / layer.original if layer.original else 0.0,
        )
        for layer in sorted(layers, key=lambda layer: position_of(layer.name))
    )
    totals = {
        part: (
            sum(bar.original for bar in bars if bar.part == part),
            sum(bar.after for bar in bars if bar.part == part),
        )
        for part in PARTS
        if any(bar.part == part for bar in bars)
    }
    return ChannelsInfo(bars, totals)


def layer_rows(info: ChannelsInfo) -> list[dict[str, str | int]]:
    """The picture of the network as a table: one row a convolution."""
    return [
        {
            t("Part"): t(bar.part),
            t("Layer"): bar.name,
            t("Channels of the baseline"): bar.original,
            t("Before this step"): bar.before,
            t("Channels left"): bar.after,
            t("Removed"): wording.percent(bar.removed),
        }
        for bar in info.bars
    ]


def part_label(info: ChannelsInfo, part: str) -> str:
    """'neck: 38 % removed'."""
    original, after = info.totals[part]
    return f"{part}: {wording.percent(1 - after / original if original else 0)} removed"


_GAP = 1.6  # empty places between two parts of the network, in layers


def network_figure(info: ChannelsInfo, *, revision: str = "network") -> go.Figure:
    """The network as a picture: a bar a convolution, in its order, as tall as it has channels.

    Outlines are the baseline, filled bars what is left: the picture thins out as the step moves,
    since its scale stays that of the baseline.
    """
    from msip_core.views.screen import as_label, new_figure, say_empty

    figure = new_figure("", "", revision=revision, height=340)
    places = _places(info)
    tallest = max((bar.original for bar in info.bars), default=1)
    texts = [
        t(
            "{name}: {original} → {after} channels ({removed} removed; {before} before this step)",
            name=as_label(bar.label),
            original=bar.original,
            after=bar.after,
            before=bar.before,
            removed=wording.percent(bar.removed),
        )
        for bar in info.bars
    ]
    figure.add_bar(
        x=places,
        y=[bar.original for bar in info.bars],
        width=0.82,
        base=[-bar.original / 2 for bar in info.bars],
        name=t("baseline"),
        marker={"color": style.CLEAR, "line": {"color": style.GREY, "width": 1.2}},
        hoverinfo="skip",
    )
    figure.add_bar(
        x=places,
        y=[bar.after for bar in info.bars],
        width=0.82,
        base=[-bar.after / 2 for bar in info.bars],
        name=t("channels left"),
        customdata=texts,
        marker={"color": style.AFTER},
        hovertemplate="%{customdata}<extra></extra>",
    )
    figure.update_layout(barmode="overlay", hovermode="closest", bargap=0)
    figure.update_xaxes(visible=False, range=[-1, max(places, default=0) + 1])
    figure.update_yaxes(visible=False, range=[-tallest * 0.56, tallest * 0.68])
    _name_parts(figure, info, places, tallest)
    if not info.bars:
        say_empty(figure, t("Appears with the first pruning step"))
    return figure


def _places(info: ChannelsInfo) -> list[float]:
    """Position of each bar from left to right, with a gap where a new part begins."""
    places: list[float] = []
    for number, bar in enumerate(info.bars):
        new_part = number > 0 and bar.part != info.bars[number - 1].part
        places.append(places[-1] + 1 + (_GAP if new_part else 0) if places else 0.0)
    return places


def _name_parts(figure: go.Figure, info: ChannelsInfo, places: list[float], tallest: float) -> None:
    for part, (original, after) in info.totals.items():
        inside = [place for place, bar in zip(places, info.bars) if bar.part == part]
        removed = wording.percent(1 - after / original if original else 0)
        figure.add_annotation(
            x=(inside[0] + inside[-1]) / 2,
            y=tallest * 0.6,
            showarrow=False,
            text=f"<b>{t(part)}</b><br>−{removed}",
            font={"size": 13},
        )
