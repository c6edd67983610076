"""A page for a journal: one panel or several in rows, lettered through, with one caption.

A `Panel` knows how high it wants to be at a width, how to draw itself into any part of a figure,
and how to word its part of the caption. `figure` and `caption` put one or more of them together:

    page = lay_out([iterations_panel(maps, macs), tradeoff_panel(info)], 178, columns=2)
    figure(page); caption(page)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from string import ascii_lowercase
from typing import NamedTuple

from matplotlib.figure import Figure, FigureBase

from msip_core.errors import ConfigError
from msip_core.views.paper import MAX_HEIGHT_MM, drawing, new_figure

MOST_PANELS = 6
COLUMNS = (1, 2, 3)
# Panels may be drawn a quarter lower than they like, so that a page that nearly fits does fit.
_LOWEST = 0.75


class Room(NamedTuple):
    """The part of a figure that a panel gets: size in millimetres, and the letters of its parts.

    No letters where the panel stands alone and has a single part.
    """

    width: float
    height: float
    letters: Sequence[str] = ()


@dataclass(frozen=True)
class Panel:
    """One figure that can stand alone or on a page with others.

    Attributes:
        title: what it is called in the menu and in sentences.
        parts: pictures or axes in it that get a letter of their own.
        narrowest: millimetres below which it takes a whole row of the page.
        height: the millimetres it wants at a width.
        draw: into a figure or subfigure; called inside `paper.drawing()`.
        words: its sentences of the caption, given the letters (none: a part without a letter).
        ending: a sentence for the end of the caption, said once however many panels need it.
    """

    title: str
    parts: int
    narrowest: float
    height: Callable[[float], float]
    draw: Callable[[FigureBase, Room], None]
    words: Callable[[Sequence[str]], str]
    ending: str = ""


class Row(NamedTuple):
    """Panels side by side that share the page's width evenly."""

    panels: tuple[Panel, ...]
    height: float


class Page(NamedTuple):
    """Where each panel stands; what `figure` draws."""

    rows: tuple[Row, ...]
    width: float

    @property
    def panels(self) -> tuple[Panel, ...]:
        return tuple(panel for row in self.rows for panel in row.panels)

    @property
    def height(self) -> float:
        return min(MAX_HEIGHT_MM, sum(row.height for row in self.rows))


def lay_out(panels: Sequence[Panel], width_mm: float, columns: int = 1) -> Page:
    """Put panels into rows, in their order.

    Args:
        columns: panels side by side; a panel too narrow to be read in a column takes a row.

    Raises:
        ConfigError: no panel, more than six, or more than a page holds; says what to leave out.
    """
    if not 1 <= len(panels) <= MOST_PANELS:
        raise ConfigError(
            "A figure has one to {most_panels} panels, not {n}.",
            most_panels=MOST_PANELS,
            n=len(panels),
        )
    rows = _rows(panels, width_mm, columns)
    wanted = sum(row.height for row in rows)
    if wanted <= MAX_HEIGHT_MM:
        return Page(rows, width_mm)
    share = MAX_HEIGHT_MM / wanted
    if len(panels) > 1 and share < _LOWEST:
        raise ConfigError(_too_high(panels, width_mm, columns, wanted))
    return Page(tuple(Row(row.panels, row.height * share) for row in rows), width_mm)


def figure(page: Page) -> Figure:
    """Draw the page: exactly its width, letters through all panels."""
    letters = iter(_letters(page))
    with drawing():
        drawn = new_figure(page.width, page.height)
        if len(page.panels) == 1:
            page.panels[0].draw(drawn, Room(page.width, page.height, next(letters)))
            return drawn
        heights = [row.height for row in page.rows]
        strips = drawn.subfigures(len(page.rows), 1, height_ratios=heights, squeeze=False)
        for row, (strip,) in zip(page.rows, strips):
            cells = strip.subfigures(1, len(row.panels), squeeze=False)
            width = page.width / len(row.panels)
            for panel, cell in zip(row.panels, cells.flat):
                panel.draw(cell, Room(width, row.height, next(letters)))
        # Nested parts find their places in two passes; after one, titles are cut at the top.
        drawn.draw_without_rendering()
    return drawn


def caption(page: Page) -> str:
    """One caption: each letter's part, its numbers filled in."""
    parts = [panel.words(letters) for panel, letters in zip(page.panels, _letters(page))]
    endings = dict.fromkeys(panel.ending for panel in page.panels if panel.ending)
    return " ".join([*parts, *endings])


def alone(panel: Panel, width_mm: float) -> Figure:
    """The panel as a figure of its own."""
    return figure(lay_out([panel], width_mm))


def alone_caption(panel: Panel) -> str:
    """The caption of the panel as a figure of its own."""
    return caption(lay_out([panel], 178.0))


def lettered(letters: Sequence[str], index: int, text: str) -> str:
    """'b, text'; without a letter the text begins with a capital ("mAP50" keeps its own)."""
    if letters:
        return f"{letters[index]}, {text}"
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]


def corner_letter(parent: FigureBase, room: Room) -> None:
    """The letter of a panel whose axes have titles of their own: in its upper left corner."""
    if room.letters:
        parent.text(
            2 / room.width, 1 - 1 / room.height, room.letters[0], ha="left", va="top",
            fontsize=8, fontweight="bold",
        )  # fmt: skip


def _letters(page: Page) -> list[str]:
    panels = page.panels
    if len(panels) == 1 and panels[0].parts == 1:
        return [""]
    found, first = [], 0
    for panel in panels:
        found.append(ascii_lowercase[first : first + panel.parts])
        first += panel.parts
    return found


def _rows(panels: Sequence[Panel], width: float, columns: int) -> tuple[Row, ...]:
    rows: list[list[Panel]] = []
    for panel in panels:
        whole = panel.narrowest > width / columns
        full = not rows or len(rows[-1]) == columns or rows[-1][-1].narrowest > width / columns
        if whole or full:
            rows.append([panel])
        else:
            rows[-1].append(panel)
    return tuple(
        Row(tuple(row), max(panel.height(width / len(row)) for panel in row)) for row in rows
    )


def _too_high(panels: Sequence[Panel], width: float, columns: int, wanted: float) -> str:
    def without(panel: Panel) -> float:
        left = [other for other in panels if other is not panel]
        return sum(row.height for row in _rows(left, width, columns))

    most = MAX_HEIGHT_MM / _LOWEST
    enough = [panel for panel in panels if without(panel) <= most]
    # The one that was added last, since the first ones matter most; else the one that takes most.
    gone = enough[-1] if enough else min(panels, key=without)
    more = "" if enough else " and more"
    return (
        f"These panels need {wanted:.0f} mm of height and a page has {MAX_HEIGHT_MM:.0f} mm: "
        f"leave out “{gone.title}”{more}, or choose more columns."
    )
