"""Where backbone, neck and head of a network begin, read from the network itself.

The head is the last layer (Detect). The neck begins after the layers that the network's own
description lists as backbone; without a description, at the first upsampling, with which every
top-down neck begins. YOLOv8: 10 and 22; with depthwise-separable convolutions more layers, and
both elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from torch import nn

from msip_core.errors import WrongModelError

# Pixels at which networks are traced and their costs counted. It is a multiple of the largest
# stride, so H*W of every layer grows with (imgsz / 64)^2 exactly.
PROBE_SIZE = 64
_LAYER = re.compile(r"^model\.(\d+)\.")


class Layout(NamedTuple):
    """First layer of the neck and of the head in the network's list of layers."""

    neck: int
    head: int

    def stage(self, layer: int) -> int:
        """0 backbone, 1 neck, 2 head."""
        return 0 if layer < self.neck else 1 if layer < self.head else 2


YOLOV8 = Layout(10, 22)


class GroupName(str):
    """Name of a group's root convolution, which knows how its network is laid out.

    Equal to the plain text in every other way, so that it can be looked up and written down as
    such.
    """

    layout: Layout

    def __new__(cls, name: str, layout: Layout) -> GroupName:
        made = super().__new__(cls, name)
        made.layout = layout
        return made

    def __getnewargs__(self) -> tuple[str, Layout]:  # type: ignore[override]
        return str(self), self.layout


def layer_of(name: str) -> int:
    """Index in the network's list of layers: 15 for 'model.15.m.0.cv1.conv'.

    Raises:
        WrongModelError: the name is not in such a list.
    """
    found = _LAYER.match(name)
    if not found:
        raise WrongModelError(
            "{name} is not in YOLOv8's list of layers: use a YOLOv8 detector.", name=name
        )
    return int(found.group(1))


def layout_of(model: nn.Module) -> Layout | None:
    """Where the stages of a detector begin; None for a network without a list of layers."""
    layers = getattr(model, "model", None)
    if not isinstance(layers, nn.Sequential) or len(layers) < 2:
        return None
    described = getattr(model, "yaml", None)
    backbone = described.get("backbone") if isinstance(described, dict) else None
    if backbone and len(backbone) + len(described.get("head", ())) == len(layers):  # type: ignore[union-attr]
        return Layout(len(backbone), len(layers) - 1)
    first = next((i for i, one in enumerate(layers) if isinstance(one, nn.Upsample)), None)
    return None if first is None else Layout(first, len(layers) - 1)


def in_network(model: nn.Module, names: Iterable[str]) -> tuple[str, ...]:
    """The names, each with its stage in this network where it has stages."""
    layout = layout_of(model)
    if layout is None:
        return tuple(names)
    return tuple(GroupName(name, layout) if _LAYER.match(name) else name for name in names)


def layout_for(name: str) -> Layout:
    """Of the network that the name comes from; YOLOv8 as published for a plain text."""
    return name.layout if isinstance(name, GroupName) else YOLOV8
