"""A plate as it stands on the bench: a number in every well, and what is no number told apart.

Colour is a well's value. Wells without one carry a sign of their own: looked at and without an
object, blank (nothing could be seen), failed (could not be read), or not imaged at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from msip_core.language import mark, t
from msip_core.views import style
from msip_core.views.paper_page import Panel, Room, corner_letter, lettered
from msip_core.views.screen import as_label, new_figure, say_empty
from msip_core.views.wording import plural

State = Literal["value", "none", "blank", "failed", "absent"]
# Rows and columns of the plates that are made.
FORMATS = ((2, 3), (3, 4), (4, 6), (6, 8), (8, 12), (16, 24), (32, 48))
WORDS: Mapping[State, str] = {
    "none": mark("no organoid found"),
    "blank": mark("blank: nothing to be seen"),
    "failed": mark("failed: could not be read"),
    "absent": mark("not imaged"),
}
# State -> symbol on screen, marker on paper, colour.
_SIGNS: Mapping[State, tuple[str, str, str]] = {
    "none": ("circle-open", "o", style.BLUE),
    "blank": ("square-open", "s", style.GOLD),
    "failed": ("x", "x", style.VERMILLION),
    "absent": ("circle", ".", style.GREY),
}
_WELL = re.compile(r"(?P<row>[A-Z]{1,2})(?P<column>\d{1,2})")
_SIDE_PX, _MOST_PX = 46, 760  # of a well, of the plate


class MapWell(NamedTuple):
    """One well: its name, its value where it has one, and what else a reader is told of it."""

    name: str
    value: float | None
    state: State
    note: str = ""


class MapInfo(NamedTuple):
    """A plate of a format that is made.

    Attributes:
        wells: of every place of the plate, row by row.
        what: the quantity; `is_share`: written as per cent.
        limits: of the colours, from the values; None without any.
    """

    plate: str
    rows: int
    columns: int
    wells: tuple[tuple[MapWell, ...], ...]
    what: str
    is_share: bool
    limits: tuple[float, float] | None

    def of(self, state: State) -> list[tuple[int, int]]:
        """(row, column) from 0 of the wells in that state."""
        return [
            (row, column)
            for row, wells in enumerate(self.wells)
            for column, well in enumerate(wells)
            if well.state == state
        ]


def place(name: str) -> tuple[int, int] | None:
    """Row and column from 0 of "A01" or "AF48"; None for a name that is no place of a plate."""
    found = _WELL.fullmatch(name)
    if found is None:
        return None
    row = 0
    for letter in found["row"]:
        row = row * 26 + ord(letter) - 64
    return row - 1, int(found["column"]) - 1


def row_name(row: int) -> str:
    """0 is A, 25 is Z, 26 is AA."""
    return chr(65 + row) if row < 26 else row_name(row // 26 - 1) + row_name(row % 26)


def map_info(
    plate: str, wells: Sequence[MapWell], what: str, *, is_share: bool = False
) -> MapInfo | None:
    """The smallest plate that holds these wells; None where none of them has a place."""
    placed = {at: well for well in wells if (at := place(well.name)) is not None}
    if not placed:
        return None
    most = max(row for row, _ in placed), max(column for _, column in placed)
    rows, columns = next(
        ((r, c) for r, c in FORMATS if r > most[0] and c > most[1]), (most[0] + 1, most[1] + 1)
    )
    table = tuple(
        tuple(
            placed.get((row, column), MapWell(f"{row_name(row)}{column + 1:02d}", None, "absent"))
            for column in range(columns)
        )
        for row in range(rows)
    )
    values = [well.value for well in placed.values() if well.value is not None]
    limits = None
    if values:
        low, high = (0.0 if not is_share else min(values)), max(values)
        limits = (low, high if high > low else low + (0.01 if is_share else 1.0))
    return MapInfo(plate, rows, columns, table, what, is_share, limits)


def map_figure(info: MapInfo | None, *, revision: str = "plate") -> go.Figure:
    """The plate on screen; hovering tells a well's numbers."""
    if info is None:
        figure = new_figure("", "", revision=revision)
        say_empty(figure, t("The names of these images show no wells"))
        return figure
    side = min(_SIDE_PX, _MOST_PX // info.columns)
    figure = new_figure("", "", revision=revision, height=int(max(18, side) * info.rows + 230))
    figure.update_layout(hovermode="closest")
    low, high = info.limits or (0.0, 1.0)
    figure.add_heatmap(
        z=[[well.value for well in row] for row in info.wells],
        x=[str(column + 1) for column in range(info.columns)],
        y=[row_name(row) for row in range(info.rows)],
        text=[[_hover(well, info) for well in row] for row in info.wells],
        hovertemplate="%{text}<extra></extra>", hoverongaps=False, xgap=2, ygap=2,
        colorscale=style.HEAT_MAP, zmin=low, zmax=high, showscale=info.limits is not None,
        colorbar={
            "title": {"text": as_label(info.what), "side": "top"}, "thickness": 12,
            "tickformat": ".0%" if info.is_share else "", "outlinewidth": 0,
            # Above the plate: beside it, a telephone's width would be left for neither. Tied to the
            # plate: Plotly writes the title of a bar that hangs from the figure's rim upon the bar.
            "orientation": "h", "len": 0.6, "x": 0, "xanchor": "left",
            "y": 1, "yref": "paper", "yanchor": "bottom", "ypad": 40,
        },
    )  # fmt: skip
    for state in WORDS:
        _add_signs(figure, info, state, side)
    figure.update_xaxes(
        side="top",
        type="category",
        showgrid=False,
        constrain="domain",
        categoryorder="array",
        categoryarray=[str(n + 1) for n in range(info.columns)],
    )
    figure.update_yaxes(
        type="category", showgrid=False, scaleanchor="x", scaleratio=1, constrain="domain",
        categoryorder="array", categoryarray=[row_name(n) for n in reversed(range(info.rows))],
    )  # fmt: skip
    figure.update_layout(
        legend={"y": -0.02, "yanchor": "top"},
        showlegend=True,  # one sign alone is to be explained too
        margin={"t": 96},
    )
    return figure


def _add_signs(figure: go.Figure, info: MapInfo, state: State, side: int) -> None:
    places = info.of(state)
    if not places:
        return
    symbol, _, colour = _SIGNS[state]
    figure.add_scatter(
        x=[str(column + 1) for _, column in places],
        y=[row_name(row) for row, _ in places],
        mode="markers",
        name=t(WORDS[state]),
        marker={
            "symbol": symbol,
            "color": colour,
            "line": {"width": 2, "color": colour},
            "size": 3 if state == "absent" else max(6, side * 0.36),
        },
        text=[_hover(info.wells[row][column], info) for row, column in places],
        hovertemplate="%{text}<extra></extra>",
    )


def _hover(well: MapWell, info: MapInfo) -> str:
    lines = [f"<b>{as_label(well.name)}</b>"]
    if well.value is not None:
        value = f"{100 * well.value:.1f} %" if info.is_share else f"{well.value:g}"
        lines.append(f"{as_label(info.what)}: {value}")
    if well.state in WORDS:
        lines.append(t(WORDS[well.state]))
    if well.note:
        lines += [as_label(line) for line in well.note.splitlines()]
    return "<br>".join(lines)


def map_panel(info: MapInfo) -> Panel:
    """The plate on paper."""
    return Panel(
        "Plate map",
        1,
        70,
        lambda width: min(200.0, (width - 22) * info.rows / info.columns + 20),
        lambda parent, room: _draw(parent, room, info),
        lambda letters: lettered(letters, 0, _words(info)),
    )


def _draw(parent: FigureBase, room: Room, info: MapInfo) -> None:
    axes: Axes = parent.subplots()
    low, high = info.limits or (0.0, 1.0)
    values = [[float("nan") if w.value is None else w.value for w in row] for row in info.wells]
    drawn = axes.pcolormesh(
        values, cmap=style.HEAT_MAP, vmin=low, vmax=high, edgecolors=style.PAPER, linewidth=0.8
    )
    for state, (_, marker, colour) in _SIGNS.items():
        places = info.of(state)
        if places:
            axes.plot(
                [column + 0.5 for _, column in places],
                [row + 0.5 for row, _ in places],
                linestyle="",
                marker=marker,
                color=colour,
                markerfacecolor="none",
                markersize=min(6, 90 / info.columns) * (0.5 if state == "absent" else 1),
                label=WORDS[state],
            )
    small = min(6.0, 300 / info.rows / 4)
    axes.set_xticks(
        [n + 0.5 for n in range(info.columns)], [str(n + 1) for n in range(info.columns)]
    )
    axes.set_yticks([n + 0.5 for n in range(info.rows)], [row_name(n) for n in range(info.rows)])
    axes.tick_params(
        length=0, labelsize=small, top=True, labeltop=True, bottom=False, labelbottom=False
    )
    axes.set(xlim=(0, info.columns), ylim=(info.rows, 0), aspect="equal")
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if info.limits is not None:
        bar = parent.colorbar(drawn, ax=axes, shrink=0.7, pad=0.02)
        bar.set_label(info.what)
        bar.outline.set_visible(False)  # type: ignore[operator]
        if info.is_share:
            bar.ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    if any(info.of(state) for state in WORDS):
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.02), ncols=2, borderaxespad=0.2)
    corner_letter(parent, room)


def _words(info: MapInfo) -> str:
    plate = f" of {info.plate}" if info.plate else ""
    text = f"{info.what}{plate}, well by well"
    told = [
        f"{plural(len(info.of(state)), 'well')} {words}"
        for state, words in WORDS.items()
        if info.of(state)
    ]
    return f"{text}. {'; '.join(told)}." if told else f"{text}."
