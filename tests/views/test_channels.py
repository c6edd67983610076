"""Channels per layer: parts, order, sums."""

from __future__ import annotations

import dataclasses

import matplotlib.pyplot as plt
import pytest

from msip_core.events import LayerChannels
from msip_core.views import channels, paper_runs, report
from msip_core.views.paper_page import alone
from tests.views import samples


def layer(name: str, original: int, after: int) -> LayerChannels:
    return LayerChannels(name=name, before=original, after=after, original=original)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("model.0.conv", "backbone"),
        ("model.9.cv2.conv", "backbone"),
        ("model.12.cv0.conv", "neck"),
        ("model.21.m.0.cv1.conv", "neck"),
        ("model.22.cv3.0.0.conv", "head"),
        ("model.model.22.cv2.1.0.conv", "head"),
    ],
)
def test_layers_are_told_apart_by_their_place_in_yolov8(name, part):
    assert channels.part_of(name) == part


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("model.0.conv", "0"),
        ("model.15.m.0.cv1.conv", "15 · m.0.cv1"),
        ("model.22.cv3.0.1.conv", "22 · cv3.0.1"),
    ],
)
def test_labels_keep_what_tells_layers_apart(name, label):
    assert channels.short_label(name) == label


def test_sums_per_part_and_order_follow_the_network_not_the_file():
    info = channels.channels_info(
        [
            layer("model.22.cv2.0.0.conv", 64, 48),
            layer("model.1.conv", 32, 24),
            layer("model.0.conv", 16, 8),
            layer("model.12.cv1.conv", 64, 64),
        ]
    )

    assert [bar.label for bar in info.bars] == ["0", "1", "12 · cv1", "22 · cv2.0.0"]
    assert info.totals == {"backbone": (48, 32), "neck": (64, 64), "head": (64, 48)}
    assert channels.part_label(info, "backbone") == "backbone: 33 % removed"
    assert info.bars[0].removed == 0.5


def test_layers_of_one_block_keep_their_order():
    names = ["model.2.cv1.conv", "model.2.cv0.conv", "model.2.m.0.cv1.conv"]

    info = channels.channels_info([layer(name, 8, 8) for name in names])

    assert [bar.name for bar in info.bars] == names


def test_the_picture_has_outlines_of_the_baseline_and_is_filled_with_what_is_left():
    info = channels.channels_info(samples.layers(5, 5))
    before, now = channels.network_figure(info).data

    assert tuple(before.y) == tuple(bar.original for bar in info.bars)
    assert tuple(now.y) == tuple(bar.after for bar in info.bars)
    # Each bar stands around the middle line, so that the network thins out to it.
    assert tuple(now.base) == tuple(-bar.after / 2 for bar in info.bars)
    assert list(now.x) == sorted(now.x)


def test_the_scale_of_the_picture_stays_that_of_the_baseline():
    early, late = (
        channels.network_figure(channels.channels_info(samples.layers(step, 5))) for step in (1, 5)
    )

    assert early.layout.yaxis.range == late.layout.yaxis.range
    assert sum(late.data[1].y) < sum(early.data[1].y)


def test_parts_of_the_picture_are_named_with_what_they_lost_and_stand_apart():
    info = channels.channels_info(
        [
            layer("model.0.conv", 16, 8),
            layer("model.1.conv", 32, 32),
            layer("model.12.cv1.conv", 64, 48),
        ]
    )
    figure = channels.network_figure(info)

    assert [note.text for note in figure.layout.annotations] == [
        "<b>backbone</b><br>−17 %",
        "<b>neck</b><br>−25 %",
    ]
    first, second, third = figure.data[0].x
    assert second - first == 1
    assert third - second > 2
    assert figure.data[1].customdata[2].startswith("12 · cv1: 64 → 48 channels (25 % removed")


def test_the_table_says_the_same_as_the_picture():
    rows = channels.layer_rows(channels.channels_info([layer("model.0.conv", 16, 12)]))

    assert rows == [
        {
            "Part": "backbone",
            "Layer": "model.0.conv",
            "Channels of the baseline": 16,
            "Before this step": 16,
            "Channels left": 12,
            "Removed": "25 %",
        }
    ]


def test_a_run_without_a_finished_step_has_an_empty_picture():
    figure = channels.network_figure(channels.channels_info([]))

    assert len(figure.data[0].x) == 0
    assert [note.text for note in figure.layout.annotations] == [
        "Appears with the first pruning step"
    ]


def test_a_block_that_went_whole_keeps_its_place_as_an_outline_everywhere(history):
    """Removed before this step (nothing before, nothing left) and in it."""
    rows = [
        layer("model.2.cv0.conv", 32, 32),
        LayerChannels(name="model.2.m.0.cv1.conv", before=0, after=0, original=32),
        LayerChannels(name="model.2.m.0.cv2.conv", before=32, after=0, original=32),
    ]
    info = channels.channels_info(rows)

    assert [bar.removed for bar in info.bars] == [0, 1, 1]
    assert info.totals == {"backbone": (96, 32)}
    outline, left = channels.network_figure(info).data
    assert tuple(outline.y) == (32, 32, 32)
    assert tuple(left.y) == (32, 0, 0)
    assert left.customdata[1].startswith("2 · m.0.cv1: 32 → 0 channels (100 % removed")
    assert channels.layer_rows(info)[2]["Channels left"] == 0
    figure = alone(paper_runs.channels_panel(info), 180)
    assert figure.axes
    plt.close(figure)
    last = history.iterations[-1].model_copy(
        update={"layers": tuple(rows), "blocks": ("model.2.m.0",)}
    )
    (part,) = report._layers(dataclasses.replace(history, iterations=(last,), final=None))
    assert part["title"] == "backbone: 67 % removed"
    assert [bar["fill"] for bar in part["bars"]] == [100, 0, 0]
