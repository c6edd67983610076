"""In which way milliseconds were or will be measured, on the pages."""

from __future__ import annotations

from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from msip_core.config import PruneConfig
from msip_core.gpus import gpu_count
from msip_core.language import mark, t
from msip_core.markdown import Text, md
from msip_core.runs.slots import is_gpu, slot_of
from msip_core.views import wording
from msip_core.ways import GPU_FORMATS, PRECISIONS, Way
from pages.kit.words import labelled

_BATCHES = (1, 4, 8, 16, 32, 64)
_PLACES = {"cpu": mark("on the processor"), "auto": mark("on the GPU of the run")}


def way_words(way: Way) -> Text:
    """'ONNX Runtime on the processor, fp32, batch 1'."""
    form = wording.format_name(way.format)
    if way.on_gpu:
        return t(
            "{format} on GPU {gpu}, {precision}, batch {n}",
            format=form,
            gpu=way.hardware or way.device,
            precision=way.precision,
            n=way.batch,
        )
    return t(
        "{format} on the processor, {precision}, batch {n}",
        format=form,
        precision=way.precision,
        n=way.batch,
    )


def goal_way_words(config: PruneConfig, measured: Way | None = None) -> Text:
    """In which way a run's goal is measured, also before it was."""
    if measured is not None:
        return way_words(measured)
    if config.latency_device == "cpu":
        return way_words(config.latency_way("cpu"))
    slot = slot_of(config.device)
    way = config.latency_way(slot if is_gpu(slot) else "cpu")
    if not way.on_gpu:
        return way_words(way)
    return t(
        "{format} on the GPU of the run, {precision}, batch {n}",
        format=wording.format_name(way.format),
        precision=way.precision,
        n=way.batch,
    )


def misplaced(config: PruneConfig) -> str | None:
    """Why a goal cannot be measured where it was asked; None where it can."""
    if config.goal[0] != "latency" or config.latency_device == "cpu":
        return None
    if is_gpu(slot_of(config.device)):
        return None
    return t(
        "The time is to be measured on the GPU of the run, and this run uses none: choose a GPU "
        "as its device, or measure on the processor."
    )


def gpu_devices() -> list[str]:
    """The GPUs of this computer, as settings call them."""
    return [f"cuda:{n}" for n in range(gpu_count())]


def way_fields() -> dict[str, object]:
    """Choose where and in which way a goal in milliseconds is measured; settings of a run."""
    device = "cpu"
    if gpu_devices():
        chosen: Any = st.segmented_control(
            md(labelled(t("Measured"), t("device"))),
            ["auto", "cpu"],
            format_func=lambda name: md(t(_PLACES[name])),
            default="auto",
            key="new:latency_device",
            required=True,
            persist_state="session",
        )
        device = str(chosen)
    columns = st.columns(3) if device == "auto" else [st.container()]
    forms: list[str] = ["onnx", "openvino", "pytorch"] if device == "cpu" else [*GPU_FORMATS]
    usual = 0 if device == "cpu" else forms.index("cudagraph")
    form = columns[0].selectbox(
        md(labelled(t("Measured in"), t("the format that will be deployed"))),
        forms,
        index=usual,
        format_func=wording.format_name,
        # Widgets of other options need another name: a remembered choice may not be among them.
        key="new:format" if device == "cpu" else "new:format:gpu",
        persist_state="session",
    )
    if device == "cpu":
        return {"latency_format": form}
    return {"latency_device": "auto", "latency_format": form, **_on_gpu(*columns[1:])}


def _on_gpu(left: DeltaGenerator, right: DeltaGenerator) -> dict[str, object]:
    """What only a GPU leaves to choose."""
    precision = left.selectbox(
        md(labelled(t("Numbers"), t("floating point"))),
        list(PRECISIONS),
        index=PRECISIONS.index("fp16"),
        key="new:latency_precision",
        help=t("Half precision (fp16) is what GPUs are deployed in."),
        persist_state="session",
    )
    batch = right.selectbox(
        md(labelled(t("Images at a time"), t("when it is timed"))),
        _BATCHES,
        index=_BATCHES.index(32),
        key="new:latency_batch",
        help=t(
            "A single small image leaves a GPU waiting to be started: there, fewer channels save "
            "little. Choose what will run later."
        ),
        persist_state="session",
    )
    return {"latency_precision": precision, "latency_batch": batch}
