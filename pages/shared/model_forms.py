"""Train a baseline, or bring in weights."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from msip_core.config import BATCHES, RECIPES, TRAIN_PRESETS, TrainConfig
from msip_core.errors import DiskFullError, InputError
from msip_core.gpus import gpu_count
from msip_core.language import mark, t
from msip_core.markdown import md
from msip_core.models import ModelCard
from msip_core.runs.slots import slot_of
from msip_core.settings import get_settings
from pages.shared.choose import choose, distinct, remember
from pages.shared.command import show_command
from pages.shared.data_report import careful, what_is_missing
from pages.shared.jobs import start_task, task_begun, task_panel
from pages.shared.lab import datasets, lab
from pages.shared.layout import empty
from pages.shared.machine import find_machine
from pages.shared.of_studies import models_switch, models_to_choose
from pages.shared.upload import keep_upload
from pages.shared.words import termed

SCRATCH = {
    "yolov8n.yaml": mark("Small: YOLOv8n"),
    "yolov8s.yaml": mark("Medium: YOLOv8s (the paper's)"),
    "yolov8m.yaml": mark("Large: YOLOv8m"),
}
_SIZES = (128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024, 1280)
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
        empty(t("No dataset is ready to train on."), ("pages/data.py", t("Bring in images")))
        what_is_missing(datasets())
        return
    left, right = st.columns(2, gap="large")
    with left:
        dataset = choose(t("Dataset"), list(ready), "dataset")
        careful(ready[dataset].concerns)
        weights = _weights(cards)
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
        recipe = TRAIN_PRESETS[preset]["recipe"]
        epochs = st.number_input(
            md(termed(t("Passes over the images"), t("epochs"))),
            min_value=1,
            max_value=1000,
            value=recipe.epochs,
            key=f"train:epochs:{preset}",
            persist_state="session",
        )
        pretrain = st.checkbox(
            md(termed(t("Pre-train first"), t("50 epochs, the paper’s start"))),
            key="train:pretrain",
            persist_state="session",
        )
    with right:
        usual = f"Baseline on {dataset}"
        name = st.text_input(t("Name of the run"), placeholder=usual, max_chars=80)
        imgsz = image_size(640 if slot_of(get_settings().device) != "cpu" else 256, "train")
        batch = batch_size("train")
        seed = st.number_input(t("Seed"), min_value=0, value=0, key="train:seed")
        device = device_field("train")
    config = TrainConfig(
        name=name or usual,
        dataset=dataset,
        weights=weights,
        recipe=recipe.model_copy(update={"epochs": epochs}),
        pretrain=RECIPES["paper-pretrain"] if pretrain else None,
        imgsz=imgsz,
        batch=batch,
        seed=seed,
        device=device,
    )
    _room()
    if st.button(t("Start training"), type="primary", icon=":material/play_arrow:"):
        run_id = lab().runs.submit(config)
        remember("run", run_id)
        st.switch_page("pages/runs.py", query_params={"run": run_id})
    show_command(config)


def _room() -> None:
    """Said before the start: a run that finds no room would stop at once."""
    free = find_machine(str(lab().workspace.root)).disk_free_gb
    needed = get_settings().min_free_disk_gb
    if free < needed:
        raise DiskFullError(
            t(
                "A run needs at least {needed} GB of free disk, there are {free} GB: delete old "
                "runs first.",
                needed=f"{needed:.1f}",
                free=f"{free:.1f}",
            )
        )


def _weights(cards: Sequence[ModelCard]) -> str:
    unpruned = [card for card in cards if card.kind != "pruned"]
    own = models_to_choose(unpruned, asked=st.session_state.get("train:weights"))
    options = [*SCRATCH, *own]
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


def image_size(default: int, place: str) -> int:
    """Side of the square that the detector sees."""
    return st.select_slider(
        md(termed(t("Image size"), "px")),
        sorted({*_SIZES, default}),
        value=default,
        key=f"{place}:imgsz",
        help=t("Larger sees smaller organoids; twice the side takes four times the work."),
        persist_state="session",
    )


def batch_size(place: str) -> int:
    return st.select_slider(
        md(termed(t("Images at a time"), t("batch"))),
        list(BATCHES),
        value=16 if slot_of(get_settings().device) != "cpu" else 8,
        key=f"{place}:batch",
        help=t("More need more memory."),
        persist_state="session",
    )


def device_field(place: str) -> str:
    """'auto', or a device by name."""
    return st.selectbox(
        t("Device"),
        ["auto", "cpu", *(f"cuda:{n}" for n in range(max(1, gpu_count()))), "mps"],
        key=f"{place}:device",
        accept_new_options=True,
        format_func=lambda name: f"auto ({slot_of('auto')})" if name == "auto" else name,
        persist_state="session",
    )


def upload_form() -> None:
    """Weights from elsewhere: data, never a program."""
    if task_begun():
        result = task_panel(t("Checking the weights"), "upload")
        if result is not None:
            _open_card(str(result["id"]))
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
            raise InputError(t("The model needs a name."))
        start_task("upload", {"path": str(path), "name": name.strip()})


def _open_card(model_id: str) -> None:
    st.query_params["view"] = "look"
    remember("model", model_id)
    st.rerun()
