"""Colours can be seen on both themes, and colour is never the only sign."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from msip_core.config import TERMS
from msip_core.views import style
from pages.kit import layout
from tests.views.samples import contrast

LINES = ["BASELINE", "BEFORE", "AFTER", "MACS", "TARGET", "GREEN", "PINK", "GREY", "GOLD"]

# Machado et al. 2009, severity 1: what a person without the cone type sees (linear RGB).
BLINDNESS = {
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def test_contrast_of_black_and_white_is_21():
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#777777") == 1


@pytest.mark.parametrize("ground", [style.PAPER, "#101817"])
@pytest.mark.parametrize("name", LINES)
def test_lines_have_a_contrast_of_three_on_light_and_dark(name, ground):
    assert contrast(getattr(style, name), ground) >= 3


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_of_axes_can_be_read_on_light_and_dark(theme):
    config = Path(__file__).parents[2] / ".streamlit" / "config.toml"
    colours = tomllib.loads(config.read_text(encoding="utf-8"))["theme"][theme]
    found = re.search(r"text\[class.*\s+fill: color-mix\(in srgb, currentColor (\d+)%", layout._CSS)
    share = int(found[1]) / 100
    ink, ground = (style.rgb(colours[key]) for key in ("textColor", "backgroundColor"))
    mixed = [round(share * a + (1 - share) * b) for a, b in zip(ink, ground, strict=True)]
    assert contrast("#{:02X}{:02X}{:02X}".format(*mixed), colours["backgroundColor"]) >= 4.5


def _lab(colour: str, matrix: list[list[float]]) -> np.ndarray:
    """CIE L*a*b* of a colour as a colour-blind person sees it."""
    srgb = np.array(style.rgb(colour)) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(matrix) @ linear, 0, 1)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    x, y, z = np.cbrt(to_xyz @ seen / np.array([0.9505, 1.0, 1.089]))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("blindness", BLINDNESS)
@pytest.mark.parametrize(
    "colours",
    [
        tuple(style.PAIR_COLOURS.values()),
        tuple(colour for colour, *_ in style.TERM_LOOKS.values()),
        (style.BEFORE, style.AFTER),
        (style.ADDS, style.TAKES),
    ],
    ids=["pairs", "terms", "fine-tuning", "contributions"],
)
def test_colours_that_are_compared_stay_apart_for_colour_blind_people(colours, blindness):
    seen = [_lab(colour, BLINDNESS[blindness]) for colour in colours]

    distances = [float(np.linalg.norm(a - b)) for i, a in enumerate(seen) for b in seen[i + 1 :]]

    assert min(distances) > 10  # CIE76; about 2 is just noticeable


def test_every_kind_of_pair_has_its_own_line_style_and_word():
    assert len(set(style.PAIR_DASHES.values())) == len(style.PAIR_KINDS) == 4
    assert len(set(style.PAIR_WORDS.values())) == 4


def test_every_term_has_its_own_symbol():
    assert set(style.TERM_LOOKS) == set(TERMS)
    _, symbols, markers = zip(*style.TERM_LOOKS.values(), strict=True)
    assert len(set(symbols)) == len(set(markers)) == 4


def test_the_eighth_class_takes_the_first_colour_again():
    assert style.class_colour(7) == style.class_colour(0)


def test_the_first_classes_differ_by_their_line_too():
    assert len({style.class_dash(index) for index in range(3)}) == 3
    assert style.class_dash(3) == style.class_dash(0)
