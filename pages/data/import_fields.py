"""What is asked of an import beside its name and its planes: brightness, parts."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from msip_core.config import ImageRecipe, SplitConfig
from msip_core.data.grouping import find_groups
from msip_core.errors import InputError
from msip_core.language import mark, t
from msip_core.markdown import md
from pages.kit.words import labelled

_GROUPINGS = {
    "auto": mark("Found from the file names"),
    "off": mark("No grouping"),
    "pattern": mark("By a group pattern of my own"),
}
_MIDDLE = 50.0  # per cent: black lies below it, white above


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
