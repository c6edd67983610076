"""The figure builder: panels, size in millimetres, resolution, file; preview, then download.

Drawing costs a second or two, so the page shows everything else first: `figures` returns what is
left to do, and the page calls it last. A figure that was drawn once is kept.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from msip_core.errors import ConfigError, NotFoundError
from msip_core.language import mark, t, told
from msip_core.markdown import md
from msip_core.views import paper, paper_page
from pages.export.methods import prose
from pages.export.panels import PANELS, Left, Made, Scene, choose_scene
from pages.kit.choose import choose, remember
from pages.kit.pair import ModelPair
from pages.kit.saving import save_button

_WIDTHS = {"85": "85 mm", "120": "120 mm", "178": "178 mm"}
_DPI = {"300": "300 dpi", "600": "600 dpi"}
_FORMATS = {"png": "PNG", "svg": "SVG", "pdf": "PDF", "tiff": "TIFF"}
# name -> words, panels, columns
_PRESETS = {
    "result": (mark("Result of the run"), ("steps", "channels"), 1),
    "sees": (mark("What it sees"), ("pair", "attention"), 1),
    "curves": (
        mark("All numbers of the run"),
        ("steps", "tradeoff", "epochs", "weights", "channels"),
        3,
    ),
}
_SHOWN = 900  # pixels on screen, less where the page is narrower
_PREVIEW_DPI = 150


def figures(pair: ModelPair) -> Callable[[], None]:
    """Choose; the preview is drawn by the function that comes back."""
    panels = _choose_panels()
    width, columns, form, dpi = _choose_size()
    if not panels:
        st.info(t("Choose at least one panel."), icon=":material/info:")
        return _nothing
    made = _make(choose_scene(pair, panels), panels)
    if made is None:
        return _nothing
    try:
        page = paper_page.lay_out([item.panel for item in made], width, columns)
    except ConfigError as error:
        st.warning(md(told(error.message)), icon=":material/height:")
        return _nothing
    key = (tuple(panels), tuple(item.key for item in made), columns)
    draw = partial(_file, key, width, _page=page)
    place = st.empty()
    name = f"{pair.run.id}-{'-'.join(panels)}.{form}"
    _below(page, name, partial(draw, form, dpi))
    return partial(_preview, place, page, draw)


def _nothing() -> None:
    """Nothing is left to draw."""


def _choose_panels() -> list[str]:
    with st.container(horizontal=True, vertical_alignment="center"):
        for name, (word, panels, columns) in _PRESETS.items():
            st.button(
                md(t(word)),
                key=f"preset:{name}",
                on_click=_take,
                args=(panels, columns),
                icon=":material/dashboard:",
            )
    wanted = _asked()
    key = "share:panels"
    st.session_state[key] = wanted

    def changed() -> None:
        _take(st.session_state[key], None)

    st.multiselect(
        t("Panels, in this order"),
        list(PANELS),
        key=key,
        format_func=lambda name: t(PANELS[name][0]),
        max_selections=paper_page.MOST_PANELS,
        on_change=changed,
        placeholder=t("Choose up to six panels"),
        help=t(
            "The letters a, b, c follow this order. Remove a panel and add it again to move it."
        ),
    )
    return wanted


def _asked() -> list[str]:
    """Panels of the address, else of this session, else the first."""
    text = st.query_params.get("panels")
    if text is None:
        text = st.session_state.get("last:panels", "steps")
    names = [name for name in text.split(",") if name]
    unknown = next((name for name in names if name not in PANELS), None)
    if unknown is not None:
        st.query_params.pop("panels", None)
        raise NotFoundError("The panel '{panel}' of this link is not in this lab.", panel=unknown)
    return list(dict.fromkeys(names))[: paper_page.MOST_PANELS]


def _take(panels: Sequence[str], columns: int | None) -> None:
    remember("panels", ",".join(panels))
    if columns is not None:
        remember("columns", str(columns))


def _choose_size() -> tuple[float, int, str, int]:
    first, second, third, fourth = st.columns(4)
    with first:
        width = choose(
            t("Width"),
            list(_WIDTHS),
            "width",
            words=_WIDTHS.__getitem__,
            default="178",
            help=t("Most journals: 85 mm for one column, 178 mm for two."),
        )
    with second:
        columns = choose(
            t("Panels in a row"),
            [str(number) for number in paper_page.COLUMNS],
            "columns",
            help=t("A panel that would be too narrow to read takes a whole row."),
        )
    with third:
        form = choose(
            t("File"),
            list(_FORMATS),
            "file",
            words=_FORMATS.__getitem__,
            help=t("In SVG and PDF, text stays text that can be edited."),
        )
    with fourth:
        dpi = choose(
            t("Resolution"),
            list(_DPI),
            "dpi",
            words=_DPI.__getitem__,
            help=t("Of PNG and TIFF, and of the micrographs inside SVG and PDF."),
        )
    return float(width), int(columns), form, int(dpi)


def _make(scene: Scene, panels: Sequence[str]) -> list[Made] | None:
    """Every panel that can be drawn; None while an answer is missing or none is left."""
    found = [(name, PANELS[name][1](scene)) for name in panels]
    for name, item in found:
        if isinstance(item, Left) and item.why:
            text = t("“{panel}” is left out.", panel=t(PANELS[name][0]))
            st.info(md(f"{text} {item.why}"), icon=":material/info:")
    if any(isinstance(item, Left) and not item.why for _, item in found):
        st.caption(t("The figure is drawn as soon as its pictures are there."))
        return None
    return [item for _, item in found if isinstance(item, Made)] or None


def _below(page: paper_page.Page, name: str, write: Callable[[], bytes]) -> None:
    """Size, download, caption: all known before anything is drawn."""
    form = name.rpartition(".")[2]
    with st.container(horizontal=True, vertical_alignment="center"):
        save_button(t("Download {form}", form=form.upper()), write, name, type="primary")
        size = t("{width} × {height} mm", width=f"{page.width:g}", height=f"{page.height:.0f}")
        st.caption(md(size), width="content")
    prose(t("Caption"), paper_page.caption(page))


def _preview(
    place: DeltaGenerator, page: paper_page.Page, draw: Callable[[str, int], bytes]
) -> None:
    # As high as the picture will be, so that nothing jumps when it comes.
    place.html(
        f'<div role="status" style="max-width:{_SHOWN}px;aspect-ratio:{page.width:.1f}/'
        f'{page.height:.1f};display:grid;place-items:center;opacity:.7;border:1px dashed">'
        f"{html.escape(t('Drawing the preview …'))}</div>"
    )
    names = ", ".join(panel.title for panel in page.panels)
    place.image(draw("png", _PREVIEW_DPI), alt=t("Preview: {panels}", panels=names), width=_SHOWN)


@st.cache_data(max_entries=64, show_spinner=False)
def _file(key: tuple[Any, ...], width: float, form: str, dpi: int, _page: paper_page.Page) -> bytes:
    """The file of a figure, drawn once. `_page` follows from `key`: it is no part of it."""
    return paper.to_bytes(paper_page.figure(_page), form, dpi)
