"""How large the objects are: a histogram of diameters, class by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import FigureBase

from msip_core.language import t
from msip_core.views import style
from msip_core.views.paper_page import Panel, Room, corner_letter, lettered
from msip_core.views.screen import as_label, new_figure, say_empty

_LEAST_BINS, _MOST_BINS = 8, 40
# Thin lines on white: the classes' colours of pictures are too light for these.
_COLOURS = (style.AFTER, style.VERMILLION, style.BLUE, style.GOLD, style.PINK, style.GREY)
_DASHES = (("solid", "-"), ("dash", "--"), ("dot", ":"), ("dashdot", "-."))


class SizeInfo(NamedTuple):
    """Counts of each class between the edges.

    Attributes:
        cut: objects that touch a border, and are left out.
    """

    unit: str
    edges: tuple[float, ...]
    counts: dict[str, tuple[int, ...]]
    medians: dict[str, float]
    cut: int


def size_info(sizes: Mapping[str, Sequence[float]], unit: str, cut: int = 0) -> SizeInfo:
    """One set of edges for all classes, as wide as Freedman and Diaconis' rule has them."""
    known = {name: np.asarray(values, float) for name, values in sizes.items() if len(values)}
    if not known:
        return SizeInfo(unit, (), {}, {}, cut)
    every = np.concatenate(list(known.values()))
    low, high = float(every.min()), float(every.max())
    if high <= low * 1.01:  # all alike: a bar in the middle
        low, high = 0.8 * low, 1.2 * high
    bins = len(np.histogram_bin_edges(every, "fd", (low, high))) - 1
    edges = np.linspace(low, high, min(_MOST_BINS, max(_LEAST_BINS, bins)) + 1)
    return SizeInfo(
        unit,
        tuple(edges.tolist()),
        {name: tuple(np.histogram(values, edges)[0].tolist()) for name, values in known.items()},
        {name: float(median(values)) for name, values in known.items()},
        cut,
    )


def size_figure(info: SizeInfo) -> go.Figure:
    """The chart on screen: an outline a class, so that none hides another."""
    title = t("Diameter ({unit})", unit=info.unit)
    figure = new_figure(title, t("objects"), revision="sizes")
    if not info.edges:
        say_empty(figure, t("No object lies wholly inside an image"))
    for number, (name, counts) in enumerate(info.counts.items()):
        figure.add_scatter(
            x=info.edges, y=[*counts, counts[-1]], mode="lines", name=as_label(name),
            line={
                "shape": "hv", "width": 2, "color": _COLOURS[number % len(_COLOURS)],
                "dash": _DASHES[number % len(_DASHES)][0],
            },
        )  # fmt: skip
    figure.update_yaxes(rangemode="tozero")
    return figure


def size_panel(info: SizeInfo) -> Panel:
    """The chart on paper."""
    return Panel(
        "Sizes",
        1,
        50,
        lambda width: min(60.0, max(42.0, 0.55 * width)),
        lambda parent, room: _draw(parent, room, info),
        lambda letters: lettered(letters, 0, _words(info)),
    )


def _draw(parent: FigureBase, room: Room, info: SizeInfo) -> None:
    axes = parent.subplots()
    for number, (name, counts) in enumerate(info.counts.items()):
        axes.stairs(
            counts,
            info.edges,
            label=name,
            color=_COLOURS[number % len(_COLOURS)],
            linestyle=_DASHES[number % len(_DASHES)][1],
            linewidth=1.1,
        )
    axes.set(xlabel=f"Diameter ({info.unit})", ylabel="objects")
    axes.set_ylim(bottom=0)
    if info.counts:
        axes.legend(loc="upper right")
    corner_letter(parent, room)


def _words(info: SizeInfo) -> str:
    parts = [
        f"{name}, {sum(info.counts[name])} objects, median {value:.0f} {info.unit}"
        for name, value in info.medians.items()
    ]
    left = (
        f" {info.cut} objects that touch a border of their image are left out."
        if (info.cut)
        else ""
    )
    return f"diameters of the objects ({'; '.join(parts)}).{left}"
