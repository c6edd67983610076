"""A row of small pictures that can be opened by mouse or keyboard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import streamlit as st

from pages.kit.guard import guarded

_HERE = Path(__file__).parent
_mount = st.components.v2.component(
    "msip_thumbnails",
    html='<div class="thumbs"></div>',
    css=(_HERE / "thumbnails.css").read_text(encoding="utf-8"),
    js=(_HERE / "thumbnails.js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """One small picture; `current` marks the one that is open."""

    id: str
    url: str
    title: str
    text: str
    alt: str
    current: bool = False


def thumbnails(items: Sequence[Thumbnail], *, key: str, opened: Callable[[str], None]) -> None:
    """Draw them; `opened` is called with the id of the one that was pressed."""

    @guarded
    def tell() -> None:
        chosen = st.session_state[key].get("opened")
        if chosen:
            opened(str(chosen))

    _mount(key=key, data={"items": [asdict(item) for item in items]}, on_opened_change=tell)
