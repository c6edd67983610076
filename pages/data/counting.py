"""What comes after new images without labels: counting them with a model."""

from __future__ import annotations

import shlex

import streamlit as st

from msip_core.language import t
from msip_core.models import list_models
from pages.kit.lab import lab
from pages.kit.layout import next_step
from pages.kit.navigation import has_page


def counting(dataset: str) -> None:
    """The next step: the page that counts, or the command that does the same."""
    workspace = lab().workspace
    models = list_models(workspace)
    if not models:
        next_step(
            "pages/models/page.py",
            t("bring in a model"),
            t("New images are counted by a model: upload its weights, or train one."),
            view="upload",
        )
    elif has_page("plate"):
        next_step(
            "pages/plate/page.py",
            t("count them"),
            t("What a model finds on these images, per image and per well."),
            view="start",
            way="dataset",
            dataset=dataset,
        )
    else:
        images = workspace.dataset_dir(dataset) / "images"
        st.caption(t("Count them with a model on the command line:"))
        st.code(
            f"python -m msip_core predict {shlex.quote(str(images))} --model {models[0].id} "
            "--out counts",
            language="bash",
            wrap_lines=True,
        )
