"""Data: bring in micrographs with their boxes, and check what came in."""

from __future__ import annotations

from typing import BinaryIO

import streamlit as st

from msip_core.data.dataset import Dataset
from msip_core.data.export import export_dataset
from msip_core.data.export_formats import FORMATS
from msip_core.data.writing import rename_dataset
from msip_core.language import mark, t
from msip_core.models import list_models
from msip_core.studies.dependants import delete_unused, dependants_of
from pages.data.importing import add_images
from pages.data.preview import preview
from pages.data.report import class_map, objects_by_part, pixel_size, readiness, report, summary
from pages.kit.choose import choose_dataset, choose_view
from pages.kit.guard import guard
from pages.kit.keeping import deletion, renaming
from pages.kit.lab import dataset, datasets, lab
from pages.kit.layout import empty, header, next_step
from pages.kit.saving import save_button

_VIEWS = {"look": mark("Your images"), "add": mark("Add images")}
_KEEP = mark(
    "Images, labels and masks are removed from the lab; the files that they came from stay. Runs, "
    "models and studies keep their records, but nothing of them can be repeated, gone on with or "
    "looked at on these images."
)


def rename_or_delete(dataset: str, title: str) -> None:
    """Both, beside each other."""
    workspace = lab().workspace
    with st.container(horizontal=True):
        renaming("dataset", title, lambda text: rename_dataset(workspace, dataset, text))
        deletion(
            "dataset",
            t("Delete this dataset"),
            t(_KEEP),
            lambda: dependants_of(workspace, dataset),
            lambda: delete_unused(workspace, dataset),
        )


def take_out(dataset: Dataset) -> None:
    """The format, and a button; the zip is packed when it is clicked. Nothing without labels."""
    if not dataset.classes:
        return
    with st.expander(t("Take images and labels to another program"), icon=":material/output:"):
        form = st.selectbox(
            t("Format of the labels"),
            list(FORMATS),
            format_func=lambda key: FORMATS[key].title,
            key="data:export:format",
        )
        images = st.toggle(t("With the images"), value=True, key="data:export:images")
        name = f"{dataset.name}-{form}{'' if images else '-without-images'}.zip"
        target = lab().workspace.cache / "exports" / name

        def write() -> BinaryIO:
            export_dataset(dataset, form, target, with_images=images)
            return target.open("rb")

        label = t("Download images and labels") if images else t("Download the labels")
        save_button(label, write, name, key="data:export", icon="folder_zip")
        st.caption(t("Packed when you click. A zip with images can be added here again."))


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


header(
    t("Data"), t("Your micrographs and the boxes on them: bring them in, check them, split them.")
)
sets = {item.name: item for item in datasets()}
view = choose_view(_VIEWS, "look" if sets else "add", "data")
if view == "add":
    add_images(set(sets))
elif not sets:
    empty(t("No images yet."), ("pages/start/page.py", t("See what the lab can do")))
    st.caption(
        t("Choose “Add images” above: upload a zip or a folder, or let the lab draw examples.")
    )
else:
    name = choose_dataset(sets)
    with guard():  # a damaged dataset can still be deleted
        chosen = dataset(name)
        ready = readiness(chosen)
        summary(chosen)
        objects_by_part(chosen)
        pixel_size(chosen)
        class_map(chosen)
        report(chosen)
        take_out(chosen)
        preview(chosen)
        new = chosen.unlabelled
        st.page_link(
            "pages/correct/page.py",
            label=t("Draw boxes on these images") if new else t("Correct these boxes"),
            icon=":material/edit_square:",
            query_params={"dataset": name},
        )
        if new:
            counting(name)
        elif ready:
            next_step(
                "pages/models/page.py",
                t("train a baseline"),
                t("The detector that will be made lighter, trained on these images."),
                dataset=name,
                view="train",
            )
        elif not any(sum(parts.values()) for parts in chosen.objects().values()):
            next_step(
                "pages/plate/page.py",
                t("count them"),
                t("These images have no labels: a model of this lab counts them, well by well."),
                dataset=name,
                view="start",
                way="dataset",
            )
        else:
            next_step(
                "pages/data/page.py",
                t("add what is missing"),
                t("Import the images again with what the badge names."),
                view="add",
            )
    rename_or_delete(name, sets[name].words)
