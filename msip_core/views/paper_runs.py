"""Figures of a run for print: the same infos as on screen, drawn by matplotlib.

Each figure has a caption whose numbers come from the same info.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from msip_core.views import style, wording
from msip_core.views.channels import ChannelsInfo, LayerBar, part_label
from msip_core.views.comparison import LatencyInfo
from msip_core.views.paper import MAX_HEIGHT_MM, drawing, letter, new_figure
from msip_core.views.progress import EpochsInfo, MacsInfo, MapInfo, TradeoffInfo, WeightsInfo
from msip_core.views.screen import share_range

_WIDE = 130.0  # millimetres from which panels stand side by side


def _panels(
    width_mm: float, count: int, each_mm: float, share_x: bool = False
) -> tuple[Figure, list[Axes]]:
    wide = width_mm >= _WIDE and not share_x
    rows, columns = (1, count) if wide else (count, 1)
    figure = new_figure(width_mm, each_mm * rows)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=share_x)
    panels = list(axes.flat)
    if count > 1:
        for number, panel in enumerate(panels):
            letter(panel, "abcdef"[number])
    return figure, panels


def _level(
    axes: Axes, y: float, text: str, colour: str, dash: str, *, place: str = "right"
) -> None:
    axes.axhline(y, color=colour, linestyle=dash, linewidth=0.9)
    left, below = "left" in place, "below" in place
    axes.annotate(
        text, (0.02 if left else 1, y), xycoords=("axes fraction", "data"), fontsize=6,
        ha="left" if left else "right", va="top" if below else "bottom", color=colour,
        xytext=(0, -1.5 if below else 1.5), textcoords="offset points",
    )  # fmt: skip


def _legend_above(axes: Axes, columns: int) -> None:
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.0, 0.99), ncols=columns, columnspacing=1.0,
        handlelength=1.8, borderaxespad=0.2,
    )  # fmt: skip


def _counted(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=9))


def iterations_figure(maps: MapInfo, macs: MacsInfo, width_mm: float = 178.0) -> Figure:
    """a: mAP50 before and after fine-tuning; b: MACs; over the pruning iterations."""
    with drawing():
        figure, (left, right) = _panels(width_mm, 2, 58)
        left.plot(
            maps.iterations, maps.before, ":o", color=style.BEFORE, markerfacecolor="none",
            label="before fine-tuning",
        )  # fmt: skip
        left.plot(maps.iterations, maps.after, "-o", color=style.AFTER, label="after fine-tuning")
        if maps.baseline is not None:
            text = f"baseline {wording.accuracy(maps.baseline)}"
            _level(left, maps.baseline, text, style.BASELINE, "--")
        if maps.guard is not None:
            text = f"guard rail {wording.accuracy(maps.guard)}"
            _level(left, maps.guard, text, style.TARGET, "-.", place="below")
        left.set(xlabel="Pruning iteration", ylabel="mAP50 (validation)")
        levels = [*maps.before, *maps.after, *filter(None, (maps.baseline, maps.guard))]
        left.set_ylim(*share_range(levels))
        _legend_above(left, 2)
        right.step(macs.iterations, macs.gmacs, "-s", color=style.MACS, where="post", label="MACs")
        if macs.target is not None:
            text = f"target {wording.macs(macs.target * 1e9)}"
            _level(right, macs.target, text, style.TARGET, "--", place="left")
        right.set(xlabel="Pruning iteration (0: baseline)", ylabel="GMACs per image")
        right.set_ylim(0, max([*macs.gmacs, 0.001]) * 1.08)
        for panel in (left, right):
            _counted(panel)
    return figure


def iterations_caption(maps: MapInfo, macs: MacsInfo) -> str:
    """Caption of `iterations_figure`, from measured values only."""
    steps = wording.plural(len(maps.iterations), "pruning iteration")
    text = (
        f"a, mAP50 on the validation images before (open) and after (filled) fine-tuning, {steps}"
    )
    if maps.baseline is not None:
        text += f"; dashed: the baseline, {wording.accuracy(maps.baseline)}"
    text += ". b, multiply-adds (MACs) per image"
    if macs.gmacs:
        first, last = macs.gmacs[0] * 1e9, macs.gmacs[-1] * 1e9
        share = wording.percent(macs.ratios[-1], 1)
        text += f", from {wording.macs(first)} to {wording.macs(last)} ({share} of the baseline)"
    if macs.target is not None:
        text += f"; dashed: the target, {wording.macs(macs.target * 1e9)}"
    return text + "."


def epochs_figure(info: EpochsInfo, width_mm: float = 85.0) -> Figure:
    """a: mAP50; b: training losses; epoch by epoch through all phases."""
    with drawing():
        figure, (top, bottom) = _panels(width_mm, 2, 42, share_x=True)
        measured = [(x, y) for x, y in zip(info.position, info.map50) if y is not None]
        top.plot(
            [x for x, _ in measured], [y for _, y in measured], "-", color=style.AFTER,
            marker="o" if len(measured) <= 40 else "", markersize=2.5,
        )  # fmt: skip
        looks = ((style.BLUE, "-"), (style.VERMILLION, "--"), (style.GREEN, ":"))
        for number, (name, values) in enumerate(info.losses.items()):
            colour, dash = looks[number % len(looks)]
            numbers = [float("nan") if value is None else value for value in values]
            bottom.plot(info.position, numbers, dash, color=colour, label=name)
        for position, _ in info.starts[1:]:
            for panel in (top, bottom):
                panel.axvline(position - 0.5, color=style.GREY, linestyle=":", linewidth=0.6)
        top.set(ylabel="mAP50")
        bottom.set(xlabel="Epoch", ylabel="Training loss")
        if info.losses:
            _legend_above(bottom, 3)
        _counted(bottom)
    return figure


def epochs_caption(info: EpochsInfo) -> str:
    """Caption of `epochs_figure`."""
    count = wording.plural(len(info.position), "epoch")
    text = f"a, mAP50 on the validation images and b, training losses over {count}"
    if len(info.starts) > 1:
        text += "; dotted lines mark the start of a phase"
    best = max((value for value in info.map50 if value is not None), default=None)
    return text + (f". Best epoch: {wording.accuracy(best)}." if best is not None else ".")


def weights_figure(info: WeightsInfo, width_mm: float = 85.0) -> Figure:
    """Weights of the four terms and, where the method has one, alpha."""
    with drawing():
        with_alpha = any(value is not None for value in info.alpha)
        figure, panels = _panels(width_mm, 2 if with_alpha else 1, 44)
        for term, values in info.weights.items():
            panels[0].plot(
                info.iterations, values, "-", marker=style.TERM_MARKERS[term],
                color=style.TERM_COLOURS[term], label=term,
            )  # fmt: skip
        panels[0].set(xlabel="Pruning iteration", ylabel="Weight")
        panels[0].set_ylim(bottom=0)
        _legend_above(panels[0], 4)
        if with_alpha:
            numbers = [float("nan") if value is None else value for value in info.alpha]
            panels[1].plot(info.iterations, numbers, "--x", color=style.GREY)
            panels[1].set(xlabel="Pruning iteration", ylabel="α")
        for panel in panels:
            _counted(panel)
    return figure


def weights_caption(info: WeightsInfo) -> str:
    """Caption of `weights_figure`."""
    if not info.iterations:
        return "This method has no weights."
    first = " / ".join(f"{values[0]:.2f}" for values in info.weights.values())
    last = " / ".join(f"{values[-1]:.2f}" for values in info.weights.values())
    names = ", ".join(info.weights)
    return (
        f"Weights of the four terms ({names}) over the iterations: {first} at first, {last} last."
    )


def tradeoff_figure(info: TradeoffInfo, width_mm: float = 85.0) -> Figure:
    """mAP50 over MACs, points numbered by iteration."""
    with drawing():
        figure, (panel,) = _panels(width_mm, 1, 58)
        panel.plot(info.gmacs, info.map50, "-", color=style.AFTER, linewidth=0.8)
        for index, x, y in zip(info.iterations, info.gmacs, info.map50):
            first = index == 0
            colour = style.BASELINE if first else style.AFTER
            panel.plot([x], [y], "D" if first else "o", color=colour)
            panel.annotate(
                "baseline" if first else str(index), (x, y), xytext=(3, 4), fontsize=6,
                textcoords="offset points", ha="center" if first else "left",
            )  # fmt: skip
        if info.target is not None:
            panel.axvline(info.target, color=style.TARGET, linestyle="--", linewidth=0.9)
            panel.annotate(
                "target", (info.target, 0.02), xycoords=("data", "axes fraction"), fontsize=6,
                xytext=(-2, 0), textcoords="offset points", ha="right", color=style.TARGET,
            )  # fmt: skip
        panel.set(xlabel="GMACs per image", ylabel="mAP50 (validation)")
        panel.margins(y=0.2, x=0.1)
        panel.set_xlim(left=0)
    return figure


def tradeoff_caption(info: TradeoffInfo) -> str:
    """Caption of `tradeoff_figure`."""
    text = "mAP50 on the validation images over multiply-adds per image, iterations numbered"
    return text + ("; dashed: the target." if info.target is not None else ".")


def channels_figure(info: ChannelsInfo, width_mm: float = 178.0) -> Figure:
    """Output channels of every convolution: outline before pruning, filled now."""
    parts = list(info.totals)
    groups = [[bar for bar in info.bars if bar.part == part] for part in parts]
    wide = width_mm >= _WIDE
    rows = max((len(g) for g in groups), default=1) if wide else max(1, len(info.bars))
    row_mm = min(2.9, (MAX_HEIGHT_MM - 24) / (rows + 1))
    with drawing():
        figure = new_figure(width_mm, max(40.0, 20 + row_mm * rows))
        ratios = None if wide else [max(1, len(group)) for group in groups]
        axes = figure.subplots(
            1 if wide else len(parts), len(parts) if wide else 1, squeeze=False,
            sharex=True, height_ratios=ratios,
        )  # fmt: skip
        for panel, part, group in zip(axes.flat, parts, groups):
            _channel_bars(panel, group, max(3.5, min(6.0, row_mm * 2.1)))
            panel.set_title(part_label(info, part), loc="left", fontsize=7, fontweight="bold")
            if wide:
                panel.set_xlabel("Output channels")
                panel.set_ylim(rows - 0.4, -0.6)
        if not wide:
            axes.flat[-1].set_xlabel("Output channels")
        handles, labels = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=2)
    return figure


def _channel_bars(panel: Axes, bars: Sequence[LayerBar], size: float) -> None:
    rows = range(len(bars))
    panel.barh(
        rows, [bar.original for bar in bars], height=0.76, facecolor="none",
        edgecolor=style.GREY, linewidth=0.5, label="before pruning",
    )  # fmt: skip
    panel.barh(rows, [bar.after for bar in bars], height=0.76, color=style.AFTER, label="now")
    panel.set_yticks(list(rows), [bar.label for bar in bars], fontsize=size)
    panel.tick_params(axis="y", length=0)
    panel.grid(False, axis="y")
    panel.set_ylim(len(bars) - 0.4, -0.6)


def channels_caption(info: ChannelsInfo) -> str:
    """Caption of `channels_figure`."""
    parts = "; ".join(part_label(info, part) for part in info.totals)
    count = wording.plural(len(info.bars), "convolution")
    return f"Output channels of {count} before pruning (outline) and now (filled). {parts}."


def latency_figure(info: LatencyInfo, width_mm: float = 85.0) -> Figure:
    """Measured latency with the 95 % interval of the median; the pruned model is hatched."""
    with drawing():
        settings = list(dict.fromkeys(bar.setting for bar in info.bars))
        figure, (panel,) = _panels(width_mm, 1, 24 + 13 * max(1, len(settings)))
        for bar in info.bars:
            pruned = bar.model == "pruned"
            row = settings.index(bar.setting) + (0.2 if pruned else -0.2)
            first = bar.setting == settings[0]
            panel.barh(
                row, bar.median, height=0.36, color=style.AFTER if pruned else style.BASELINE,
                hatch="///" if pruned else "", edgecolor="white", linewidth=0,
                label=bar.model if first else None,
                xerr=[[bar.median - bar.low], [bar.high - bar.median]],
                error_kw={"elinewidth": 0.8, "capsize": 2, "ecolor": style.INK},
            )  # fmt: skip
            panel.annotate(
                wording.milliseconds(bar.median), (bar.high, row), xytext=(4, 0), fontsize=6,
                textcoords="offset points", va="center",
            )  # fmt: skip
        panel.set_yticks(range(len(settings)), settings)
        panel.set_ylim(len(settings) - 0.5, -0.5)
        panel.set_xlabel("Milliseconds per image")
        panel.margins(x=0.18)
        panel.grid(False, axis="y")
        figure.legend(loc="outside upper right", ncols=2)
    return figure


def latency_caption(info: LatencyInfo, device: str = "") -> str:
    """Caption of `latency_figure`."""
    where = f" on {device}" if device else ""
    return f"Latency per image{where}: median with its 95 % interval, runs of both interleaved."
