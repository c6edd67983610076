"""The chart of many models, accuracy over cost, on paper."""

from __future__ import annotations

from matplotlib.figure import Figure

from msip_core.views import paper, style
from msip_core.views.pareto import LOOKS, ParetoInfo


def pareto_paper(info: ParetoInfo) -> Figure:
    """The chart on paper; points are numbered, the legend names them."""
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
            axes.annotate(
                str(number),
                (point.cost, point.map50),
                xytext=(3, 3),
                fontsize=6,
                textcoords="offset points",
            )
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
