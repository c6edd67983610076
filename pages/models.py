"""Models: baselines and pruned models with what they score and cost; train one, upload one."""

from __future__ import annotations

import streamlit as st

from msip_core.language import mark, t
from msip_core.models import damaged_models, list_models
from pages.shared.choose import asked, choose, choose_view
from pages.shared.guard import show_failure
from pages.shared.lab import lab
from pages.shared.layout import empty, header, next_step
from pages.shared.model_card import card_details, cards_table
from pages.shared.model_forms import train_form, upload_form
from pages.shared.of_studies import models_switch, models_to_choose

_VIEWS = {
    "look": mark("Your models"),
    "train": mark("Train a baseline"),
    "upload": mark("Upload weights"),
}

header(
    t("Models"),
    t("Detectors of this lab: what they find, what they cost, where they came from."),
)
cards = {card.id: card for card in list_models(lab().workspace)}
for name in damaged_models(lab().workspace):
    show_failure(
        t(
            "The card of the model '{name}' is damaged: train or upload it again, or remove its "
            "folder.",
            name=name,
        )
    )
view = choose_view(_VIEWS, "look" if cards else "train", "models")
if view == "train":
    train_form(list(cards.values()))
elif view == "upload":
    upload_form()
elif not cards:
    empty(t("No models yet."), ("pages/data.py", t("See the data")))
    st.caption(t("Train a baseline on a dataset, or upload the weights of a YOLOv8 detector."))
else:
    offered = models_to_choose(cards.values(), asked=asked("model"))
    cards_table(list(offered.values()))
    models_switch(list(cards.values()), "models")
    chosen = cards[choose(t("Model"), list(offered), "model", words=lambda i: cards[i].name)]
    card_details(chosen)
    if chosen.kind == "pruned":
        next_step(
            "pages/compare.py",
            t("compare before and after"),
            t("What this model still finds, and what it lost."),
            **({"run": str(chosen.origin["run_id"])} if "run_id" in chosen.origin else {}),
        )
    else:
        next_step(
            "pages/new.py",
            t("make it lighter"),
            t("Remove the channels that this detector can spare."),
            model=chosen.id,
        )
