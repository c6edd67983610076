"""Figures and pictures as text inside one HTML file: SVG that follows the page's colours, PNG."""

from __future__ import annotations

import base64
import html
import io
import re

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from msip_core.views import style
from msip_core.views.paper import to_bytes

# Colours that change with light and dark; everything else keeps its 3:1 on both grounds.
_VARIABLES = {
    style.INK: "var(--ink)",
    style.PAPER_GRID: "var(--grid)",
    style.ACCENT: "var(--after)",
}
_FONT = re.compile(r"font-family:[^;\"]*;?\s*")


def template(name: str) -> Template:
    """Of a report; every value is escaped, and one that is not given is an error."""
    environment = Environment(
        loader=PackageLoader("msip_core.views"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an `<svg>` element that takes the page's ink, ground and font.

    Args:
        name: makes ids unique among the figures of one page (letters only).
        description: what the figure shows, read out instead of it.
    """
    text = to_bytes(figure, "svg", transparent=True).decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    for colour, variable in _VARIABLES.items():
        text = re.sub(re.escape(colour), variable, text, flags=re.IGNORECASE)
    text = _FONT.sub("", text)
    label = f'role="img" aria-label="{html.escape(description)}"'
    return re.sub(
        r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', rf'<svg viewBox="\1" {label}>', text, count=1
    )


def png(pixels: NDArray[np.uint8]) -> str:
    """A picture as a data URI, pixel for pixel."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", optimize=True)
    return png_bytes(stream.getvalue())


def png_bytes(content: bytes) -> str:
    """The content of a PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
