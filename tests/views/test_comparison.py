"""Measured latency and agreement as data and figure."""

from __future__ import annotations

from dataclasses import replace

from msip_core.views import comparison
from tests.views import samples


def test_latency_bars_come_in_pairs_with_their_intervals():
    info = comparison.latency_info(samples.compare_result().latency)

    assert [(bar.setting, bar.model) for bar in info.bars] == [
        ("PyTorch, processor, fp32, batch 1", "baseline"),
        ("PyTorch, processor, fp32, batch 1", "pruned"),
        ("ONNX Runtime, processor, fp32, batch 1", "baseline"),
        ("ONNX Runtime, processor, fp32, batch 1", "pruned"),
    ]
    assert info.bars[0].low < info.bars[0].median < info.bars[0].high


def test_the_same_format_on_two_devices_is_two_pairs():
    gpu = {"device": "cuda:0", "hardware": "NVIDIA H200", "precision": "fp16", "batch": 32}
    entries = [m for m in samples.compare_result().latency if m.format == "onnx"]

    bars = comparison.latency_info([*entries, *(replace(m, **gpu) for m in entries)]).bars

    assert [bar.setting for bar in bars[::2]] == [
        "ONNX Runtime, processor, fp32, batch 1",
        "ONNX Runtime, GPU NVIDIA H200, fp16, batch 32",
    ]


def test_latency_figure_shows_the_interval_and_marks_the_pruned_model_with_a_hatch():
    info = comparison.latency_info(samples.compare_result().latency)
    baseline, pruned = comparison.latency_figure(info).data

    assert tuple(baseline.x) == (61.0, 40.0)
    assert abs(baseline.error_x.array[0] - 61.0 * 0.05) < 1e-9
    assert abs(baseline.error_x.arrayminus[0] - 61.0 * 0.04) < 1e-9
    assert pruned.marker.pattern.shape != baseline.marker.pattern.shape


def test_a_format_measured_for_one_model_only_is_shown_alone():
    alone = [m for m in samples.compare_result().latency if m.name == "pruned"][:1]

    assert [bar.model for bar in comparison.latency_info(alone).bars] == ["pruned"]


def test_agreement_counts_missing_kinds_as_none_found():
    info = comparison.agreement_info({"both": 5, "lost": 2})

    assert info.counts == {"both": 5, "class changed": 0, "lost": 2, "new": 0}
    assert info.of_baseline == 7
    bars = comparison.agreement_figure(info).data
    assert [bar.x[0] for bar in bars] == [5, 0, 2, 0]
    assert [bar.name.split()[0] for bar in bars] == ["5", "0", "2", "0"]  # in the legend


def test_images_that_differ_most_come_first_and_agreeing_ones_not_at_all():
    images = [
        samples.compared_image("same", ["both", "both"]),
        samples.compared_image("crowded", [*["both"] * 9, "lost", "new"]),
        samples.compared_image("worst", ["lost", "new", "class changed"]),
        samples.compared_image("small", ["lost", "new"]),
    ]

    found = comparison.most_different(images)
    assert [(item.image, item.different, item.objects) for item in found] == [
        ("worst", 3, 3),
        ("small", 2, 2),
        ("crowded", 2, 11),
    ]
    assert [item.image for item in comparison.most_different(images, 1)] == ["worst"]
