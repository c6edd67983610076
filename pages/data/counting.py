"""What comes after new images without labels: counting them with a model."""

from __future__ import annotations

from msip_core.language import t
from msip_core.models import list_models
from pages.kit.lab import lab
from pages.kit.layout import next_step


def counting(dataset: str) -> None:
    """The next step: the page that counts, or the one that brings in what counts."""
    if not list_models(lab().workspace):
        next_step(
            "pages/models/page.py",
            t("bring in a model"),
            t("New images are counted by a model: upload its weights, or train one."),
            view="upload",
        )
    else:
        next_step(
            "pages/plate/page.py",
            t("count them"),
            t("What a model finds on these images, per image and per well."),
            view="start",
            way="dataset",
            dataset=dataset,
        )
