"""Figures of a run for print: the same infos as on screen, drawn by matplotlib.

Each figure has a caption whose numbers come from the same info.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.ticker import MaxNLocator

from msip_core.views import style, wording
from msip_core.views.channels import ChannelsInfo, LayerBar, part_label
from msip_core.views.comparison import LatencyInfo
from msip_core.views.paper import MAX_HEIGHT_MM, beside, letter
from msip_core.views.paper_page import Panel, Room, corner_letter, lettered
from msip_core.views.progress import EpochsInfo, MacsInfo, MapInfo, WeightsInfo
from msip_core.views.screen import share_range

_WIDE = 130.0  # millimetres from which axes stand side by side


def _axes_height(width_mm: float) -> float:
    """A pleasant height for one pair of axes."""
    return min(58.0, max(38.0, 0.62 * width_mm))


def _axes(parent: FigureBase, room: Room, count: int, *, share_x: bool = False) -> list[Axes]:
    wide = room.width >= _WIDE and not share_x
    rows, columns = (1, count) if wide else (count, 1)
    panels = list(parent.subplots(rows, columns, squeeze=False, sharex=share_x).flat)
    for panel, text in zip(panels, room.letters):
        letter(panel, text)
    return panels


def _level(
    axes: Axes, y: float, text: str, colour: str, dash: str, *, place: str = "right"
) -> None:
    axes.axhline(y, color=colour, linestyle=dash, linewidth=0.9)
    left, below = "left" in place, "below" in place
    beside(
        axes, text, (0.02 if left else 1, y), (0, -1.5 if below else 1.5), color=colour,
        xycoords=("axes fraction", "data"), ha="left" if left else "right",
        va="top" if below else "bottom",
    )  # fmt: skip


def _legend_above(axes: Axes, columns: int) -> None:
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 0.99),
        ncols=columns,
        columnspacing=1.6,
        handlelength=1.8,
        borderaxespad=0.2,
    )


def _counted(axes: Axes) -> None:
    """Whole numbers below the axis, and room on both sides of a lone first point."""
    first, last = axes.dataLim.intervalx
    if first == last:
        axes.set_xlim(first - 0.5, last + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=9, min_n_ticks=1))


def iterations_panel(maps: MapInfo, macs: MacsInfo) -> Panel:
    """mAP50 before and after fine-tuning, and MACs, over the pruning iterations."""
    return Panel(
        "Accuracy and work per step",
        2,
        60,
        lambda width: 58.0 if width >= _WIDE else 2 * min(46.0, _axes_height(width)),
        lambda parent, room: _draw_iterations(parent, room, maps, macs),
        lambda letters: _iterations_words(letters, maps, macs),
    )


def _draw_iterations(parent: FigureBase, room: Room, maps: MapInfo, macs: MacsInfo) -> None:
    left, right = _axes(parent, room, 2)
    left.plot(
        maps.iterations,
        maps.before,
        ":o",
        color=style.BEFORE,
        markerfacecolor="none",
        label="before fine-tuning",
    )
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


def _iterations_words(letters: Sequence[str], maps: MapInfo, macs: MacsInfo) -> str:
    steps = wording.plural(len(maps.iterations), "pruning iteration")
    text = lettered(
        letters,
        0,
        f"mAP50 on the validation images before (open) and after (filled) fine-tuning, {steps}",
    )
    if maps.baseline is not None:
        text += f"; dashed: the baseline, {wording.accuracy(maps.baseline)}"
    text += ". " + lettered(letters, 1, "multiply-adds (MACs) per image")
    if macs.gmacs:
        first, last = macs.gmacs[0] * 1e9, macs.gmacs[-1] * 1e9
        share = wording.percent(macs.ratios[-1], 1)
        text += f", from {wording.macs(first)} to {wording.macs(last)} ({share} of the baseline)"
    if macs.target is not None:
        text += f"; dashed: the target, {wording.macs(macs.target * 1e9)}"
    return text + "."


def epochs_panel(info: EpochsInfo) -> Panel:
    """mAP50 and training losses, epoch by epoch through all phases."""
    return Panel(
        "Training curves",
        2,
        55,
        lambda width: 2 * min(42.0, _axes_height(width)),
        lambda parent, room: _draw_epochs(parent, room, info),
        lambda letters: _epochs_words(letters, info),
    )


def _draw_epochs(parent: FigureBase, room: Room, info: EpochsInfo) -> None:
    top, bottom = _axes(parent, room, 2, share_x=True)
    measured = [(x, y) for x, y in zip(info.position, info.map50) if y is not None]
    top.plot(
        [x for x, _ in measured],
        [y for _, y in measured],
        "-",
        color=style.AFTER,
        marker="o" if len(measured) <= 40 else "",
        markersize=2.5,
    )
    looks = ((style.BLUE, "-"), (style.VERMILLION, "--"), (style.GREEN, ":"))
    for number, (name, values) in enumerate(info.losses.items()):
        colour, dash = looks[number % len(looks)]
        numbers = [float("nan") if value is None else value for value in values]
        alone = "o" if len(numbers) == 1 else ""
        bottom.plot(
            info.position, numbers, dash, color=colour, label=name, marker=alone, markersize=3
        )
    bottom.set_ylim(bottom=0)
    for position, _ in info.starts[1:]:
        for panel in (top, bottom):
            panel.axvline(position - 0.5, color=style.GREY, linestyle=":", linewidth=0.6)
    top.set(ylabel="mAP50")
    bottom.set(xlabel="Epoch", ylabel="Training loss")
    if info.losses:
        _legend_above(bottom, 3)
    _counted(bottom)


def _epochs_words(letters: Sequence[str], info: EpochsInfo) -> str:
    count = wording.plural(max(info.position, default=0), "epoch")
    first = lettered(letters, 0, "mAP50 on the validation images")
    text = f"{first} and {lettered(letters, 1, 'training losses')} over {count}"
    if len(info.starts) > 1:
        text += "; dotted lines mark the start of a phase"
    if info.every > 1:
        text += f"; one epoch of {info.every} is drawn"
    best = info.best
    return text + (f". Best epoch: {wording.accuracy(best)}." if best is not None else ".")


def weights_panel(info: WeightsInfo) -> Panel:
    """Weights of the four terms and, where the method has one, alpha."""
    parts = 2 if any(value is not None for value in info.alpha) else 1

    def height(width: float) -> float:
        return 44.0 if parts == 1 or width >= _WIDE else 2 * min(44.0, _axes_height(width))

    return Panel(
        "Weights of the four signals",
        parts,
        55,
        height,
        lambda parent, room: _draw_weights(parent, room, info, parts),
        lambda letters: _weights_words(letters, info, parts),
    )


def _draw_weights(parent: FigureBase, room: Room, info: WeightsInfo, parts: int) -> None:
    panels = _axes(parent, room, parts)
    for term, values in info.weights.items():
        colour, _, marker = style.TERM_LOOKS[term]
        panels[0].plot(info.iterations, values, "-", marker=marker, color=colour, label=term)
    panels[0].set(xlabel="Pruning iteration", ylabel="Weight")
    panels[0].set_ylim(bottom=0)
    _legend_above(panels[0], 4 if room.width >= 80 and (parts == 1 or room.width < _WIDE) else 2)
    if parts == 2:
        numbers = [float("nan") if value is None else value for value in info.alpha]
        panels[1].plot(info.iterations, numbers, "--x", color=style.GREY)
        panels[1].set(xlabel="Pruning iteration", ylabel="α")
    for panel in panels:
        _counted(panel)


def _weights_words(letters: Sequence[str], info: WeightsInfo, parts: int) -> str:
    if not info.iterations:
        return "This method has no weights."
    first = " / ".join(f"{values[0]:.2f}" for values in info.weights.values())
    last = " / ".join(f"{values[-1]:.2f}" for values in info.weights.values())
    names = ", ".join(info.weights)
    text = lettered(letters, 0, f"weights of the four terms ({names}) over the iterations: ")
    text += f"{first} at first, {last} last."
    if parts == 2:
        values = [value for value in info.alpha if value is not None]
        alpha = f"threshold factor α, {values[0]:.2f} at first, {values[-1]:.2f} last."
        text += " " + lettered(letters, 1, alpha)
    return text


def tradeoff_panel(info: MacsInfo) -> Panel:
    """mAP50 over MACs, points numbered by iteration."""
    return Panel(
        "Accuracy over work",
        1,
        50,
        _axes_height,
        lambda parent, room: _draw_tradeoff(parent, room, info),
        lambda letters: _tradeoff_words(letters, info),
    )


def _draw_tradeoff(parent: FigureBase, room: Room, info: MacsInfo) -> None:
    (panel,) = _axes(parent, room, 1)
    panel.plot(info.gmacs, info.map50, "-", color=style.AFTER, linewidth=0.8)
    for index, x, y in zip(info.iterations, info.gmacs, info.map50):
        first = index == 0
        colour = style.BASELINE if first else style.AFTER
        panel.plot([x], [y], "D" if first else "o", color=colour)
        text, align = ("baseline", "center") if first else (str(index), "left")
        beside(panel, text, (x, y), (3, 4), ha=align)
    if info.target is not None:
        panel.axvline(info.target, color=style.TARGET, linestyle="--", linewidth=0.9)
        look = {"xycoords": ("data", "axes fraction"), "ha": "right", "color": style.TARGET}
        beside(panel, "target", (info.target, 0.02), (-2, 0), **look)
    panel.set(xlabel="GMACs per image", ylabel="mAP50 (validation)")
    panel.margins(y=0.2, x=0.1)
    panel.set_xlim(left=0)


def _tradeoff_words(letters: Sequence[str], info: MacsInfo) -> str:
    text = "mAP50 on the validation images over multiply-adds per image, iterations numbered"
    if len(info.gmacs) > 1:
        text += (
            f", from {wording.accuracy(info.map50[0])} at {wording.macs(info.gmacs[0] * 1e9)} to "
            f"{wording.accuracy(info.map50[-1])} at {wording.macs(info.gmacs[-1] * 1e9)}"
        )
    target = "; dashed: the target" if info.target is not None else ""
    return lettered(letters, 0, f"{text}{target}.")


def channels_panel(info: ChannelsInfo) -> Panel:
    """Output channels of every convolution: outline before pruning, filled now."""
    return Panel(
        "Channels per layer",
        1,
        120,
        lambda width: max(40.0, 20 + _channel_row(info, width) * _channel_rows(info, width)),
        lambda parent, room: _draw_channels(parent, room, info),
        lambda letters: _channels_words(letters, info),
    )


def _channel_rows(info: ChannelsInfo, width_mm: float) -> int:
    counts = [sum(bar.part == part for bar in info.bars) for part in info.totals]
    return max(1, max(counts, default=1) if width_mm >= _WIDE else len(info.bars))


def _channel_row(info: ChannelsInfo, width_mm: float) -> float:
    return min(2.9, (MAX_HEIGHT_MM - 24) / (_channel_rows(info, width_mm) + 1))


def _draw_channels(parent: FigureBase, room: Room, info: ChannelsInfo) -> None:
    parts = list(info.totals)
    groups = [[bar for bar in info.bars if bar.part == part] for part in parts]
    wide = room.width >= _WIDE
    rows = _channel_rows(info, room.width)
    row_mm = min(2.9, (room.height - 20) / rows)
    ratios = None if wide else [max(1, len(group)) for group in groups]
    axes = parent.subplots(
        1 if wide else len(parts),
        len(parts) if wide else 1,
        squeeze=False,
        sharex=True,
        height_ratios=ratios,
    )
    for panel, part, group in zip(axes.flat, parts, groups):
        _channel_bars(panel, group, max(3.5, min(6.0, row_mm * 2.1)))
        panel.set_title(part_label(info, part), loc="left", fontsize=7, fontweight="bold")
        if wide:
            panel.set_xlabel("Output channels")
            panel.set_ylim(rows - 0.4, -0.6)
    if not wide:
        axes.flat[-1].set_xlabel("Output channels")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    parent.legend(handles, labels, loc="outside upper right", ncols=2)
    corner_letter(parent, room)


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


def _channels_words(letters: Sequence[str], info: ChannelsInfo) -> str:
    parts = "; ".join(part_label(info, part) for part in info.totals)
    count = wording.plural(len(info.bars), "convolution")
    text = f"output channels of {count} before pruning (outline) and now (filled); {parts}."
    return lettered(letters, 0, text)


def latency_panel(info: LatencyInfo) -> Panel:
    """Measured latency with the 95 % interval of the median; the pruned model is hatched."""
    settings = list(dict.fromkeys(bar.setting for bar in info.bars))
    return Panel(
        "Speed on this computer",
        1,
        75,
        lambda width: 24.0 + 13 * max(1, len(settings)),
        lambda parent, room: _draw_latency(parent, room, info, settings),
        lambda letters: lettered(
            letters,
            0,
            "latency per image: median with its 95 % interval, runs of both interleaved.",
        ),
    )


def _draw_latency(
    parent: FigureBase, room: Room, info: LatencyInfo, settings: Sequence[str]
) -> None:
    panel = parent.subplots()
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
        beside(panel, wording.milliseconds(bar.median), (bar.high, row), (4, 0), va="center")
    panel.set_yticks(range(len(settings)), settings)
    panel.set_ylim(len(settings) - 0.5, -0.5)
    panel.set_xlabel("Milliseconds per image")
    panel.margins(x=0.18)
    panel.grid(False, axis="y")
    parent.legend(loc="outside upper right", ncols=2)
    corner_letter(parent, room)
