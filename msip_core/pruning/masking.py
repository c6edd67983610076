"""Removing channels on paper: their batch norms say zero, so nothing of them goes on.

With gamma and beta at zero a channel's output is act(0) = 0, over additions, concatenations and
pooling too, which is the same as the cut network (zeroing convolution weights is not: act(beta)
stays). It also holds while batch norm is recalibrated: the other channels never see the masked
ones, so their statistics are those of the cut network. Surgery must trace the couplings anew for
every cut; a mask takes milliseconds, and one working copy serves all trials.
Source: method sheet, section 2 (masked == physical).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from msip_core.detector.library import DetectionModel, copy_model
from msip_core.errors import WrongModelError
from msip_core.groups.members import members, width


class _Entries(NamedTuple):
    """Channels of one batch norm, and the place of each among the group's channels."""

    norm: nn.Module
    indices: Tensor
    positions: Tensor


class Mask:
    """A copy of a model, of which channels can be masked again and again.

    Args:
        model: left as it is.
        groups: its groups of coupled channels.

    Raises:
        WrongModelError: a convolution has no batch norm behind it, so zero would not be zero.
    """

    def __init__(self, model: DetectionModel, groups: Mapping[str, Any]) -> None:
        self._model = copy_model(model)
        layers = dict(self._model.named_modules())
        self._norms = {name: _norms(name, group, layers) for name, group in groups.items()}
        self._start = [
            (norm, {key: value.clone() for key, value in norm.state_dict().items()})
            for norm in layers.values()
            if isinstance(norm, nn.BatchNorm2d)
        ]

    @torch.no_grad()
    def masked(self, removed: Mapping[str, Sequence[int]]) -> DetectionModel:
        """The model without these channels of each group, otherwise as at the start, batch-norm
        statistics too. It is the one working copy: valid until the next call."""
        for norm, values in self._start:
            for key, value in norm.state_dict().items():
                value.copy_(values[key])
        for name, channels in removed.items():
            gone = torch.tensor(list(channels), dtype=torch.long)
            for entries in self._norms[name]:
                places = entries.indices[torch.isin(entries.positions, gone)]
                layer: Any = entries.norm
                layer.weight[places] = 0
                layer.bias[places] = 0
        return self._model


def _norms(name: str, group: Any, layers: Mapping[str, nn.Module]) -> list[_Entries]:
    found = list(members(group))
    filters = sum(len(m.indices) for m in found if m.kind in ("out", "depthwise"))
    norms = [m for m in found if m.kind == "norm"]
    if filters != sum(len(m.indices) for m in norms):
        raise WrongModelError(
            "Layer {name} (of {width} channels) has no batch norm of its own, so a search "
            "cannot try it out: use an unfused YOLOv8 detector.",
            name=name,
            width=width(group),
        )
    return [_Entries(layers[m.name], m.indices, m.positions) for m in norms]
