"""A dataset as a zip for another program."""

from __future__ import annotations

from typing import BinaryIO

import streamlit as st

from msip_core.data.dataset import Dataset
from msip_core.data.export import export_dataset
from msip_core.data.export_formats import FORMATS
from msip_core.language import t
from pages.kit.lab import lab
from pages.kit.saving import save_button


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
