"""Plotly charts that change in place: zoom, hidden lines and a hover survive new numbers.

`st.plotly_chart` builds its chart anew whenever the figure changes, so a zoom is lost with the
next point of a run. Here the browser keeps one chart and Plotly's own `react` brings its numbers
up to date; `uirevision` says what a person's zoom belongs to. The Plotly that comes with the
Python package is sent to a tab once, when it asks for it, so no internet is needed.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import streamlit as st
from plotly.offline import get_plotlyjs

from msip_core.language import current
from msip_core.views.screen import CONFIG
from pages.kit.guard import guarded


def _part(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


_loader = st.components.v2.component(
    "msip_plotly_loader", js=_part("plotly_loader.js"), isolate_styles=False
)
_chart = st.components.v2.component(
    "msip_live_chart",
    html='<div class="msip-live-chart" role="figure"></div>',
    css=_part("live_chart.css"),
    js=_part("live_chart.js"),
    isolate_styles=False,
)


@dataclass(frozen=True)
class _Drawing:
    """A figure that is asked for; two are the same if they are made from the same numbers."""

    key: str
    language: str
    numbers: Hashable
    make: Callable[[], go.Figure] = field(compare=False)


@lru_cache(maxsize=256)
def _drawn(drawing: _Drawing) -> tuple[str, int]:
    """JSON and height of a figure. Plotly takes tens of milliseconds to build one: too long for
    every click on a page with several."""
    figure = drawing.make()
    return str(figure.to_json(validate=False)), int(figure.layout.height)


def live_chart(
    make: Callable[[], go.Figure],
    numbers: Hashable,
    key: str,
    alt: str,
    *,
    on_pick: Callable[[int], None] | None = None,
) -> None:
    """Draw a figure that has a height of its own, and keep its place while it loads.

    Args:
        make: builds the figure; called only for numbers that were not drawn yet.
        numbers: all that the figure depends on.
        on_pick: gets the place on the x axis that was clicked, as a whole number.
    """
    figure, height = _drawn(_Drawing(key, current(), numbers, make))
    saving = {"toImageButtonOptions": {"format": "svg", "filename": f"msip-{key}"}}
    name = f"live:{key}"

    @guarded
    def picked() -> None:
        value = st.session_state[name].get("picked")
        if on_pick is not None and value is not None:
            on_pick(int(value))

    with st.container(key=f"chart:{key}", height=height, border=False):
        _chart(
            key=name,
            data={
                "figure": figure,
                "config": CONFIG | saving,
                "height": height,
                "alt": alt,
                "clickable": on_pick is not None,
            },
            height=height,
            on_picked_change=picked,
        )


@st.fragment
@guarded
def plotly_library() -> None:
    """Once per page with live charts: the browser asks for Plotly if this tab lacks it."""
    asked: Any = st.session_state.get("plotly-library")
    wanted = bool(asked and asked.get("wanted"))
    _loader(
        key="plotly-library",
        data=_library() if wanted else b"",
        default={"wanted": False},
        on_wanted_change=lambda: None,
    )


@lru_cache(maxsize=1)
def _library() -> bytes:
    return gzip.compress(get_plotlyjs().encode(), 6)
