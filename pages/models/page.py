"""Models: baselines and pruned models with what they score and cost; train one, upload one."""

from __future__ import annotations

import streamlit as st

from msip_core.language import mark, t
from msip_core.models import ModelCard, damaged_models, list_models, rename_model
from msip_core.studies.dependants import delete_unused_model, dependants_of_model
from pages.kit.choose import asked, choose, choose_view
from pages.kit.classes import knows_the_classes
from pages.kit.guard import show_failure
from pages.kit.keeping import deletion, renaming
from pages.kit.lab import datasets, lab
from pages.kit.layout import empty, header, next_step
from pages.kit.model_card import card_details, cards_table
from pages.kit.of_studies import models_switch, models_to_choose
from pages.models.forms import train_form, upload_form

_VIEWS = {
    "look": mark("Your models"),
    "train": mark("Train a baseline"),
    "upload": mark("Upload weights"),
}

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


header(
    t("Models"), t("Detectors of this lab: what they find, what they cost, where they came from.")
)
cards = {card.id: card for card in list_models(lab().workspace)}
for name in damaged_models(lab().workspace):
    damaged(name)
view = choose_view(_VIEWS, "look" if cards else "train", "models")
if view == "train":
    train_form(list(cards.values()))
elif view == "upload":
    upload_form()
elif not cards:
    empty(t("No models yet."), ("pages/data/page.py", t("See the data")))
    st.caption(t("Train a baseline on a dataset, or upload the weights of a YOLOv8 detector."))
else:
    offered = models_to_choose(cards.values(), asked=asked("model"))
    cards_table(list(offered.values()))
    models_switch(list(cards.values()), "models")
    chosen = cards[choose(t("Model"), list(offered), "model", words=lambda i: cards[i].name)]
    card_details(chosen)
    rename_or_delete(chosen)
    if chosen.kind == "pruned":
        next_step(
            "pages/compare/page.py",
            t("compare before and after"),
            t("What this model still finds, and what it lost."),
            **({"run": str(chosen.origin["run_id"])} if "run_id" in chosen.origin else {}),
        )
    elif not any(knows_the_classes(chosen, item) for item in datasets() if item.ready):
        next_step(
            "pages/models/page.py",
            t("train it on your images"),
            t("No dataset here has just the classes that it knows; training teaches it yours."),
            view="train",
            weights=chosen.id,
        )
    else:
        next_step(
            "pages/new_run/page.py",
            t("make it lighter"),
            t("Remove the channels that this detector can spare."),
            model=chosen.id,
        )
