"""Files to take home: the model in several formats, the report, one zip of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import streamlit as st

from msip_core.models import open_card
from msip_core.runs.state import RunState
from msip_core.views.evidence import choose_images, micrograph_of
from msip_core.views.report import write_report
from msip_core.views.story import read_story
from msip_core.views.wording import megabytes
from pages.shared.choose import choose
from pages.shared.compare_numbers import compare_question
from pages.shared.detections import pixels_of
from pages.shared.jobs import finished, job_folder, job_panel
from pages.shared.lab import lab
from pages.shared.layout import facts
from pages.shared.model_card import accuracy_facts, cost_facts
from pages.shared.pair import ModelPair, pair_dataset
from pages.shared.words import small

_EXPORTS = {
    "onnx": ("ONNX", "ONNX Runtime, Netron, many programs"),
    "openvino": ("OpenVINO", "fast on Intel CPUs"),
    "torchscript": ("TorchScript", "C++ and mobile"),
}


def model_files(pair: ModelPair) -> None:
    """model.pt as it is, and other formats made on demand."""
    offered = [
        model_id
        for model_id in (pair.run.model_id, pair.config.model)
        if model_id and not model_id.endswith(".pt")
    ]
    if not offered:
        st.info(
            "The lighter model can be taken home once the run is done.", icon=":material/hourglass:"
        )
        return
    cards = {model_id: open_card(lab().workspace, model_id) for model_id in offered}
    card = cards[choose("Model", offered, "model", words=lambda i: cards[i].name)]
    facts([*accuracy_facts(card.val), *cost_facts(card.cost, card.macs_ratio)])
    weights = lab().workspace.model_dir(card.id) / "model.pt"
    st.markdown(f"**For Ultralytics** {small('model.pt')}")
    st.caption('Opens in stock Ultralytics: `YOLO("model.pt").predict("image.png")`.')
    download(weights, f"{card.id}.pt", "Download model.pt", place="pt")
    st.markdown("**For other programs**")
    for form, (word, where) in _EXPORTS.items():
        with st.container(border=True):
            st.markdown(f"{word} {small(where)}")
            _export(card.id, form, word)


def _export(model_id: str, form: str, word: str) -> None:
    params = {"model": model_id, "format": form}
    result = job_panel(
        "export", params, label=f"Make the {word} file", place=f"export:{form}", quiet=True
    )
    if result is None:
        return
    path = job_folder("export", params) / str(result["path"])
    download(path, f"{model_id}-{path.name}", f"Download {path.name}", place=form)


def report_file(pair: ModelPair) -> None:
    """One HTML file that opens anywhere, without this program."""
    st.markdown("**Report** " + small("one HTML file, opens anywhere"))
    data = pair_dataset(pair)
    compared = finished("compare", compare_question(pair, data))
    if compared is None:
        st.caption(
            "Counts and pictures of the test images come into the report once they were counted "
            "on the page “Before and after”."
        )
    micrographs = [
        micrograph_of(item, pixels_of(data, data.image(item["id"])), data.classes)
        for item in (choose_images(compared) if compared else [])
    ]
    out = lab().workspace.cache / "exports" / f"{pair.run.id}-report.html"

    def write() -> BinaryIO:
        story = read_story(lab().workspace, lab().runs, pair.run.id)
        write_report(story, out, compare=compared, micrographs=micrographs, classes=data.classes)
        return out.open("rb")

    st.download_button(
        "Download the report",
        write,
        file_name=out.name,
        mime="text/html",
        icon=":material/article:",
        on_click="ignore",
        key="share:report",
    )


def run_zip(pair: ModelPair) -> None:
    """Settings, data manifest, models and metrics: all that is needed to repeat the run."""
    st.markdown("**Whole run** " + small("one zip, a small workspace of its own"))
    if pair.run.state is not RunState.COMPLETED:
        st.caption("The run is not done: the zip holds what there is so far.")
    images = st.toggle("With the images", value=True, key="share:images")
    name = f"{pair.run.id}{'' if images else '-without-images'}.zip"
    target = lab().workspace.cache / "exports" / name

    def write() -> BinaryIO:
        return lab().runs.export(pair.run.id, target, with_images=images).open("rb")

    st.download_button(
        "Download the whole run",
        write,
        file_name=name,
        mime="application/zip",
        icon=":material/folder_zip:",
        on_click="ignore",
        key="share:zip",
    )
    st.caption("Packed when you click; with many images this takes a while.")


def download(path: Path, name: str, label: str, *, place: str) -> None:
    """A file of the disk as a download; read only when it is clicked."""

    def read() -> Any:
        return path.open("rb")

    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            label,
            read,
            file_name=name,
            mime="application/octet-stream",
            icon=":material/download:",
            on_click="ignore",
            key=f"download:{place}",
        )
        st.caption(megabytes(path.stat().st_size / 1e6), width="content")
