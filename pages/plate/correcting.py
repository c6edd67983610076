"""From a count to mended boxes: its images become a dataset, where a person corrects what the model
finds and trains again."""

from __future__ import annotations

import streamlit as st

from msip_core.config import CountConfig, ImageRecipe, ImportConfig, SplitConfig
from msip_core.data.dataset import Dataset, DatasetSummary
from msip_core.data.manifest import place_of
from msip_core.data.questions import Import, Imported
from msip_core.language import t
from msip_core.markdown import md
from msip_core.models import list_models
from pages.kit.jobs import start_task, task_begun, task_panel
from pages.kit.lab import dataset, datasets, lab
from pages.kit.new_dataset import checked_name, free_name
from pages.plate.choosing import Count

_PAGE = "pages/correct/page.py"


def correct(count: Count, image: str, role: str) -> None:
    """The way to the boxes of an image of the count.

    Args:
        role: whose boxes are looked at: "model" or "baseline".
    """
    st.subheader(t("Is a box wrong?"), anchor=False)
    by, here = _by(count.config, role), {one.name: one for one in datasets()}
    if count.config.source is None:
        if count.config.dataset in here:
            _link(here[count.config.dataset], by, image)
        else:
            st.caption(t("The dataset of these images was deleted since."))
        return
    if task_begun():
        _go_on(by, task_panel(Imported, t("Making a dataset of these images"), "correct"))
        return
    place = place_of(count.config.source)
    made = [one for one in here.values() if one.place == place]
    for one in made:
        _link(one, by, _id_of(dataset(one.name), image))
    if not made:
        _make(count)


def _by(config: CountConfig, role: str) -> dict[str, str]:
    """The model that is to suggest boxes; none where it was deleted, or is a step of a run, which
    the other page does not know."""
    model = config.baseline if role == "baseline" else config.model
    known = {card.id for card in list_models(lab().workspace)}
    return {"by": model} if model is not None and model in known else {}


def _link(made: DatasetSummary, by: dict[str, str], image: str | None) -> None:
    there = {"image": image} if image else {}
    st.page_link(
        _PAGE,
        label=md(t("Correct the boxes of this image in {name}", name=made.words)),
        icon=":material/edit_square:",
        query_params={"dataset": made.name, **by, **there},
    )


def _make(count: Count) -> None:
    taken = {one.name for one in datasets()}
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    name = left.text_input(
        t("Name of the dataset"),
        value=free_name(_usual_name(count), taken),
        max_chars=64,
        key=f"plate:dataset:{count.run.id}",
        help=t("Letters, digits, '.', '_' and '-'."),
    )
    if right.button(
        t("Make a dataset of these images"), icon=":material/edit_square:", key="plate:correct"
    ):
        name = checked_name(name, taken)
        start_task(Import(config=imported(count.config, name, _recipe(count.config.model))))
    st.caption(
        t(
            "The images of the count come in as it saw them. What the model finds is suggested "
            "there; what you take over or draw becomes a label, and a model can learn from it."
        )
    )


def _usual_name(count: Count) -> str:
    """What its owner calls the source; a folder that was uploaded lies in one with a generated
    name."""
    source = count.config.source
    assert source is not None
    return count.run.name if source.name.startswith("upload-") else source.stem


def imported(config: CountConfig, name: str, recipe: ImageRecipe) -> ImportConfig:
    """Take in what a count looked at, in the same way."""
    assert config.source is not None
    if config.channel:
        recipe = recipe.model_copy(update={"channel": config.channel})
    return ImportConfig(
        source=config.source,
        name=name,
        pixel_size_um=config.pixel_size_um,
        stack=config.stack,
        every=config.every,
        recipe=recipe,
        split=SplitConfig(group_pattern=config.group),
        keep_unlabelled=True,
    )


def _recipe(model: str) -> ImageRecipe:
    """How the model that counts has learned to see grey values."""
    cards = {card.id: card for card in list_models(lab().workspace)}
    card = cards.get(model)
    return ImageRecipe() if card is None or card.recipe is None else card.recipe


def _id_of(found: Dataset, image: str) -> str | None:
    """The dataset's name of an image; None where planes were put together."""
    return next((record.id for record in found.images if record.source == image), None)


def _go_on(by: dict[str, str], result: Imported | None) -> None:
    """Straight to the boxes of the new dataset."""
    if result is not None:
        st.switch_page(_PAGE, query_params={"dataset": result.dataset, **by})
