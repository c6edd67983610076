"""Channels per layer: parts, order, sums."""

from __future__ import annotations

import pytest

from msip_core.events import LayerChannels
from msip_core.views import channels
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


def test_the_figure_has_an_outline_for_the_original_and_a_bar_for_what_is_left():
    info = channels.channels_info(samples.layers(5, 5))
    before, now = channels.channels_figure(info).data

    assert tuple(before.x) == tuple(bar.original for bar in info.bars)
    assert tuple(now.x) == tuple(bar.after for bar in info.bars)
    assert set(before.y[0]) == {channels.part_label(info, part) for part in channels.PARTS}
