"""Train again with the corrected labels: one click, by settings that are recommended here."""

from __future__ import annotations

import streamlit as st

from msip_core.config import TRAIN_PRESETS, TrainConfig
from msip_core.data.dataset import Dataset
from msip_core.language import t, tn, told
from msip_core.markdown import md
from msip_core.models import ModelCard, list_models
from msip_core.runs.slots import slot_of
from msip_core.settings import get_settings
from pages.kit.asking import ask_for
from pages.kit.lab import lab

_SCRATCH = "yolov8n.yaml"


def train_again(data: Dataset, card: ModelCard | None) -> None:
    """Start a training from the present model on the newest version of the labels."""
    st.subheader(t("Train again with these labels"), anchor=False)
    ready, missing = data.readiness()
    if not ready:
        some = {data.document.is_labelled(record) for record in data.images} == {True, False}
        more = t(
            "Label more images first: they get their part one by one, the first well to learn "
            "from, the next to check progress."
        )
        st.caption(md(more if some else told(missing or "")))
        return
    config, words = recommended(data, _start_from(data, card))
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(
            t("Train again with these"),
            type="primary",
            icon=":material/model_training:",
            key="correct:train",
        ):
            st.switch_page("pages/runs/page.py", query_params={"run": ask_for(config)})
        st.caption(md(words), width="content")
        st.page_link(
            "pages/models/page.py",
            label=md(t("Other settings")),
            icon=":material/tune:",
            query_params={"view": "train", "dataset": data.name},
        )


def recommended(data: Dataset, card: ModelCard | None) -> tuple[TrainConfig, str]:
    """Settings of the training, and the same in words."""
    on_cpu = slot_of(get_settings().device) == "cpu"
    recipe = TRAIN_PRESETS["quick" if on_cpu else "paper"]["recipe"]
    version = data.labels_version
    config = TrainConfig(
        name=f"{data.name}, labels version {version}",
        dataset=data.name,
        dataset_version=version,
        weights=card.id if card else _SCRATCH,
        recipe=recipe,
        imgsz=card.imgsz if card else 256 if on_cpu else 640,
        batch=8 if on_cpu else 16,
    )
    start = card.name if card else t("a network without knowledge")
    words = tn(
        "From {start}: {n} epoch at {px} px on version {version} of the labels.",
        "From {start}: {n} epochs at {px} px on version {version} of the labels.",
        recipe.epochs,
        start=start,
        px=config.imgsz,
        version=version,
    )
    return config, words


def _start_from(data: Dataset, card: ModelCard | None) -> ModelCard | None:
    """The model that is looked at; of a pruned one the one it was made from, since a training
    builds the whole network; else the newest one of this dataset."""
    cards = {one.id: one for one in list_models(lab().workspace)}
    if card is not None and card.kind == "pruned":
        card = cards.get(card.baseline_id or "")
    if card is not None:
        return card
    own = [c for c in cards.values() if c.dataset == data.name and c.kind != "pruned"]
    return own[0] if own else None
