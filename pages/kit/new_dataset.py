"""What the start of an import and of a count have in common: planes and channels, a free name."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import streamlit as st

from msip_core.errors import InputError
from msip_core.language import mark, t
from pages.kit.lab import lab

_MOST_PLANES = 99_999  # a plane's number has at most five digits
_STACKS = {
    "sharpest": mark("The sharpest plane"),
    "max": mark("Brightest values of all planes"),
    "min": mark("Darkest values of all planes"),
    "middle": mark("The middle plane"),
    "number": mark("A plane by its number"),
}


def stack_fields(
    place: str = "import", channels: Sequence[str] = ()
) -> tuple[str | None, str, int | None]:
    """Channel, plane of a stack, and every n-th time point.

    Args:
        place: tells the fields of two pages apart.
        channels: that the files have, as far as they were looked into.
    """
    left, right = st.columns(2)
    way = left.selectbox(
        t("Of the planes of one field"),
        list(_STACKS),
        format_func=lambda name: t(_STACKS[name]),
        key=f"{place}:stack",
        help=t("The sharpest has the highest variance of the Laplacian. The report says which."),
    )
    number = 1
    if way == "number":
        number = int(
            left.number_input(
                t("Number of the plane"),
                min_value=0,
                max_value=_MOST_PLANES,
                value=1,
                key=f"{place}:plane",
            )
        )
    channel = right.selectbox(
        t("Channel, in files of several"),
        list(channels),
        index=None,
        accept_new_options=True,
        key=f"{place}:channel",
        placeholder=t("brightfield, where names tell"),
        help=t(
            "Those that the files have, or any other by number (from 1) or name. The report says "
            "which was taken."
        ),
    )
    every = right.number_input(
        t("Take every n-th time point"),
        min_value=0,
        value=0,
        key=f"{place}:every",
        help=t("1 takes all. 0: the first of a file; files of single time points come in all."),
    )
    stack = str(number) if way == "number" else way
    return (channel or "").strip()[:100] or None, stack, int(every) or None


def checked_name(name: str, taken: Collection[str]) -> str:
    """The name, if a new dataset can have it: said before every image is read, not after.

    Raises:
        InputError: it is taken, or can be no name of a folder.
    """
    if name in taken:
        raise InputError("There is a dataset '{name}' already: choose another name.", name=name)
    return lab().workspace.dataset_dir(name).name


def free_name(wanted: str, taken: Collection[str]) -> str:
    """A name for a dataset, as near to the wanted one as names may be, that none has yet."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", wanted).strip("-._")[:56] or "dataset"
    names = [stem, *(f"{stem}-{number}" for number in range(2, 1000))]
    return next(name for name in names if name not in taken)
