"""A file to take home, by the button that every page offers one with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from typing import BinaryIO, Literal

import streamlit as st

from msip_core.markdown import md

# Said here, since what Python guesses depends on the computer.
_TYPES = {
    ".bib": "application/x-bibtex",
    ".csv": "text/csv",
    ".html": "text/html",
    ".md": "text/markdown",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".ris": "application/x-research-info-systems",
    ".svg": "image/svg+xml",
    ".tex": "application/x-tex",
    ".tiff": "image/tiff",
    ".txt": "text/plain",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".yaml": "application/yaml",
    ".zip": "application/zip",
}


def save_button(
    label: str,
    content: str | bytes | Callable[[], str | bytes | BinaryIO],
    name: str,
    *,
    key: str | None = None,
    icon: str = "download",
    type: Literal["primary", "secondary", "tertiary"] = "secondary",
    help: str | None = None,
) -> None:
    """Saves `content` as `name`; a function is called only when it is clicked."""
    st.download_button(
        md(label),
        content,
        file_name=name,
        mime=_TYPES[PurePath(name).suffix],
        key=key,
        icon=f":material/{icon}:",
        type=type,
        help=None if help is None else md(help),
        on_click="ignore",
    )
