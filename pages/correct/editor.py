"""The editor of boxes on a micrograph: a component of our own, by mouse, finger or keyboard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import streamlit as st

from msip_core.boxes import Box, Detection
from msip_core.errors import InputError
from msip_core.language import t
from msip_core.views import style
from msip_core.views.marks import readable_ink
from pages.kit.components.compare_slider import ZOOM
from pages.kit.guard import guarded

_HERE = Path(__file__).parent / "box_editor"


def _part(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


SCRIPT = "\n".join((ZOOM, _part("editing.js"), _part("drawing.js"), _part("hands.js")))  # a module
_mount = st.components.v2.component(
    "msip_box_editor", html=_part("editor.html"), css=_part("editor.css"), js=SCRIPT
)


@dataclass(frozen=True, slots=True)
class Edited:
    """What a person did before they saved, or went to another image.

    Attributes:
        token: of this one time; given back as `Shown.ack` once it is dealt with.
        boxes: all boxes of the image; None where nothing was changed.
        seen: the version of the labels that they had before them.
        to: where they go.
    """

    token: str
    image: str
    boxes: tuple[Box, ...] | None
    seen: int
    to: Literal["stay", "next", "previous"]


@dataclass(frozen=True, slots=True)
class Shown:
    """One image to be corrected.

    Attributes:
        place: the dataset; tells what the tab keeps of one from that of another.
        base: the version that the image's labels are from; `seen` the newest of the dataset.
        where: "3 of 24".
        ack: token of what was dealt with last.
    """

    place: str
    image: str
    url: str
    size: tuple[int, int]
    classes: Sequence[str]
    boxes: Sequence[Box]
    suggestions: Sequence[Detection]
    base: int
    seen: int
    where: str
    has_previous: bool
    has_next: bool
    ack: str = ""
    tallest: int = 660

    def as_data(self) -> dict[str, Any]:
        return {
            "place": self.place,
            "image": self.image,
            "url": self.url,
            "width": self.size[0],
            "height": self.size[1],
            "classes": [_class(n, name) for n, name in enumerate(self.classes)],
            "boxes": [box.model_dump(include=_CORNERS) for box in self.boxes],
            "suggestions": [
                box.model_dump(include={*_CORNERS, "score"}) for box in self.suggestions
            ],
            "base": self.base,
            "seen": self.seen,
            "has_previous": self.has_previous,
            "has_next": self.has_next,
            "ack": self.ack,
            "tallest": self.tallest,
            "words": {**_words(), "place": self.where},
        }


_CORNERS = {"cls", "x1", "y1", "x2", "y2"}


def box_editor(shown: Shown, *, key: str, done: Callable[[Edited], None]) -> None:
    """Draw it; `done` is called when a person saves or goes on, before the page's rerun."""

    @guarded
    def tell() -> None:
        value = st.session_state[key].get("done")
        if value:
            done(_edited(value))

    _mount(key=key, data={**shown.as_data(), "key": key}, on_done_change=tell)


def _edited(value: Any) -> Edited:
    """What the browser sent, checked: it may be an old tab, or somebody's own script."""
    try:
        boxes = value["boxes"]
        if value["to"] not in ("stay", "next", "previous"):
            raise ValueError("no such way")
        return Edited(
            token=str(value["token"]),
            image=str(value["image"]),
            boxes=None if boxes is None else tuple(Box.model_validate(one) for one in boxes),
            seen=int(value["seen"]),
            to=value["to"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            "What the editor sent cannot be read: reload the page. Boxes that are not saved "
            "are kept in this tab of the browser."
        ) from error


def _class(number: int, name: str) -> dict[str, str]:
    colour = style.class_colour(number)
    return {"name": name, "colour": colour, "ink": readable_ink(colour)}


def _words() -> dict[str, str]:
    return {
        "tools": t("Tools"),
        "draw": t("Draw"),
        "add": t("New box"),
        "remove": t("Delete box"),
        "undo": t("Undo"),
        "redo": t("Redo"),
        "zoom": t("Zoom"),
        "in": t("Larger"),
        "out": t("Smaller"),
        "whole": t("Whole picture"),
        "classes": t("Class of the chosen box, and of new ones"),
        "previous": t("Previous image"),
        "next": t("Next image"),
        "save_next": t("Save and next image"),
        "save": t("Save"),
        "revert": t("Back to what is saved"),
        "unsaved": t("not saved yet"),
        "accept": t("Accept all {n} suggestions"),
        "accept_one": t("Accept the suggestion"),
        "accepted": t("Suggestion accepted"),
        "removed": t("Box deleted"),
        "box": t("Box {n}: {name}, {w} × {h} pixels at {x}, {y}"),
        "suggestion": t(
            "Suggestion of the model: {name}, score {score}. Enter or a click accepts it."
        ),
        "restored": t(
            "Boxes that were not saved before are back: save them, or go back to what is saved."
        ),
        "behind": t(
            "Somebody else has corrected this image meanwhile. Saving keeps your boxes as a draft "
            "beside theirs."
        ),
        "stage": t(
            "Micrograph with boxes. Tab goes from box to box; arrow keys move the chosen one, with "
            "Shift they change its size; N makes a new one, Delete removes it, numbers change its "
            "class."
        ),
        "hint": t(
            "Drag on free ground to draw, on a box to move it, on its handles to resize it (D: "
            "draw anywhere). Keys: N new box, arrows move, Shift and arrows resize, 1 to 9 class, "
            "Delete, Ctrl+Z undo, Ctrl+Shift+Z redo, S save, left and right (no box chosen) the "
            "image before and after. Dashed boxes are suggestions: a click or Enter accepts one, A "
            "all. Zoom: + and −, Ctrl and wheel, or pinch; Shift and drag moves the picture."
        ),
    }
