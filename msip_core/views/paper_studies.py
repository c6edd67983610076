"""A study on paper: accuracy of many models over cost; which layers each of them made narrower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from msip_core.events import LayerChannels
from msip_core.views import paper, style
from msip_core.views.pareto import LOOKS, ParetoInfo


def pareto_paper(info: ParetoInfo) -> Figure:
    """Accuracy over cost; points are numbered, the legend names them."""
    with paper.drawing():
        figure = paper.new_figure(120, 74.4)
        axes = figure.subplots()
        front = [info.points[n] for n in info.front]
        axes.step(
            [p.cost for p in front],
            [p.map50 for p in front],
            where="post",
            linestyle=":",
            color=style.AFTER,
            linewidth=0.8,
        )
        for number, point in enumerate(info.points, start=1):
            colour, _, marker = LOOKS[point.kind]
            axes.errorbar(
                [point.cost], [point.map50],
                yerr=[[point.map50 - point.low], [point.high - point.map50]],
                fmt=marker, color=colour, linewidth=0.7, capsize=1.5, markersize=4,
                label=f"{number} {point.label}",
            )  # fmt: skip
            paper.beside(axes, str(number), (point.cost, point.map50), (3, 3))
        axes.set(xlabel=info.unit, ylabel="mAP50 (test)")
        axes.set_xlim(left=0)
        axes.legend(
            loc="center left",
            bbox_to_anchor=(1.01, 0.5),
            fontsize=5.5,
            frameon=False,
            handletextpad=0.3,
            labelspacing=0.35,
        )
        return figure


class WidthsInfo(NamedTuple):
    """Share of the original output channels that is left: (models, layers); nan: no such layer."""

    models: tuple[str, ...]
    layers: tuple[str, ...]
    kept: NDArray[np.float64]


def widths_info(models: Mapping[str, Sequence[LayerChannels]]) -> WidthsInfo:
    """Layers in the order of the first model that has them."""
    names = list(dict.fromkeys(layer.name for layers in models.values() for layer in layers))
    kept = np.full((len(models), len(names)), np.nan)
    for row, layers in enumerate(models.values()):
        for layer in layers:
            kept[row, names.index(layer.name)] = layer.after / layer.original
    return WidthsInfo(tuple(models), tuple(names), kept)


def widths_paper(info: WidthsInfo) -> Figure:
    """The grid on paper, dark where much is left."""
    with paper.drawing():
        figure = paper.new_figure(178, 18 + 5.0 * max(1, len(info.models)))
        axes = figure.subplots()
        drawn = axes.imshow(info.kept, aspect="auto", cmap="viridis", vmin=0, vmax=1)
        axes.set_yticks(range(len(info.models)), info.models, fontsize=6)
        step = max(1, len(info.layers) // 24)
        places = range(0, len(info.layers), step)
        axes.set_xticks(list(places), [info.layers[n] for n in places], fontsize=5, rotation=90)
        bar = figure.colorbar(drawn, ax=axes, fraction=0.03, pad=0.01)
        bar.set_label("share of channels left", fontsize=6)
        bar.ax.tick_params(labelsize=5)
        return figure
