"""Two models in numbers: accuracy, cost, and speed measured here."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from msip_core.events import Metrics
from msip_core.language import mark, t, tn, told
from msip_core.markdown import joined, md, rich
from msip_core.questions.speed import TimeModels
from msip_core.views import comparison, sentences, tables
from msip_core.views.wording import milliseconds
from msip_core.ways import Latency
from pages.kit.jobs import ask
from pages.kit.layout import chart
from pages.kit.pair import ModelPair, gpu_speed_question, measured_pair, speed_question, unlearned
from pages.kit.ways import gpu_devices, way_words

_FORMATS = {"pytorch": "PyTorch", "onnx": "ONNX Runtime", "openvino": "OpenVINO"}
_SPLITS = {
    "test": mark("test part"),
    "val": mark("validation part"),
    "train": mark("training part"),
}


def numbers(pair: ModelPair) -> None:
    """Accuracy and cost from the run's own records: on test where it was measured, else val."""
    measured = measured_pair(pair)
    if measured is None:
        st.caption(t("The baseline of this run has not been measured yet."))
        return
    unlearned(measured[0][0])
    rows = [
        {
            t("Quantity"): told(row["quantity"]),
            t("Baseline"): row["baseline"],
            t("Lighter model"): row["pruned"],
            t("Change"): row["change"],
        }
        for row in tables.metrics_rows(*measured)
        # A step in the middle of a run records mAP, not precision and recall.
        if measured[1][0].precision or row["quantity"] not in ("precision", "recall")
    ]
    st.dataframe(rows, hide_index=True, alt=t("Accuracy and cost of both models and the change"))
    st.caption(md(_measured_on(measured[0][0])))


def _measured_on(metrics: Metrics) -> str:
    part = t(_SPLITS[metrics.split])
    text = tn(
        "Measured on the {part} ({n} image), the same for both models.",
        "Measured on the {part} ({n} images), the same for both models.",
        metrics.images,
        part=part,
    )
    if 0 < metrics.images < sentences.SMALL_SAMPLE:
        text += " " + t("So few images: small differences may be chance.")
    return text


def speed(pair: ModelPair) -> None:
    """Latency of both models, interleaved, in the formats that people deploy."""
    question = _speed_question(pair)
    if question is None:
        st.caption(t("Choose at least one file format."))
        return
    on_gpu = question.latency_device != "cpu"
    result = ask(
        question,
        label=t("Measure the speed"),
        place="latency",
        note=t(
            "Both models in turn, one image and 32 at a time, in both precisions: a minute or two. "
            "Best while nothing else runs on that GPU."
        )
        if on_gpu
        else t("Both models in turn, with warm-up: about a minute. Best while nothing else runs."),
    )
    if result is None:
        return
    st.markdown(md(_speed_words(result.latency)))
    chart(
        comparison.latency_figure(comparison.latency_info(result.latency)),
        "latency",
        t("Milliseconds per image of both models in each format, with 95 % intervals"),
    )
    for why in dict.fromkeys(one.why for one in result.missing):
        st.caption(md(t("Not measured: {why}", why=told(why))))


def _speed_question(pair: ModelPair) -> TimeModels | None:
    """What is asked: on the processor some formats, on a GPU all ways there."""
    device = "cpu"
    if gpus := gpu_devices():
        device = st.segmented_control(
            t("Where"),
            ["cpu", *gpus],
            format_func=lambda name: md(t("Processor") if name == "cpu" else f"GPU {name}"),
            default=gpus[0],
            key="speed:device",
            required=True,
        )
    if device != "cpu":
        return gpu_speed_question(pair, device)
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    formats = left.pills(
        t("File formats"),
        list(_FORMATS),
        format_func=lambda name: md(_FORMATS[name]),
        selection_mode="multi",
        default=["pytorch", "onnx"],
        key="speed:formats",
    )
    batch = right.segmented_control(
        t("Images at a time"), [1, 8], default=1, key="speed:batch", required=True
    )
    if not formats:
        return None
    return speed_question(pair, sorted(formats), batch)


def _speed_words(latency: Sequence[Latency]) -> str:
    """One line a format; "faster" only where the intervals do not overlap."""
    lines = []
    for way, both in tables.latency_pairs(latency).items():
        if "baseline" not in both or "pruned" not in both:
            continue
        first, second = both["baseline"], both["pruned"]
        times = f"{milliseconds(first.median_ms)} → {milliseconds(second.median_ms)}"
        ratio = first.median_ms / second.median_ms
        words = {
            "faster": t("{ratio:.2f} × faster ({times})", ratio=ratio, times=times),
            "slower": t("{ratio:.2f} × slower ({times})", ratio=1 / ratio, times=times),
            "no difference": t(
                "no measurable difference ({times}, intervals overlap)", times=times
            ),
        }[sentences.verdict(first, second)]
        lines.append(rich("- {where}: {words}", where=way_words(way), words=words))
    if not lines:
        return t("Speed was not measured on this computer.")
    return joined("\n", [t("On this computer:"), *lines])
