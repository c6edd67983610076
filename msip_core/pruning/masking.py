"""Removing channels on paper: their batch norms say zero, so nothing of them goes on.

With gamma and beta at zero a channel's output is act(0) = 0, over additions, concatenations and
pooling too, which is the same as the cut network (zeroing convolution weights is not: act(beta)
stays). It also holds while batch norm is recalibrated: the other channels never see the masked
ones, so their statistics are those of the cut network. A mask takes a copy of the model and
milliseconds, where surgery must trace the couplings anew.
Source: method sheet, section 2 (masked == physical).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from msip_core.detector.library import DetectionModel, copy_model
from msip_core.errors import WrongModelError
from msip_core.importance.members import members, width


class _Entries(NamedTuple):
    """Channels of one batch norm, and the place of each among the group's channels."""

    name: str
    indices: Tensor
    positions: Tensor


class Mask:
    """Batch norms of each group, found once; used on copies of the model that they were found in.

    Raises:
        WrongModelError: a convolution has no batch norm behind it, so zero would not be zero.
    """

    def __init__(self, groups: Mapping[str, Any]) -> None:
        self._norms = {name: _norms(name, group) for name, group in groups.items()}

    def masked(self, model: DetectionModel, removed: Mapping[str, Sequence[int]]) -> DetectionModel:
        """A copy of `model` in which these channels of each group say nothing."""
        twin = copy_model(model)
        layers = dict(twin.named_modules())
        with torch.no_grad():
            for name, channels in removed.items():
                gone = torch.tensor(list(channels), dtype=torch.long)
                for norm in self._norms[name]:
                    places = norm.indices[torch.isin(norm.positions, gone)]
                    layer: Any = layers[norm.name]
                    layer.weight[places] = 0
                    layer.bias[places] = 0
        return twin


def _norms(name: str, group: Any) -> list[_Entries]:
    found = list(members(group))
    filters = sum(len(m.indices) for m in found if m.kind in ("out", "depthwise"))
    norms = [m for m in found if m.kind == "norm"]
    if filters != sum(len(m.indices) for m in norms) or not all(
        isinstance(m.layer, nn.BatchNorm2d) for m in norms
    ):
        raise WrongModelError(
            f"Layer {name} (of {width(group)} channels) has no batch norm of its own, so a search "
            "cannot try it out: use an unfused YOLOv8 detector."
        )
    return [_Entries(m.name, m.indices, m.positions) for m in norms]
