"""What people call a run, a dataset or a model: a title, beside an id that never changes.

A run's stands in its story, a model's on its card. A dataset's lies in a file of its own, hidden so
that it is no part of the data: whatever was computed from them is still what would be computed.
"""

from __future__ import annotations

from pathlib import Path

from msip_core.errors import InputError

TITLE_FILE = ".title"  # in the folder of a dataset
LONGEST = 80  # characters: what a table and a picker can show


def checked_title(text: str) -> str:
    """The title in one line, without blanks around it.

    Raises:
        InputError: nothing is left of it, it is too long, or it holds signs that cannot be shown.
    """
    title = " ".join(text.split())
    if not title:
        raise InputError("A title needs at least one letter or digit.")
    if len(title) > LONGEST:
        raise InputError(
            "A title has at most {longest} characters; this one has {n}.",
            longest=LONGEST,
            n=len(title),
        )
    if not title.isprintable():
        raise InputError("A title may hold no invisible signs: type it anew instead of pasting it.")
    return title


def title_in(folder: Path) -> str:
    """The title of the dataset in this folder, "" where nobody gave one."""
    try:
        text = (folder / TITLE_FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return " ".join(text.split())[:LONGEST]
