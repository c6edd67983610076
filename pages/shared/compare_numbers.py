"""Two models in numbers: accuracy, cost, speed measured here, and counts over all test images."""

from __future__ import annotations

from typing import Any

import streamlit as st

from msip_core.data.dataset import Dataset
from msip_core.events import Cost, Metrics
from msip_core.views import comparison, sentences, tables
from msip_core.views.wording import plural
from pages.shared.jobs import job_panel
from pages.shared.lab import lab
from pages.shared.layout import chart
from pages.shared.pair import ModelPair, prefixed

_FORMATS = {"pytorch": "PyTorch", "onnx": "ONNX Runtime", "openvino": "OpenVINO"}


def numbers(pair: ModelPair) -> None:
    """Accuracy and cost from the run's own records: on test where it was measured, else val."""
    measured = _measured(pair)
    if measured is None:
        st.caption("The baseline of this run has not been measured yet.")
        return
    rows = [
        row
        for row in tables.metrics_rows(*measured)
        # A step in the middle of a run records mAP, not precision and recall.
        if measured[1][0].precision or row["quantity"] not in ("precision", "recall")
    ]
    st.dataframe(rows, hide_index=True, alt="Accuracy and cost of both models and the change")
    st.caption(
        f"Measured on the {measured[0][0].split} part "
        f"({plural(measured[0][0].images, 'image')}), the same for both models. "
        + (sentences.sample_sentence(measured[0][0]) or "")
    )


def _measured(pair: ModelPair) -> tuple[tuple[Metrics, Cost], tuple[Metrics, Cost]] | None:
    runs = lab().runs
    baseline, final = runs.baseline(pair.run.id), runs.final(pair.run.id)
    if baseline is None:
        return None
    if final and pair.iteration == final.iteration:
        if final.test and final.baseline_test:
            return (final.baseline_test, baseline.cost), (final.test, final.cost)
        return (baseline.metrics, baseline.cost), (final.metrics, final.cost)
    record = next(r for r in runs.iterations(pair.run.id) if r.index == pair.iteration)
    metrics = Metrics(
        split="val",
        map50=record.map50_after,
        map50_95=record.map50_95_after,
        images=baseline.metrics.images,
    )
    cost = Cost(
        macs=record.macs, params=record.params, size_mb=record.size_mb, imgsz=baseline.cost.imgsz
    )
    return (baseline.metrics, baseline.cost), (metrics, cost)


def speed(pair: ModelPair) -> None:
    """Latency of both models, interleaved, in the formats that people deploy."""
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    formats = left.pills(
        "File formats",
        list(_FORMATS),
        format_func=_FORMATS.__getitem__,
        selection_mode="multi",
        default=["pytorch", "onnx"],
        key="speed:formats",
    )
    batch = right.segmented_control(
        "Images at a time", [1, 8], default=1, key="speed:batch", required=True
    )
    if not formats:
        st.caption("Choose at least one file format.")
        return
    params: dict[str, Any] = {
        **prefixed(pair.baseline, "baseline"),
        **prefixed(pair.pruned, "pruned"),
        "imgsz": pair.config.imgsz,
        "batch": batch,
        "formats": sorted(formats),
    }
    result = job_panel(
        "latency",
        params,
        label="Measure the speed",
        place="latency",
        note="Both models in turn, with warm-up: about a minute. Best while nothing else runs.",
    )
    if result is None:
        return
    latency = result["latency"]
    st.markdown(sentences.latency_sentence(latency))
    chart(
        comparison.latency_figure(comparison.latency_info(latency)),
        "latency",
        "Milliseconds per image of both models in each format, with 95 % intervals",
    )


def compare_question(pair: ModelPair, data: Dataset) -> dict[str, Any]:
    """What the "compare" job is asked, the same on every page, so that one answer serves all.

    Accuracy is left out: the run has measured it on the same images.
    """
    return {
        **prefixed(pair.baseline, "baseline"),
        **prefixed(pair.pruned, "pruned"),
        "dataset": data.name,
        "split": "test",
        "imgsz": pair.config.imgsz,
        "metrics": False,
    }


def all_images(pair: ModelPair, data: Dataset) -> None:
    """Agreement and counts over the whole test part, with CSV per object, image and well."""
    images = data.split("test")
    params = compare_question(pair, data)
    result = job_panel(
        "compare",
        params,
        label=f"Count on {plural(len(images), 'test image')}",
        place="compare",
        note="Both models on every image of the test part.",
    )
    if result is None:
        return
    st.markdown(sentences.agreement_sentence(result["agreement"]))
    info = comparison.agreement_info(result["agreement"])
    chart(
        comparison.agreement_figure(info),
        "agreement",
        "Objects found by both models, with changed class, lost and new",
    )
    per_image = tables.compare_count_rows(result, data.classes)
    st.dataframe(per_image, hide_index=True, height=260, alt="Counts per image of both models")
    files = {
        "Counts per image": per_image,
        "Counts per well": tables.compare_count_rows(result, data.classes, by_group=True),
        "Every object": tables.pair_rows(result, data.classes),
    }
    with st.container(horizontal=True):
        for word, rows in files.items():
            st.download_button(
                f"{word} (CSV)",
                tables.to_csv(rows),
                file_name=f"{pair.run.id}-{word.lower().replace(' ', '-')}.csv",
                mime="text/csv",
                icon=":material/download:",
                on_click="ignore",
                key=f"csv:{word}",
            )
