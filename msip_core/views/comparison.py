"""Two models side by side: measured latency and how their detections agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from msip_core.boxes import PairKind
from msip_core.language import t
from msip_core.questions.detecting import ComparedImage
from msip_core.views import style, wording
from msip_core.views.screen import new_figure
from msip_core.views.tables import latency_pairs
from msip_core.ways import Latency


class LatencyBar(NamedTuple):
    """One measured latency; `low` and `high` bound the median's 95 % interval, milliseconds.

    Attributes:
        setting: the way that it was measured in.
    """

    setting: str
    model: str
    median: float
    low: float
    high: float


class LatencyInfo(NamedTuple):
    bars: tuple[LatencyBar, ...]


def latency_info(latency: Sequence[Latency]) -> LatencyInfo:
    """Latencies as the compare job measured them, formats in their order."""
    bars = [
        LatencyBar(
            setting=wording.way_name(way),
            model=name,
            median=pair[name].median_ms,
            low=pair[name].low_ms,
            high=pair[name].high_ms,
        )
        for way, pair in latency_pairs(latency).items()
        for name in ("baseline", "pruned")
        if name in pair
    ]
    return LatencyInfo(tuple(bars))


def latency_figure(info: LatencyInfo) -> go.Figure:
    """Bars with the interval of the median; the hatched bars are the pruned model."""
    settings = list(dict.fromkeys(bar.setting for bar in info.bars))
    height = 110 + 62 * max(1, len(settings))
    title = t("milliseconds per image (median, 95 % interval)")
    figure = new_figure(title, "", revision="latency", height=height)
    figure.update_layout(barmode="group", bargap=0.35, hovermode="closest")
    looks = {
        "baseline": (t("Baseline"), style.BASELINE, ""),
        "pruned": (t("Lighter model"), style.AFTER, "/"),
    }
    for model, (word, colour, shape) in looks.items():
        bars = [bar for bar in info.bars if bar.model == model]
        figure.add_bar(
            y=[bar.setting for bar in bars], x=[bar.median for bar in bars], orientation="h",
            name=word, marker={"color": colour, "pattern": {"shape": shape, "solidity": 0.25}},
            error_x={
                "type": "data", "symmetric": False, "thickness": 2, "color": style.GOLD,
                "array": [bar.high - bar.median for bar in bars],
                "arrayminus": [bar.median - bar.low for bar in bars],
            },
            text=[wording.milliseconds(bar.median) for bar in bars], textposition="inside",
            insidetextanchor="start", hovertemplate="%{y}: %{text}<extra>" + word + "</extra>",
        )  # fmt: skip
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(rangemode="tozero")
    return figure


class AgreementInfo(NamedTuple):
    """How many objects fall in each kind of pair."""

    counts: dict[PairKind, int]

    @property
    def of_baseline(self) -> int:
        """Objects that the baseline found."""
        return sum(self.counts[kind] for kind in ("both", "class changed", "lost"))


def agreement_info(agreement: Mapping[PairKind, int]) -> AgreementInfo:
    """Counts of all four kinds; a kind that is missing counts 0."""
    return AgreementInfo({kind: int(agreement.get(kind, 0)) for kind in style.PAIR_KINDS})


class Difference(NamedTuple):
    """How far two models disagree on one image.

    Attributes:
        different: objects that are lost, new or of another class.
        objects: all objects that either of them found.
    """

    image: str
    different: int
    objects: int


def most_different(images: Sequence[ComparedImage], limit: int = 8) -> list[Difference]:
    """The images where the models disagree on most objects, most first; none where they agree.

    Among images with as many, the one with fewer objects comes first: more of it differs.
    """
    found = [
        Difference(item.id, sum(p.kind != "both" for p in item.pairs), len(item.pairs))
        for item in images
    ]
    found = [item for item in found if item.different]
    return sorted(found, key=lambda item: (-item.different, item.objects))[:limit]


_HATCH = {"both": "", "class changed": "x", "lost": "/", "new": "."}


def agreement_figure(info: AgreementInfo) -> go.Figure:
    """One stacked bar; each kind has its colour and hatch. A part may be narrow, so that the counts
    stand in the legend."""
    figure = new_figure(t("objects"), "", revision="agreement", height=230)
    figure.update_layout(
        barmode="stack",
        hovermode="closest",
        # Below, with room for four lines: so many it takes on a telephone.
        legend={"traceorder": "normal", "y": -0.9, "yanchor": "top"},
        margin={"t": 30, "b": 140},
    )
    for kind, count in info.counts.items():
        figure.add_bar(
            x=[count], y=[""], orientation="h", name=f"{count} {t(style.PAIR_WORDS[kind])}",
            hovertemplate="%{fullData.name}<extra></extra>",
            marker={
                "color": style.PAIR_COLOURS[kind],
                "pattern": {"shape": _HATCH[kind], "solidity": 0.2},
                "line": {"color": style.GREY, "width": 1},
            },
        )  # fmt: skip
    figure.update_yaxes(showticklabels=False, showgrid=False)
    return figure
