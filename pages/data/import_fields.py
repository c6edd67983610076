"""What is asked of an import beside its name: brightness, planes and channels, parts."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Literal

import streamlit as st

from msip_core.config import ImageRecipe, SplitConfig
from msip_core.data.grouping import find_groups
from msip_core.errors import InputError
from msip_core.language import mark, t
from msip_core.markdown import md
from pages.kit.lab import lab
from pages.kit.words import labelled

_GROUPINGS = {
    "auto": mark("Found from the file names"),
    "off": mark("No grouping"),
    "pattern": mark("By my own pattern"),
}
_MOST_PLANES = 99_999  # a plane's number has at most five digits
_MIDDLE = 50.0  # per cent: black lies below it, white above
_STACKS = {
    "sharpest": mark("The sharpest plane"),
    "max": mark("Brightest values of all planes"),
    "min": mark("Darkest values of all planes"),
    "middle": mark("The middle plane"),
    "number": mark("A plane by its number"),
}


def recipe_fields() -> ImageRecipe:
    st.caption(
        t(
            "Deep images (12 or 16 bit) are scaled once by percentiles. The recipe is stored with "
            "the dataset and used for training, prediction and explanations alike."
        )
    )
    left, right = st.columns(2)
    low, high = left.slider(
        t("Percentiles that become black and white"), 0.0, 100.0, (1.0, 99.8), 0.1
    )
    scope: Literal["dataset", "image"] = right.radio(
        t("Same scaling for all images?"),
        ["dataset", "image"],
        format_func=lambda name: md(
            t("Yes, as one set") if name == "dataset" else t("No, each on its own")
        ),
        horizontal=True,
    )
    normalise = left.checkbox(t("Stretch 8-bit images too"))
    clahe = right.checkbox(md(labelled(t("Even out local contrast"), "CLAHE")))
    if low >= _MIDDLE or high <= _MIDDLE:
        raise InputError(
            "Black must lie below the 50th percentile and white above it, not at {low} and "
            "{high}: otherwise half of the image, or more, is black or white.",
            low=f"{low:g}",
            high=f"{high:g}",
        )
    return ImageRecipe(
        scope=scope, low_percentile=low, high_percentile=high, normalise=normalise, clahe=clahe
    )


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


def split_fields() -> SplitConfig:
    left, right = st.columns(2)
    test = left.slider(
        md(labelled(t("Kept for the final test"), t("share of all"))), 0.05, 0.5, 0.2, 0.05
    )
    val = left.slider(
        md(labelled(t("Kept to check progress"), t("share of the rest"))), 0.05, 0.5, 0.1, 0.05
    )
    with right:
        pattern = group_field()
    keep = right.checkbox(t("Use train / val / test folders where the source has them"))
    seed = left.number_input(
        t("Seed"), min_value=0, value=0, help=t("The same seed, the same split.")
    )
    return SplitConfig(
        test_fraction=test, val_fraction=val, seed=seed, group_pattern=pattern, keep_existing=keep
    )


def group_field() -> str | None:
    """Which images are of one well: a pattern, "" for none, None to find one.

    Raises:
        ConfigError: what was typed is no pattern.
    """
    grouping = st.radio(
        t("Images of one well, plate or donor stay together"),
        ["auto", "off", "pattern"],
        format_func=lambda name: md(t(_GROUPINGS[name])),
    )
    pattern: str | None = {"auto": None, "off": ""}.get(grouping)
    if grouping == "pattern":
        pattern = st.text_input(t("Regular expression; its first group names the well"), r"(\w+)_")
        find_groups(["name"], pattern)  # one that is none is said here, not by the import
    return pattern


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
