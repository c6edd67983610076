"""Train a baseline, or bring in weights."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from msip_core.config import RECIPES, TRAIN_PRESETS, parse_run_config
from msip_core.errors import InputError
from msip_core.language import mark, t
from msip_core.markdown import md
from msip_core.models import ModelCard
from msip_core.questions.detecting import Upload
from msip_core.recipes import TrainingRecipe
from msip_core.runs.inputs import check_disk
from msip_core.runs.slots import slot_of
from msip_core.settings import get_settings
from pages.kit.asking import ask_for, show_command
from pages.kit.choose import choose, distinct, remember
from pages.kit.jobs import start_task, task_begun, task_panel
from pages.kit.lab import datasets, lab
from pages.kit.layout import careful, empty, what_is_missing
from pages.kit.of_studies import models_switch, models_to_choose
from pages.kit.run_fields import batch_size, device_field, image_size, number_field, seed_field
from pages.kit.upload import keep_upload
from pages.kit.words import labelled

SCRATCH = {
    "yolov8n.yaml": mark("Small: YOLOv8n"),
    "yolov8s.yaml": mark("Medium: YOLOv8s (MSIP's paper)"),
    "yolov8m.yaml": mark("Large: YOLOv8m"),
}
# schedule: name, and what it is for
_PRESETS = {
    "quick": (mark("Quick"), mark("12 epochs: a first look, also without a GPU.")),
    "standard": (mark("Standard"), mark("40 epochs: a usable baseline.")),
    "paper": (mark("Paper"), mark("100 epochs, the published schedule: for a GPU.")),
}


def train_form(cards: Sequence[ModelCard]) -> None:
    """Settings of one baseline; Start hands it to the queue."""
    ready = {item.name: item for item in datasets() if item.ready}
    if not ready:
        empty(t("No dataset is ready to train on."), ("pages/data/page.py", t("Bring in images")))
        what_is_missing(datasets())
        return
    left, right = st.columns(2, gap="large")
    with left:
        dataset = choose(t("Dataset"), list(ready), "dataset", words=lambda name: ready[name].words)
        careful(ready[dataset].concerns)
        weights = _weights(cards)
        recipe = _schedule()
        pretrain = st.checkbox(
            md(labelled(t("Pre-train first"), t("50 epochs, as MSIP's paper does"))),
            key="train:pretrain",
            persist_state="session",
        )
    with right:
        usual = f"Baseline on {ready[dataset].words}"
        name = st.text_input(t("Name of the run"), placeholder=usual, max_chars=80)
        imgsz = image_size(640 if slot_of(get_settings().device) != "cpu" else 256, "train")
        batch = batch_size("train")
        seed = seed_field("train")
        device = device_field("train")
    config = parse_run_config(
        {
            "kind": "train",
            "name": name.strip() or usual,
            "dataset": dataset,
            "weights": weights,
            "recipe": recipe,
            "pretrain": RECIPES["paper-pretrain"] if pretrain else None,
            "imgsz": imgsz,
            "batch": batch,
            "seed": seed,
            "device": device,
        }
    )
    check_disk(lab().workspace)  # said before the start
    if st.button(t("Start training"), type="primary", icon=":material/play_arrow:"):
        st.switch_page("pages/runs/page.py", query_params={"run": ask_for(config)})
    show_command(config)


def _schedule() -> TrainingRecipe:
    presets = list(reversed(TRAIN_PRESETS))
    fallback = "quick" if slot_of(get_settings().device) == "cpu" else "paper"
    preset = st.radio(
        t("Schedule"),
        presets,
        index=presets.index(fallback),
        format_func=lambda name: md(t(_PRESETS[name][0]) if name in _PRESETS else name),
        captions=[md(t(_PRESETS[name][1])) if name in _PRESETS else "" for name in presets],
        key="train:preset",
        persist_state="session",
    )
    recipe: TrainingRecipe = TRAIN_PRESETS[preset]["recipe"]
    label = labelled(t("Passes over the images"), t("epochs"))
    epochs = number_field(f"train:epochs:{preset}", label, recipe.epochs, (1, 1000))
    return recipe.model_copy(update={"epochs": epochs})


def _weights(cards: Sequence[ModelCard]) -> str:
    unpruned = [card for card in cards if card.kind != "pruned"]
    wanted = st.query_params.get("weights") or st.session_state.get("train:weights")
    own = models_to_choose(unpruned, asked=wanted)
    options = [*SCRATCH, *own]
    linked = st.query_params.pop("weights", "")  # once: afterwards the field says which
    if linked in own:
        st.session_state["train:weights"] = linked
    names = distinct(list(own), lambda i: t("Go on from: {name}", name=own[i].name))
    chosen: str = st.selectbox(
        t("Start from"),
        options,
        format_func=lambda key: t(SCRATCH[key]) if key in SCRATCH else names[key],
        key="train:weights",
        help=t("A network without knowledge, or a model of this lab (its classes are adapted)."),
        persist_state="session",
    )
    models_switch(unpruned, "train")
    return chosen


def upload_form() -> None:
    """Weights from elsewhere: data, never a program."""
    if task_begun():
        result = task_panel(ModelCard, t("Checking the weights"), "upload")
        if result is not None:
            _open_card(result.id)
        return
    st.markdown(
        t(
            "The weights of a YOLOv8 detector (`.pt`). The file is read as data only: one that "
            "wants to run code is refused by name."
        )
    )
    file = st.file_uploader(t("Weights file"), type="pt", max_upload_size=500, key="upload:weights")
    if file is None:
        return
    name = st.text_input(t("Name"), value=file.name.removesuffix(".pt"), max_chars=80)
    path = keep_upload(lab().workspace, [file])  # type: ignore[list-item]
    if st.button(t("Check and add"), type="primary", icon=":material/verified_user:"):
        if not name.strip():
            raise InputError("The model needs a name.")
        start_task(Upload(path=path, name=name.strip()))


def _open_card(model_id: str) -> None:
    st.query_params["view"] = "look"
    remember("model", model_id)
    st.rerun()
