"""Start a count: which images, which model, beside which other one; everything else folded away."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from msip_core.config import CountConfig, parse_run_config
from msip_core.counts import usual_name
from msip_core.data.grouping import find_groups
from msip_core.data.writing import WIDEST_PIXEL
from msip_core.language import mark, t, tn
from msip_core.markdown import md
from msip_core.models import ModelCard, list_models
from msip_core.plates.sheet import MOST_BYTES, parse_sheet
from msip_core.settings import get_settings
from pages.kit.asking import ask_for, show_command
from pages.kit.choose import asked, choose, choose_view, distinct, remember
from pages.kit.lab import datasets, lab
from pages.kit.layout import empty
from pages.kit.new_dataset import stack_fields
from pages.kit.of_studies import models_switch, models_to_choose
from pages.kit.run_fields import device_field
from pages.kit.upload import files_field, keep_upload, server_path, upload_of

_WAYS = {
    "browser": mark("Upload from my computer"),
    "server": mark("Folder on the server"),
    "dataset": mark("A dataset of this lab"),
}
_PARTS = {
    "all": mark("all images"),
    "test": mark("kept for the final test"),
    "val": mark("to check"),
    "train": mark("to learn"),
}
_KINDS = ["zip", "png", "jpg", "jpeg", "bmp", "tif", "tiff", "czi", "lif", "nd2"]
_SHEETS = ["csv", "tsv", "txt", "xlsx"]


def start_form() -> None:
    """The whole way: images, models, settings, Start."""
    cards = list_models(lab().workspace)
    if not cards:
        empty(
            t("No model can count yet."),
            ("pages/models/page.py", t("Train a baseline or upload weights")),
        )
        return
    left, right = st.columns([4, 3], gap="large")
    with left:
        source = _source()
    with right:
        models = _models(cards)
        sheet = _sheet()
        usual = usual_name(source.get("source", ""), source.get("dataset", "")) if source else ""
        name = st.text_input(t("Name of the count"), placeholder=usual, max_chars=80)
    with st.expander(t("Settings"), icon=":material/tune:"):
        settings = _settings()
    if not source:
        st.caption(t("Choose the images first."))
        return
    config = parse_run_config(
        {"kind": "count", "name": name.strip() or usual, **source, **models, **settings, **sheet}
    )
    assert isinstance(config, CountConfig)
    if st.button(t("Count"), type="primary", icon=":material/play_arrow:", key="plate:start"):
        remember("count", ask_for(config))
        st.query_params["view"] = "look"
        st.rerun()
    st.caption(t("It runs in the background, like a run: this page can be closed meanwhile."))
    show_command(config)


# --- images -------------------------------------------------------------------


def _source() -> dict[str, Any]:
    """`source`, or `dataset` with `part`; empty before anything is chosen."""
    way = choose_view(
        _WAYS, "browser", "plate", param="way", label=mark("Where are the images?"), show_label=True
    )
    if way == "dataset":
        return _of_dataset()
    path = _from_browser() if way == "browser" else _from_server()
    return {} if path is None else {"source": str(path)}


def _of_dataset() -> dict[str, Any]:
    sets = {item.name: item for item in datasets()}
    if not sets:
        empty(t("No images yet."), ("pages/data/page.py", t("Bring in images")))
        return {}
    name = choose(t("Dataset"), list(sets), "dataset", words=lambda one: sets[one].words)
    part = st.selectbox(
        t("Which of its images?"),
        list(_PARTS),
        format_func=lambda one: t(_PARTS[one]),
        key="plate:dataset-part",
        help=t(
            "Images that the model has learned from are counted better than new ones: how sure a "
            "count is, only the others tell."
        ),
    )
    return {"dataset": name, "part": part}


def _from_browser() -> Path | None:
    as_folder = st.toggle(t("Upload a whole folder"), key="plate:folder")
    label = t("A folder of images") if as_folder else t("Images, or a zip of a plate")
    files = files_field(label, _KINDS, "plate:upload", as_folder=as_folder)
    st.caption(
        t(
            "PNG, JPEG, BMP, TIFF, OME-TIFF, CZI, LIF, ND2; OME-Zarr in a zip. Wells are read from "
            "the names, as microscopes write them. No labels are needed."
        )
    )
    kept = upload_of(files)
    if files:
        st.caption(md(tn("{n} file is here.", "{n} files are here.", len(files))))
    elif kept:
        st.caption(md(t("Uploaded before: {name}", name=kept.name)))
    return kept


def _from_server() -> Path | None:
    roots = get_settings().import_roots
    if not roots:
        st.info(
            t("No folder of the server is open to this page: whoever runs the lab can allow some."),
            icon=":material/folder_off:",
        )
        return None
    text = st.text_input(
        t("Folder, zip or file on the server"), key="plate:path", placeholder=str(roots[0])
    )
    return server_path(text, roots) if text else None


# --- models and sheet ---------------------------------------------------------


def _models(cards: Sequence[ModelCard]) -> dict[str, Any]:
    offered = models_to_choose(cards, asked=asked("model"))
    model = choose(
        t("Counted by"), list(offered), "model", words=lambda i: offered[i].name, what=t("Model")
    )
    models_switch(cards, "plate")
    others = [card_id for card_id in offered if card_id != model]
    if not others:
        return {"model": model}
    names = distinct(others, lambda i: offered[i].name)
    usual = offered[model].baseline_id
    options = ["", *others]
    baseline = st.selectbox(
        t("Beside it, as the reference"),
        options,
        index=options.index(usual) if usual in others else 0,
        format_func=lambda i: names[i] if i else t("no other model"),
        key=f"plate:baseline:{model}",
        help=t(
            "Both count the same images: whether the lighter model gives the same biology stands "
            "in the results. It takes the time of both."
        ),
    )
    return {"model": model, **({"baseline": baseline} if baseline else {})}


def _sheet() -> dict[str, Any]:
    """A sample sheet that was uploaded, kept on disk; it can be given later as well."""
    file = st.file_uploader(
        t("Sample sheet (can be given later)"),
        type=_SHEETS,
        max_upload_size=MOST_BYTES // 1024**2,
        key="plate:sheet",
        help=t("A table with a row a well: plate, well, condition, dose, unit, replicate."),
    )
    if file is None:
        return {}
    parse_sheet(file.getvalue(), file.name)  # its faults are said now, not at the end
    return {"sample_sheet": str(keep_upload(lab().workspace, [file]))}  # type: ignore[list-item]


def _settings() -> dict[str, Any]:
    left, right = st.columns(2)
    conf = left.slider(
        t("Lowest score of an object"), 0.05, 0.95, 0.25, 0.05, key="plate:conf",
        help=t("Lower finds more and takes more for an object that is none."),
    )  # fmt: skip
    pixel = right.number_input(
        t("Micrometres per pixel"),
        min_value=0.0,
        max_value=WIDEST_PIXEL,
        value=0.0,
        format="%.4f",
        key="plate:pixel",
        help=t("0: as the files say it; where they do not, sizes are in pixels."),
    )
    group = left.text_input(
        t("Group pattern: the well in a name"),
        max_chars=200,
        key="plate:group",
        help=t("Only where wells are not found by themselves: its brackets stand around the well."),
    )
    find_groups(["name"], group.strip() or None)  # one that is none is said here, not by the run
    with right:
        device = device_field("plate")
    channel, stack, every = stack_fields("plate")
    return {
        "conf": conf,
        "pixel_size_um": pixel or None,
        "group": group.strip() or None,
        "device": device,
        "channel": channel,
        "stack": stack,
        "every": every,
    }
