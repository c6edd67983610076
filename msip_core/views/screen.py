"""What all Plotly figures share: transparent ground, quiet grid, zoom that survives a rerun.

No template and no font colour is set, so Streamlit's light or dark theme fills them in.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go

from msip_core.views import style

OPEN_CIRCLE = {"symbol": "circle-open", "size": 8, "color": style.BLUE, "line": {"width": 1.5}}
CHOSEN = "rgba(86,180,233,0.28)"  # the band behind the step that is looked at
# For st.plotly_chart(config=…): the camera button saves SVG in the person's own browser.
CONFIG: dict[str, object] = {
    "displaylogo": False,
    "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"],
    "toImageButtonOptions": {"format": "svg", "filename": "msip-lab"},
}


def new_figure(x_title: str, y_title: str, *, revision: str, height: int = 320) -> go.Figure:
    """An empty figure; `revision` stays the same while zoom and hidden traces should stay."""
    # All at once: Plotly takes many times as long to be told piece by piece.
    return go.Figure(
        layout={
            "uirevision": revision,
            "height": height,
            "margin": {"l": 8, "r": 8, "t": 58, "b": 8},  # tools above, then the legend
            "paper_bgcolor": style.CLEAR,
            "plot_bgcolor": style.CLEAR,
            "font": {"family": style.SCREEN_FONT, "size": 13},
            "hovermode": "x unified",
            "modebar": {
                "bgcolor": style.CLEAR, "color": style.GREY, "activecolor": style.ACCENT,
            },
            "legend": {
                "orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom",
                "title": {"text": ""},
            },
            "xaxis": {"title": {"text": x_title}, **_axis()},
            "yaxis": {"title": {"text": y_title}, **_axis()},
        }
    )  # fmt: skip


def _axis() -> dict[str, object]:
    return {
        "gridcolor": style.GRID,
        "zeroline": False,
        "automargin": True,
        "linecolor": style.GRID,
        "ticks": "",
    }


def mark_step(figure: go.Figure, step: int | None) -> None:
    """A quiet band behind the step that the whole page shows, through all panels."""
    if step is not None:
        figure.add_shape(
            type="rect", xref="x", yref="paper", x0=step - 0.2, x1=step + 0.2, y0=0, y1=1,
            fillcolor=CHOSEN, line={"width": 0}, layer="below",
        )  # fmt: skip


def say_empty(figure: go.Figure, text: str) -> None:
    """What an empty chart waits for, in its middle; the chart keeps its place on the page."""
    figure.add_annotation(
        text=text, xref="paper", yref="paper", x=0.5, y=0.5, showarrow=False, font={"size": 14}
    )


def whole_steps(figure: go.Figure, last: int, first: int = 1, **where: Any) -> None:
    """Iterations and epochs are counted: no tick at 1.5, and room for a lone first point."""
    step = max(1, (last - first) // 10)
    figure.update_xaxes(tickmode="linear", tick0=first, dtick=step, **where)
    _include(figure.update_xaxes, figure, first - 0.5, max(last, first) + 0.5, where)


def _include(
    update: Callable[..., Any], figure: go.Figure, low: float, high: float, where: dict[str, object]
) -> None:
    """Limits of an axis that leave a person's zoom alone when they move with new numbers.

    Plotly forgets a zoom when the range that a figure asks for changes; a wish for what the range
    must include does not count as one.
    """
    if any(trace.x is not None and len(trace.x) for trace in figure.data):
        update(autorange=True, autorangeoptions={"include": [low, high]}, **where)
    else:
        update(range=[low, high], **where)  # Plotly looks at no wishes where nothing is drawn


def share_range(values: Sequence[float]) -> tuple[float, float]:
    """Limits of an accuracy axis: the values, not the empty room around them, inside [0, 1]."""
    if not values:
        return 0.0, 1.0
    room = max(0.02, 0.08 * (max(values) - min(values)))
    return max(0.0, min(values) - room), min(1.02, max(values) + room)


def share_axis(figure: go.Figure, values: list[float], **where: Any) -> None:
    """Give an accuracy axis the limits of `share_range`; of one value Plotly would draw -1 to 2."""
    low, high = share_range(values)
    _include(figure.update_yaxes, figure, low, high, where)
    if values:
        exact = {"autorangeoptions_minallowed": low, "autorangeoptions_maxallowed": high}
        figure.update_yaxes(tickformat=".3~f", **exact, **where)


def as_label(name: str) -> str:
    """A name for a figure's text: Plotly reads a small HTML (links, line breaks) and `%{x}`."""
    return html.escape(name, quote=False).replace("%{", "%&#123;")


def reference_line(
    figure: go.Figure, y: float, label: str, colour: str, dash: str, *, place: str = "top left"
) -> None:
    """A level with its name written on it, in the theme's colour: that of a line is no text's."""
    vertical, side = place.split()
    figure.add_shape(
        type="line", xref="x domain", yref="y", x0=0, x1=1, y0=y, y1=y,
        line={"color": colour, "dash": dash, "width": 1.5},
    )  # fmt: skip
    figure.add_annotation(
        text=label, font={"size": 12}, showarrow=False, xref="x domain", yref="y",
        x=0 if side == "left" else 1, xanchor=side, y=y,
        yanchor="bottom" if vertical == "top" else "top",
    )  # fmt: skip
