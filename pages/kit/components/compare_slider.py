"""A micrograph as two models see it, slider or columns; or one picture to choose an object on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from msip_core.language import t
from msip_core.views.marks import Legend, Mark
from pages.kit.guard import guarded

_HERE = Path(__file__).parent


ZOOM = (_HERE / "zoom.js").read_text(encoding="utf-8")


def _part(kind: str) -> str:
    return (_HERE / f"compare_slider.{kind}").read_text(encoding="utf-8")


_mount = st.components.v2.component(
    "msip_compare_slider", html=_part("html"), css=_part("css"), js=f"{ZOOM}\n{_part('js')}"
)


@dataclass(frozen=True, slots=True)
class Pane:
    """One picture.

    Attributes:
        url: of the PNG, from `media.address`.
        title: written in its corner.
        alt: what it shows, for those who cannot see it.
    """

    url: str
    title: str
    alt: str
    marks: Sequence[Mark]

    def as_data(self) -> dict[str, object]:
        return {
            "url": self.url,
            "title": self.title,
            "alt": self.alt,
            "marks": [mark.as_data() for mark in self.marks],
        }


def compare_slider(
    left: Pane,
    right: Pane | None,
    *,
    size: tuple[int, int],
    image: str,
    key: str,
    picked: Callable[[str], None],
    legend: Sequence[Legend] = (),
    tallest: int = 720,
) -> None:
    """Draw it; `picked` is called with the id of a box that was clicked, before the page's rerun.

    Args:
        size: width and height of the micrograph, the unit of all boxes.
        image: its id: zoom and pan stay while it stays.
        tallest: of one picture, in pixels of the screen.
    """

    @guarded
    def tell() -> None:
        box = st.session_state[key].get("picked")
        if box:
            picked(str(box))

    _mount(
        key=key,
        data={
            "left": left.as_data(),
            "right": right.as_data() if right else None,
            "width": size[0],
            "height": size[1],
            "image": image,
            "key": key,
            "tallest": tallest,
            "legend": [item.as_data() for item in legend],
            "words": _words(two=right is not None),
        },
        on_picked_change=tell,
    )


def _words(*, two: bool) -> dict[str, str]:
    return {
        "modes": t("Way of showing"),
        "slider": t("Slider"),
        "columns": t("Two columns"),
        "zoom": t("Zoom"),
        "in": t("Larger"),
        "out": t("Smaller"),
        "whole": t("Whole picture"),
        "handle": t("Share of the picture that shows the baseline"),
        "stage": t("Both pictures: zoom with plus and minus, move with the arrow keys")
        if two
        else t("Picture: zoom with plus and minus, move with the arrow keys"),
        "hint": t("Click a box to choose it. Zoom: + and −, Ctrl and wheel, or pinch; then drag."),
    }
