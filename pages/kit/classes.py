"""Classes of models and datasets: whether they are the same, and what their objects are called."""

from __future__ import annotations

import html
from collections.abc import Sequence

import streamlit as st

from msip_core.data.dataset import DatasetSummary
from msip_core.models import ModelCard
from msip_core.views import style

_ORGANOIDS = frozenset({"crypt", "no_crypt", "cyst", "early", "late", "spheroid"})


def plain_names(names: Sequence[str]) -> list[str]:
    """Names without regard to case."""
    return [name.strip().lower() for name in names]


def knows_the_classes(card: ModelCard, data: DatasetSummary) -> bool:
    """Whether detector and images know the same classes, in the same order."""
    return plain_names(card.classes) == plain_names(data.classes)


def class_legend(
    classes: Sequence[str], shown: Sequence[str] | None = None, *, dashed: bool = True
) -> None:
    """Line and colour of each class that is drawn on the pictures below.

    Args:
        shown: those that are drawn; None: all.
        dashed: the boxes have the dashes of their class, not plain lines.
    """
    items = []
    for index, name in enumerate(classes):
        if shown is not None and name not in shown:
            continue
        line = style.CLASS_DASHES[style.class_dash(index)] if dashed else "solid"
        items.append(
            f'<span style="white-space: nowrap; margin-right: 1.2rem"><span style="display: '
            f"inline-block; width: 2rem; margin-right: .4rem; vertical-align: middle; border-top: "
            f'3px {line} {style.class_colour(index)}"></span>{html.escape(name)}</span>'
        )
    st.html(f'<div style="font-size: .875rem">{"".join(items)}</div>')


def are_organoids(classes: Sequence[str]) -> bool:
    """Whether objects of these classes are organoids; glands, cells and all else are "objects"."""
    return any(name in _ORGANOIDS or "organoid" in name for name in plain_names(classes))
