"""The paper side of figures: journal sizes, scale bars, and files that stay editable.

Figures are matplotlib `Figure` objects on the Agg canvas; pyplot and its global state are not
used. Text stays text in SVG and PDF, so that a journal or co-author can edit it. The figures
themselves are in paper_runs (curves, channels) and paper_pictures (micrographs, explanations).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from math import floor, log10
from pathlib import Path
from threading import RLock
from typing import Any

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

import msip_core
from msip_core.errors import ConfigError
from msip_core.views import style
from msip_core.workspace import atomic_path

MM = 1 / 25.4  # inches
MAX_HEIGHT_MM = 230.0
FORMATS = ("png", "tiff", "svg", "pdf")

# rcParams belong to the whole process, and a server draws in several threads.
_RC_LOCK = RLock()


@lru_cache(maxsize=1)
def _families() -> list[str]:
    # Only fonts that are here: matplotlib warns about every missing one in the list.
    present = set(font_manager.get_font_names())
    helper = [name for name in style.EAST_ASIAN_FONTS if name in present]
    return [name for name in style.PAPER_FONTS if name in present] + helper[:1]


@contextmanager
def drawing() -> Iterator[None]:
    """Draw and save with the paper's settings; one thread at a time."""
    settings: dict[str, object] = {
        "font.family": _families(), "font.size": 7, "axes.titlesize": 7, "axes.labelsize": 7,
        "xtick.labelsize": 6, "ytick.labelsize": 6, "legend.fontsize": 6, "legend.frameon": False,
        "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6,
        "axes.edgecolor": style.INK, "axes.labelcolor": style.INK, "text.color": style.INK,
        "xtick.color": style.INK, "ytick.color": style.INK, "xtick.major.width": 0.6,
        "ytick.major.width": 0.6, "xtick.major.size": 2.5, "ytick.major.size": 2.5,
        "axes.grid": True, "axes.axisbelow": True, "grid.color": style.PAPER_GRID,
        "grid.linewidth": 0.5, "lines.linewidth": 1.2, "lines.markersize": 4,
        "hatch.linewidth": 0.6,
        "text.parse_math": False,  # a class may be called "$x$"
        "svg.fonttype": "none", "svg.hashsalt": "msip-lab", "pdf.fonttype": 42,
    }  # fmt: skip
    with _RC_LOCK, matplotlib.rc_context(settings):
        yield


def new_figure(width_mm: float, height_mm: float) -> Figure:
    """An empty figure of exactly this size; call inside `drawing()`.

    Raises:
        ConfigError: wider than a page, or higher.
    """
    if not 30 <= width_mm <= 180 or not 15 <= height_mm <= MAX_HEIGHT_MM:
        raise ConfigError(
            "A figure of {width:.0f} × {height:.0f} mm does not fit a journal page: "
            "give a width of 30 to 180 mm and a height up to {most:.0f} mm.",
            width=width_mm,
            height=height_mm,
            most=MAX_HEIGHT_MM,
        )
    figure = Figure(figsize=(width_mm * MM, height_mm * MM), layout="constrained")
    FigureCanvasAgg(figure)
    figure.patch.set_facecolor(style.PAPER)
    return figure


def to_bytes(figure: Figure, form: str, dpi: int = 300, *, transparent: bool = False) -> bytes:
    """The figure as a file's content, in one of `FORMATS`; equal figures give equal bytes.

    Args:
        dpi: resolution of PNG and TIFF, and of pictures inside SVG and PDF.
    """
    if form not in FORMATS:
        raise ConfigError(
            "Figures can be saved as {formats}, not as '{form}'.",
            formats=", ".join(FORMATS),
            form=form,
        )
    maker = f"MSIP Lab {msip_core.__version__}"
    options: dict[str, dict[str, object]] = {
        "png": {"metadata": {"Software": maker}},
        "tiff": {"pil_kwargs": {"compression": "tiff_lzw"}},
        "svg": {"metadata": {"Creator": maker, "Date": None}},
        "pdf": {"metadata": {"Creator": maker, "CreationDate": None}},
    }
    stream = io.BytesIO()
    with drawing():
        figure.savefig(stream, format=form, dpi=dpi, transparent=transparent, **options[form])
    return stream.getvalue()


def save(figure: Figure, path: Path, dpi: int = 300) -> Path:
    """Write the figure; the suffix (.png, .tiff, .svg, .pdf) says in which format.

    Raises:
        ConfigError: another suffix.
    """
    form = path.suffix.lstrip(".").lower()
    content = to_bytes(figure, "tiff" if form == "tif" else form, dpi)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return path


def open_circles(axes: Axes, x: Sequence[float], y: Sequence[float]) -> None:
    """A circle a well, through which those behind it are seen."""
    axes.plot(x, y, "o", color=style.BLUE, markerfacecolor="none", markersize=3)


def beside(
    axes: Axes, text: str, place: tuple[float, float], shift: tuple[float, float], **look: Any
) -> None:
    """Small words next to a place of the data, `shift` points away from it."""
    look = {"fontsize": 6, **look}
    axes.annotate(text, place, xytext=shift, textcoords="offset points", **look)


def letter(axes: Axes, text: str) -> None:
    """The bold panel letter at the top left."""
    axes.set_title(text, loc="left", fontweight="bold", fontsize=8)


def nice_length(extent_um: float) -> float:
    """The largest of 1, 2, 5, 10, 20, 50, … µm that is at most a quarter of `extent_um`."""
    goal = extent_um / 4
    power = 10.0 ** floor(log10(goal))
    return next(power * step for step in (5, 2, 1) if power * step <= goal * (1 + 1e-9))


def length_label(length_um: float) -> str:
    """'50 µm', '2 mm'."""
    if length_um >= 1000:
        return f"{length_um / 1000:g} mm"
    return f"{length_um:g} µm"


def scale_bar(axes: Axes, width_px: float, height_px: float, pixel_size_um: float) -> None:
    """Draw a bar of a round length in the lower right corner of a micrograph.

    Args:
        axes: shows the micrograph in pixels, origin top left.
        width_px, height_px: of the part that is shown.
        pixel_size_um: edge of a pixel in micrometres.
    """
    length = nice_length(width_px * pixel_size_um)
    high_x, high_y = max(axes.get_xlim()), max(axes.get_ylim())
    thick, gap = height_px * 0.018, 0.04
    right, bottom = high_x - gap * width_px, high_y - gap * height_px
    axes.add_patch(
        Rectangle(
            (right - length / pixel_size_um, bottom - thick), length / pixel_size_um, thick,
            facecolor="white", edgecolor="black", linewidth=0.4, zorder=5, gid="scale-bar",
        )
    )  # fmt: skip
    text = axes.text(
        right, bottom - 1.6 * thick, length_label(length),
        ha="right", va="bottom", fontsize=6, color="white", zorder=5,
    )  # fmt: skip
    text.set_path_effects([withStroke(linewidth=1.2, foreground="black")])
