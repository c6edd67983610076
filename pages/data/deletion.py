"""A dataset's title, and deleting it: what hangs on it is named before the second click."""

from __future__ import annotations

import streamlit as st

from msip_core.data.writing import rename_dataset
from msip_core.language import mark, t
from msip_core.studies.dependants import delete_unused, dependants_of
from pages.kit.keeping import deletion, renaming
from pages.kit.lab import lab

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
