"""A model's title, and deleting it; a damaged one can only be deleted."""

from __future__ import annotations

import streamlit as st

from msip_core.language import mark, t
from msip_core.models import ModelCard, rename_model
from msip_core.studies.dependants import delete_unused_model, dependants_of_model
from pages.kit.guard import show_failure
from pages.kit.keeping import deletion, renaming
from pages.kit.lab import lab

_KEEP = mark(
    "Its weights and its card are removed from the lab; files elsewhere stay. Runs, models and "
    "studies keep their records, but what began with it cannot be repeated, compared or looked at."
)


def rename_or_delete(card: ModelCard) -> None:
    """Both, beside each other."""
    workspace = lab().workspace
    with st.container(horizontal=True):
        renaming("model", card.name, lambda text: rename_model(workspace, card.id, text))
        _deletion(card.id)


def damaged(model: str) -> None:
    """What is wrong with a card that cannot be read, and the way to be rid of it."""
    show_failure(
        t(
            "The card of the model '{name}' is damaged: train or upload it again, or delete it.",
            name=model,
        )
    )
    _deletion(model, place=f":{model}")


def _deletion(model: str, place: str = "") -> None:
    workspace = lab().workspace
    deletion(
        "model",
        t("Delete this model"),
        t(_KEEP),
        lambda: dependants_of_model(workspace, model),
        lambda: delete_unused_model(workspace, model),
        place=place,
    )
