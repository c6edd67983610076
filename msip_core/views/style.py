"""The one place for colours, line styles and fonts of screen, paper, pictures and report.

Colours are Okabe & Ito's colour-blind-safe set (jfly.uni-koeln.de/color), some of them darkened so
that a line keeps a contrast of 3:1 on white paper and on the dark theme alike. Colour is never the
only sign: every series also has its own dash or symbol, every pair of boxes its own line style.
"""

from __future__ import annotations

from collections.abc import Mapping

from msip_core.boxes import PairKind
from msip_core.language import mark

ACCENT = "#0F766E"
INK = "#1B2B2A"
PAPER = "#FFFFFF"

# Okabe & Ito as published: for pictures, where each line has a dark rim.
ORANGE = "#E69F00"
SKY = "#56B4E9"
GREEN = "#009E73"
YELLOW = "#F0E442"
BLUE = "#0072B2"
VERMILLION = "#D55E00"
PINK = "#CC79A7"
# Darkened or greyed for thin lines on white.
GOLD = "#B8860B"
GREY = "#7A8290"

PAPER_GRID = "#DDE3E2"
GRID = "rgba(128,136,148,0.25)"
CLEAR = "rgba(0,0,0,0)"

BASELINE = GREY
BEFORE = GOLD
AFTER = ACCENT
MACS = BLUE
TARGET = VERMILLION

# Colour, symbol on screen, marker on paper.
TERM_LOOKS: Mapping[str, tuple[str, str, str]] = {
    "gradient": (BLUE, "circle", "o"),
    "geometry": (VERMILLION, "square", "s"),
    "sparsity": (GREEN, "diamond", "D"),
    "information": (PINK, "triangle-up", "^"),
}

# kind of pair -> colour, dash pattern in units of the line width (empty: solid), Plotly/CSS word
PAIR_COLOURS: Mapping[str, str] = {
    "both": GREEN,
    "class changed": YELLOW,
    "lost": VERMILLION,
    "new": SKY,
}
PAIR_DASHES: Mapping[str, tuple[int, ...]] = {
    "both": (),
    "class changed": (5, 2, 1, 2),
    "lost": (4, 3),
    "new": (1, 2),
}
PAIR_WORDS: Mapping[PairKind, str] = {
    "both": mark("found by both"),
    "class changed": "class changed",
    "lost": mark("lost (baseline only)"),
    "new": mark("new (pruned only)"),
}
PAIR_KINDS = tuple(PAIR_WORDS)

# Lines of classes where no name can be written, as in thumbnails: dash pattern -> CSS word
CLASS_DASHES: dict[tuple[int, ...], str] = {(): "solid", (5, 3): "dashed", (1, 2): "dotted"}
CLASS_COLOURS = (SKY, ORANGE, PINK, YELLOW, GREEN, VERMILLION, BLUE)

# Perceptually even, readable for colour-blind people and grey printers.
HEAT_MAP = "viridis"
# Contributions of SHAP: orange adds to the score, blue takes from it.
ADDS = "#B35806"
TAKES = "#2166AC"

# The font of the pages comes with them; a saved figure is opened where it may not be.
SCREEN_FONT = "'Source Sans', system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif"
PAPER_FONTS = ("Arial", "Helvetica", "Liberation Sans", "DejaVu Sans")
# Class names may be Chinese, Japanese or Korean; the first of these that is installed helps out.
EAST_ASIAN_FONTS = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Microsoft YaHei", "PingFang SC",
    "Hiragino Sans GB", "SimHei", "WenQuanYi Micro Hei", "Arial Unicode MS",
)  # fmt: skip

HONESTY = (
    "A heat map shows where the score is sensitive, not what causes it."  # UX: on every figure
)


def class_colour(index: int) -> str:
    """Colour of class `index`; repeats after seven classes, where the name tells them apart."""
    return CLASS_COLOURS[index % len(CLASS_COLOURS)]


def class_dash(index: int) -> tuple[int, ...]:
    """Dash pattern of class `index`, in units of the line width; empty is solid."""
    return list(CLASS_DASHES)[index % len(CLASS_DASHES)]


def rgb(colour: str) -> tuple[int, int, int]:
    """'#RRGGBB' as three bytes."""
    return (int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16))


def luminance(colour: str) -> float:
    """Relative luminance of '#RRGGBB' in [0, 1] (WCAG 2.2)."""

    def linear(byte: int) -> float:
        value = byte / 255
        return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)

    red, green, blue = (linear(byte) for byte in rgb(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
