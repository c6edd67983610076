"""New run: how light, by which signals, how patiently; what it would do and take before Start."""

from __future__ import annotations

import streamlit as st

from msip_core.language import t
from msip_core.models import list_models
from pages.kit.asking import show_command
from pages.kit.choose import asked, choose
from pages.kit.guard import show_error
from pages.kit.lab import datasets, lab
from pages.kit.layout import empty, header, what_is_missing
from pages.kit.of_studies import models_switch, models_to_choose
from pages.new_run.checks import Refusal, link_refusal
from pages.new_run.form import Choice, prune_settings
from pages.new_run.preview import layers
from pages.new_run.starting import start_panel

header(
    t("New run"),
    t(
        "Make a detector lighter: remove the channels it can spare, step by step, and train it on "
        "after each step."
    ),
)
cards = list_models(lab().workspace)
if refused := link_refusal(cards, datasets()):
    show_error(refused)
sets = {item.name: item for item in datasets() if item.ready}
unpruned = [card for card in cards if card.kind != "pruned"]
models = models_to_choose(unpruned, asked=asked("model"))
if not sets:
    empty(t("No dataset is ready."), ("pages/data/page.py", t("Bring in images")))
    what_is_missing(datasets())
elif not models:
    empty(
        t("No detector yet that could be made lighter."),
        ("pages/models/page.py", t("Train a baseline or upload weights")),
    )
else:
    left, right = st.columns(2)
    with left:
        model = models[choose(t("Detector"), list(models), "model", words=lambda i: models[i].name)]
        models_switch(unpruned, "new")
    with right:
        dataset = choose(
            t("Dataset"),
            list(sets),
            "dataset",
            words=lambda name: sets[name].words,
            default=model.dataset,
        )
    choice = Choice(model, sets[dataset])
    with st.container(key="beside"):
        settings, panel = st.columns(2)
        with settings:
            made = prune_settings(choice)
        with panel, st.container(key="aside"):
            found = start_panel(choice, made)
    if found:
        layers(found)
    if not isinstance(made, Refusal):
        show_command(made)
