"""Channels per layer, grouped as YOLOv8 is built: backbone, neck, head."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from msip_core.events import LayerChannels
from msip_core.views import style, wording
from msip_core.views.screen import new_figure

PARTS = ("backbone", "neck", "head")
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


def part_label(info: ChannelsInfo, part: str) -> str:
    """'neck: 38 % removed'."""
    original, after = info.totals[part]
    return f"{part}: {wording.percent(1 - after / original if original else 0)} removed"


def channels_figure(info: ChannelsInfo, *, revision: str = "channels") -> go.Figure:
    """Horizontal bars: an outline for the original width, filled for what is left."""
    height = 120 + 15 * len(info.bars)
    figure = new_figure("Output channels", "", revision=revision, height=height)
    figure.update_layout(
        barmode="overlay", bargap=0.25, hovermode="y unified", margin={"t": 36, "b": 8}
    )
    groups = [part_label(info, bar.part) for bar in info.bars]
    labels = [bar.label for bar in info.bars]
    figure.add_bar(
        y=[groups, labels], x=[bar.original for bar in info.bars], orientation="h",
        name="before pruning", hovertemplate="%{x} before pruning<extra></extra>",
        marker={"color": style.CLEAR, "line": {"color": style.GREY, "width": 1}},
    )  # fmt: skip
    figure.add_bar(
        y=[groups, labels], x=[bar.after for bar in info.bars], orientation="h", name="now",
        marker={"color": style.AFTER}, customdata=[[bar.before, bar.removed] for bar in info.bars],
        hovertemplate="%{x} now (%{customdata[1]:.0%} removed; %{customdata[0]} before this "
        "iteration)<extra></extra>",
    )  # fmt: skip
    figure.update_yaxes(
        autorange="reversed", tickfont={"size": 10}, showgrid=False, dividercolor=style.GREY
    )
    return figure
