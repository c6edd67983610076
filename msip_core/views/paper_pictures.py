"""Micrographs for print: before and after pruning, and where the models look.

Boxes, numbers and scale bars are vector shapes over the untouched pixels, so they stay sharp and
editable; only the micrograph and the heat are raster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon, Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from msip_core.boxes import Box, Detection, Pair, PairKind
from msip_core.views import pictures, style
from msip_core.views.paper import beside, length_label, nice_length, scale_bar
from msip_core.views.paper_page import Panel, Room
from msip_core.views.wording import plural

Pixels = NDArray[np.uint8]
_NARROW = 120.0  # millimetres below which legends and scores break into more lines
_RIM = [withStroke(linewidth=1.6, foreground="#0C1212")]


class BeforeAfterInfo(NamedTuple):
    """One micrograph as two models saw it.

    Attributes:
        pixels: uint8 (height, width, 3).
        pixel_size_um: None draws no scale bar, and the caption says so.
        names: titles of the two panels.
    """

    pixels: Pixels
    baseline: Sequence[Detection]
    pruned: Sequence[Detection]
    pairs: Sequence[Pair]
    classes: Sequence[str]
    pixel_size_um: float | None = None
    names: tuple[str, str] = ("Baseline", "Pruned")

    def counts(self) -> dict[PairKind, int]:
        """Pairs of each kind."""
        return {kind: sum(p.kind == kind for p in self.pairs) for kind in style.PAIR_KINDS}


def before_after_panel(info: BeforeAfterInfo) -> Panel:
    """Baseline left, pruned right; line style and colour say how the detections match."""
    height, width = info.pixels.shape[:2]
    return Panel(
        "Micrograph before and after",
        2,
        80,
        lambda room: room / 2 * height / width + (13 if room < _NARROW else 10),
        lambda parent, room: _draw_before_after(parent, room, info),
        lambda letters: _before_after_words(letters, info),
    )


def _draw_before_after(parent: FigureBase, room: Room, info: BeforeAfterInfo) -> None:
    height, width = info.pixels.shape[:2]
    axes = parent.subplots(1, 2)
    for number, (panel, name) in enumerate(zip(axes, info.names)):
        _show(panel, info.pixels)
        _corner_letter(panel, room.letters[number])
        panel.set_title(name, fontsize=7)
        for pair in info.pairs:
            index = pair.pruned if number else pair.baseline
            if index is not None:
                found = (info.pruned if number else info.baseline)[index]
                text = f"{found.number} {pictures.class_name(info.classes, found.cls)}"
                _box(panel, found, style.PAIR_COLOURS[pair.kind], _dash(pair.kind), text)
    if info.pixel_size_um is not None:
        scale_bar(axes[1], width, height, info.pixel_size_um)
    _pair_legend(parent, info.counts(), columns=2 if room.width < _NARROW else 4)


def _before_after_words(letters: Sequence[str], info: BeforeAfterInfo) -> str:
    counts = info.counts()
    kinds = ", ".join(f"{counts[kind]} {style.PAIR_WORDS[kind]}" for kind in style.PAIR_KINDS)
    found = f"{len(info.baseline)} and {len(info.pruned)}"
    return (
        f"{letters[0]}, one micrograph with the objects that the baseline finds and "
        f"{letters[1]}, those that the pruned model finds; {found} objects: {kinds}. "
        f"Numbers are those of the table. {_bar_words(info.pixels, info.pixel_size_um)}"
    )


class HeatPanel(NamedTuple):
    """One explanation of one model.

    Attributes:
        model, method: words for the title, e.g. "Pruned", "Grad-CAM".
        values: float (height, width) like the micrograph; heat >= 0, or contributions.
        signed: contributions of both signs (SHAP) rather than heat.
        scores: name -> value, written under the panel.
    """

    model: str
    method: str
    values: NDArray[np.floating]
    signed: bool = False
    scores: dict[str, float] = {}


class ExplanationInfo(NamedTuple):
    """Explanations of one detection: panels in reading order.

    Attributes:
        box: the detection that is explained.
        outline: (n, 2) contour of the object in x, y, or None where there is no mask.
        inner: further contours, drawn thinner: the object's crypts.
        margin: share of the box's longer side shown around it; None shows the whole image.
    """

    pixels: Pixels
    box: Box
    label: str
    panels: Sequence[HeatPanel]
    outline: NDArray[np.floating] | None = None
    pixel_size_um: float | None = None
    margin: float | None = None
    inner: Sequence[NDArray[np.floating]] = ()


def explanation_panel(info: ExplanationInfo) -> Panel:
    """The micrograph with its detection, then one picture per model and method.

    Models are rows, methods columns (one method: all in a row); the honesty line is part of the
    figure.
    """
    rows, columns = _grid(info)
    x1, y1, x2, y2 = _window(info)

    def height(width: float) -> float:
        picture = (width / columns - 2) * (y2 - y1) / (x2 - x1)
        return rows * (picture + 5 + 2.6 * _score_lines(info, width)) + (7 if rows > 1 else 12)

    return Panel(
        "Where it looks",
        1 + len(info.panels),
        30.0 * columns,
        height,
        lambda parent, room: _draw_explanation(parent, room, info),
        lambda letters: _explanation_words(letters, info),
        ending=style.HONESTY,
    )


def _models(info: ExplanationInfo) -> list[str]:
    return list(dict.fromkeys(panel.model for panel in info.panels))


def _methods(info: ExplanationInfo) -> list[str]:
    return list(dict.fromkeys(panel.method for panel in info.panels))


def _grid(info: ExplanationInfo) -> tuple[int, int]:
    """Rows and columns: the micrograph's column, then a column a method, or a column a model."""
    models, methods = max(1, len(_models(info))), len(_methods(info))
    return (1, 1 + models) if methods == 1 else (models, 1 + methods)


def _cell(info: ExplanationInfo, panel: HeatPanel) -> tuple[int, int]:
    row, column = _models(info).index(panel.model), _methods(info).index(panel.method)
    return (0, 1 + row) if len(_methods(info)) == 1 else (row, 1 + column)


def _score_lines(info: ExplanationInfo, width_mm: float) -> int:
    most = max((len(panel.scores) for panel in info.panels), default=0)
    return most if width_mm < _NARROW else 1


def _draw_explanation(parent: FigureBase, room: Room, info: ExplanationInfo) -> None:
    rows, columns = _grid(info)
    grid = parent.subplots(rows, columns, squeeze=False)
    _show(grid[0, 0], info.pixels)
    grid[0, 0].set_title(info.label, fontsize=7)
    for axes in grid[1:, 0]:
        axes.set_axis_off()
    if rows > 1:
        _key(grid[1, 0], info.panels, (0.62, 0.28), 0.08)
    else:
        _key(grid[0, 0], info.panels, (-0.14, -0.3), 0.05)
    placed = [grid[0, 0]]
    for panel in info.panels:
        placed.append(grid[_cell(info, panel)])
        _heat(placed[-1], info.pixels, panel, "\n" if room.width < _NARROW else "   ")
    x1, y1, x2, y2 = _window(info)
    for text, axes in zip(room.letters, placed):
        _corner_letter(axes, text)
        _object(axes, info)
        axes.set(xlim=(x1 - 0.5, x2 - 0.5), ylim=(y2 - 0.5, y1 - 0.5))
    for axes in grid[:, 1:].flat:
        if not axes.has_data():
            axes.set_axis_off()
    if info.pixel_size_um is not None:
        scale_bar(grid[0, 0], x2 - x1, y2 - y1, info.pixel_size_um)
    parent.supxlabel(style.HONESTY, fontsize=6, x=0.99, ha="right", style="italic")


def _explanation_words(letters: Sequence[str], info: ExplanationInfo) -> str:
    outline = "object outline" if info.outline is not None else "box"
    inner = plural(len(info.inner), "crypt outline") if info.inner else ""
    parts = [f"{letters[0]}, {info.label} with its {outline}" + (f" and {inner}" if inner else "")]
    for text, panel in zip(letters[1:], info.panels):
        scores = ", ".join(f"{name} {value:.2f}" for name, value in panel.scores.items())
        parts.append(f"{text}, {panel.method}, {panel.model}" + (f" ({scores})" if scores else ""))
    signed = any(panel.signed for panel in info.panels)
    colours = " Orange adds to the score, blue takes from it." if signed else ""
    ber = any("BER" in panel.scores for panel in info.panels)
    meant = " BER, share of the heat in a band along the outline." if ber else ""
    shown = info.pixels[: ceil(_window(info)[3]), : ceil(_window(info)[2])]
    bar = _bar_words(shown, info.pixel_size_um, _window(info)[2] - _window(info)[0])
    return f"{'; '.join(parts)}.{colours}{meant} {bar}"


def _show(axes: Axes, pixels: Pixels) -> None:
    axes.imshow(pixels, interpolation="none")
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _corner_letter(axes: Axes, text: str) -> None:
    beside(
        axes, text, (0, 1), (3, -3), xycoords="axes fraction", ha="left", va="top", fontsize=8,
        fontweight="bold", color="white", path_effects=_RIM, zorder=6,
    )  # fmt: skip


def _key(
    axes: Axes, panels: Sequence[HeatPanel], places: tuple[float, float], thick: float
) -> None:
    """What the colours mean, below the micrograph or in the free cell there."""
    ramps: list[tuple[str, str, str, NDArray[np.float64]]] = []
    if any(not panel.signed for panel in panels):
        ramps.append(("heat", "none", "most", pictures.heat_palette() / 255))
    if any(panel.signed for panel in panels):
        ends = np.array([style.rgb(style.TAKES), style.rgb(style.ADDS)]) / 255
        share = np.linspace(-1, 1, 256)[:, None]
        tone = np.where(share < 0, ends[0], ends[1])
        ramps.append(("contribution", "takes", "adds", 1 - np.abs(share) * (1 - tone)))
    for number, (name, low, high, ramp) in enumerate(ramps):
        bar = axes.inset_axes((0.12, places[number], 0.76, thick))
        bar.imshow(ramp[None], aspect="auto", extent=(0, 1, 0, 1))
        bar.set(xticks=[0, 1], xticklabels=[low, high], yticks=[])
        bar.tick_params(length=0)
        bar.spines[:].set_visible(False)
        bar.set_title(name, fontsize=6, pad=2)


def _heat(axes: Axes, pixels: Pixels, panel: HeatPanel, gap: str) -> None:
    draw = pictures.overlay_signed if panel.signed else pictures.overlay_heat
    _show(axes, draw(pixels, panel.values, min_side=1))
    axes.set_title(f"{panel.model} · {panel.method}", fontsize=7)
    if panel.scores:
        words = gap.join(f"{name} {value:.2f}" for name, value in panel.scores.items())
        axes.set_xlabel(words, fontsize=6, labelpad=2)


def _object(axes: Axes, info: ExplanationInfo) -> None:
    if info.outline is not None:
        axes.add_patch(_contour(info.outline, 0.8, "-", "outline"))
    else:
        _box(axes, info.box, "#FFFFFF", "-", "")
    for number, contour in enumerate(info.inner):
        axes.add_patch(_contour(contour, 0.5, (0, (3, 1.5)), f"inner-{number}"))


def _contour(
    points: NDArray[np.floating], width: float, dash: str | tuple[int, tuple[float, ...]], gid: str
) -> Polygon:
    return Polygon(
        np.asarray(points) - 0.5, closed=True, fill=False, edgecolor="white", linewidth=width,
        linestyle=dash, path_effects=_RIM, gid=gid,
    )  # fmt: skip


def _box(
    axes: Axes, box: Box, colour: str, dash: str | tuple[int, tuple[int, ...]], text: str
) -> None:
    # imshow puts pixel centres on whole numbers; our coordinates put pixel edges there.
    axes.add_patch(
        Rectangle(
            (box.x1 - 0.5, box.y1 - 0.5), box.x2 - box.x1, box.y2 - box.y1, fill=False,
            edgecolor=colour, linewidth=0.9, linestyle=dash, path_effects=_RIM,
        )
    )  # fmt: skip
    if text:
        plate = {"facecolor": colour, "edgecolor": "#0C1212", "linewidth": 0.3, "pad": 0.9}
        look = {"fontsize": 5.5, "color": "#0C1212", "annotation_clip": True, "bbox": plate}
        beside(axes, text, (box.x1, box.y1), (0.6, 1.8), **look)


def _dash(kind: PairKind) -> str | tuple[int, tuple[int, ...]]:
    dashes = style.PAIR_DASHES[kind]
    return (0, dashes) if dashes else "-"


def _pair_legend(parent: FigureBase, counts: Mapping[PairKind, int], columns: int) -> None:
    handles = [
        Line2D(
            [], [], color=style.PAIR_COLOURS[kind], linestyle=_dash(kind), linewidth=1.2,
            path_effects=_RIM, label=f"{style.PAIR_WORDS[kind]}: {count}",
        )
        for kind, count in counts.items()
    ]  # fmt: skip
    parent.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        handlelength=3.2,
        columnspacing=1.4,
    )


def _window(info: ExplanationInfo) -> tuple[float, float, float, float]:
    height, width = info.pixels.shape[:2]
    if info.margin is None:
        return (0.0, 0.0, float(width), float(height))
    box = info.box
    room = info.margin * max(box.x2 - box.x1, box.y2 - box.y1)
    return (
        max(0.0, box.x1 - room),
        max(0.0, box.y1 - room),
        min(float(width), box.x2 + room),
        min(float(height), box.y2 + room),
    )


def _bar_words(pixels: Pixels, pixel_size_um: float | None, width_px: float | None = None) -> str:
    if pixel_size_um is None:
        return f"No scale bar: the pixel size is unknown ({plural(pixels.shape[1], 'pixel')} wide)."
    width = pixels.shape[1] if width_px is None else width_px
    return f"Scale bar, {length_label(nice_length(width * pixel_size_um))}."
