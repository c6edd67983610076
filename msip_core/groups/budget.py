"""MACs and parameters of a network as functions of its group widths, without surgery.

    conv          k*k * (in / groups) * out * H*W        (+ out * H*W with a bias)
    batch norm    2 * c * H*W
    max-pool      c * H*W of its input,   upsample  c * H*W of its output

which is what `tp.utils.count_ops_and_params` counts, so the two agree. A layer's in and out
channels are sums over the groups that own them: in = fixed + sum_g (channels per group channel) *
width_g. Everything else (DFL, decoding) does not change and enters as a constant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from msip_core.errors import WrongModelError
from msip_core.groups.copies import count_ops, twin_of
from msip_core.groups.hooks import heard, modes_kept
from msip_core.groups.layers import Geometry
from msip_core.groups.layout import PROBE_SIZE, in_network
from msip_core.groups.members import group_name, group_structure, members

Widths = NDArray[np.int64]


@dataclass(frozen=True)
class Branch:
    """A piece of the network that can be left out.

    Attributes:
        layers: its convolutions, each with its batch norm.
        last: the one of them whose output leaves the piece.
        reader: the convolution outside that loses the input channels which `last` gave.
    """

    layers: tuple[str, ...]
    last: str
    reader: str


class Budget:
    """Cost of a network with any kept widths; made from an unpruned or pruned model and its groups.

    Attributes:
        names: group names, in the order of every width vector.
        structures: the pattern of couplings of each group; alike for isomorphic groups.
        layer_names: names of the convolutions.
        widths: (g,) current channels of each group.
        macs_now: MACs of the model as torch-pruning counts them, at `imgsz`.
    """

    _in: NDArray[np.float64]  # (layers, g) channels of a layer per channel of a group
    _out: NDArray[np.float64]
    _linear: NDArray[np.float64]  # (g,) operations and parameters of batch norms and pooling
    _norm_params: NDArray[np.float64]

    def __init__(self, model: nn.Module, groups: Sequence[Any], imgsz: int) -> None:
        self.names = in_network(model, map(group_name, groups))
        self.structures = tuple(group_structure(group) for group in groups)
        self.widths: Widths = np.array([len(group[0].idxs) for group in groups], np.int64)
        self.imgsz = imgsz
        self._scale = (imgsz / PROBE_SIZE) ** 2
        self._layers(model, groups)
        counted, self.params_now = count_ops(twin_of(model, {}), PROBE_SIZE)
        now = self.widths[None].astype(np.float64)
        self._fixed_macs = counted * self._scale - self._macs(now)[0]
        self._fixed_params = self.params_now - self._params(now)[0]
        self.macs_now = float(self.macs(self.widths))

    def macs(self, widths: NDArray[Any]) -> NDArray[np.float64]:
        """MACs at `imgsz` of the network with these kept widths: (..., g) -> (...,)."""
        w = np.atleast_2d(np.asarray(widths, np.float64))
        return (self._macs(w) + self._fixed_macs).reshape(np.shape(widths)[:-1])

    def params(self, widths: NDArray[Any]) -> NDArray[np.float64]:
        """Parameters of the network with these kept widths: (..., g) -> (...,)."""
        w = np.atleast_2d(np.asarray(widths, np.float64))
        return (self._params(w) + self._fixed_params).reshape(np.shape(widths)[:-1])

    def kappa(self, cost: str = "macs") -> NDArray[np.float64]:
        """What one channel of each group frees at the current widths: (g,).

        Its own filters, their batch norm, and the slices of the filters that read it.
        """
        one_less = self.widths[None] - np.eye(len(self.names), dtype=np.int64)
        count = self.macs if cost == "macs" else self.params
        return np.asarray(count(self.widths) - count(one_less), np.float64)

    def halves(self, widths: Widths) -> float:
        """Half-precision numbers in a file with these kept widths, up to a constant: parameters,
        and the running mean and variance of each batch norm."""
        return float(self.params(widths)) + float(widths @ self._norm_params)

    def layer_widths(self, widths: Widths) -> dict[str, int]:
        """Output channels of every convolution with these kept widths, by name."""
        outside = self._out_fixed + self._out @ np.asarray(widths, np.float64)
        return {name: round(float(out)) for name, out in zip(self.layer_names, outside)}

    def without(self, branches: Sequence[Branch]) -> Budget:
        """The budget of this network with these pieces left out; groups that lived only in them
        are gone."""
        twin, row = copy(self), {name: i for i, name in enumerate(self.layer_names)}
        twin._in, twin._in_fixed = self._in.copy(), self._in_fixed.copy()
        twin._out, twin._out_fixed = self._out.copy(), self._out_fixed.copy()
        twin._linear, twin._norm_params = self._linear.copy(), self._norm_params.copy()
        for branch in branches:
            reader, last = row[branch.reader], row[branch.last]
            twin._in[reader] -= self._out[last]
            twin._in_fixed[reader] -= self._out_fixed[last]
            for i in (row[name] for name in branch.layers):
                twin._linear -= 2 * self._area[i] * self._out[i]
                twin._norm_params -= 2 * self._out[i]
                twin._fixed_macs -= 2 * self._area[i] * float(self._out_fixed[i]) * self._scale
                twin._fixed_params -= 2 * float(self._out_fixed[i])
                twin._out[i], twin._out_fixed[i] = 0, 0
        twin._keep((twin._out != 0).any(0))
        return twin

    def geometries(self) -> dict[str, Geometry]:
        """Every convolution at `imgsz`, at its present width, in the order of `channels`."""
        scale = self.imgsz / PROBE_SIZE
        inputs, outputs = self.channels(self.widths)
        return {
            name: Geometry(
                kernel=round(float(self._kernel[i]) ** 0.5),
                stride=int(self._stride[i]),
                side=round(float(self._side[i]) * scale),
                inputs=round(float(inputs[i])),
                outputs=round(float(outputs[i])),
                narrow_in=bool(self._in[i].any()),
                narrow_out=bool(self._out[i].any()),
                depthwise=bool(self._depthwise[i]),
            )
            for i, name in enumerate(self.layer_names)
        }

    def channels(self, widths: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Input and output channels of every convolution: (..., g) -> two of (..., layers)."""
        w = np.asarray(widths, np.float64)
        return self._in_fixed + w @ self._in.T, self._out_fixed + w @ self._out.T

    def vector(self, widths: Mapping[str, int]) -> Widths:
        """Named widths as a vector; groups not named keep theirs."""
        return np.array([widths.get(n, int(w)) for n, w in zip(self.names, self.widths)], np.int64)

    # --- inside ----------------------------------------------------------------

    def _keep(self, groups: NDArray[np.bool_]) -> None:
        kept = np.flatnonzero(groups)
        self.names = tuple(self.names[g] for g in kept)
        self.structures = tuple(self.structures[g] for g in kept)
        self.widths = self.widths[groups]
        self._in, self._out = self._in[:, groups], self._out[:, groups]
        self._linear, self._norm_params = self._linear[groups], self._norm_params[groups]
        self.macs_now = float(self.macs(self.widths))
        self.params_now = round(float(self.params(self.widths)))

    def _macs(self, w: NDArray[np.float64]) -> NDArray[np.float64]:
        inside = self._in_fixed + w @ self._in.T
        outside = self._out_fixed + w @ self._out.T
        # A depthwise filter reads one channel whatever the width.
        read = np.where(self._depthwise, 1.0, inside)
        convs = ((self._kernel * read + self._bias) * outside * self._area).sum(1)
        return (convs + w @ self._linear) * self._scale

    def _params(self, w: NDArray[np.float64]) -> NDArray[np.float64]:
        inside = self._in_fixed + w @ self._in.T
        outside = self._out_fixed + w @ self._out.T
        read = np.where(self._depthwise, 1.0, inside)
        convs = ((self._kernel * read + self._bias) * outside).sum(1)
        return convs + w @ self._norm_params

    def _layers(self, model: nn.Module, groups: Sequence[Any]) -> None:
        """Fill the tables: geometry of each convolution, and which group owns how much of it."""
        area = _areas(model)
        convs = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and n in area]
        self.layer_names = tuple(name for name, _ in convs)
        row = {name: i for i, name in enumerate(self.layer_names)}
        shape = (len(convs), len(groups))
        self._in, self._out = np.zeros(shape), np.zeros(shape)
        self._linear = np.zeros(len(groups))
        self._norm_params = np.zeros(len(groups))
        for g, group in enumerate(groups):
            for member in members(group):
                share = _per_channel(member.positions, int(self.widths[g]), member.name)
                if member.kind == "norm":
                    self._linear[g] += 2 * share * area[member.name]
                    self._norm_params[g] += 2 * share
                elif member.kind == "in":
                    self._in[row[member.name], g] += share
                else:
                    self._out[row[member.name], g] += share
            self._linear[g] += _pooled(group)
        self._area = np.array([area[n] for n, _ in convs], np.float64)
        self._side = np.array([round(area[n] ** 0.5) for n, _ in convs], np.int64)
        self._stride = np.array([int(m.stride[0]) for _, m in convs], np.int64)
        self._kernel = np.array([np.prod(m.kernel_size) for _, m in convs], np.float64)
        self._bias = np.array([m.bias is not None for _, m in convs], np.float64)
        self._depthwise = np.array(
            [m.groups > 1 and m.groups == m.in_channels for _, m in convs], bool
        )
        now = self.widths.astype(np.float64)
        self._in_fixed = np.array([m.in_channels for _, m in convs]) - self._in @ now
        self._out_fixed = np.array([m.out_channels for _, m in convs]) - self._out @ now


def _per_channel(positions: torch.Tensor, channels: int, name: str) -> int:
    """How many of a layer's channels each group channel owns; the same for all of them."""
    counts = torch.bincount(positions, minlength=channels)
    if bool((counts != counts[0]).any()):
        raise WrongModelError(
            "{name} couples its channels unevenly: not a YOLOv8 detector.", name=name
        )
    return int(counts[0])


def _pooled(group: Any) -> float:
    """Operations of pooling and upsampling per group channel, at the probe size."""
    total, channels = 0.0, len(group[0].idxs)
    for item in group.items:
        kind, grad_fn = str(item.dep.layer), item.dep.target.grad_fn
        if "MaxPool2D" in kind:
            height, width = grad_fn._saved_self.shape[-2:]
        elif "Upsample" in kind:
            height, width = grad_fn._saved_output_size
        else:
            continue
        total += len(item.idxs) / channels * height * width
    return total


@torch.no_grad()
def _areas(model: nn.Module) -> dict[str, float]:
    """H*W of the output of every convolution and batch norm, at the probe size."""
    area: dict[str, float] = {}

    def note(name: str, _inputs: Any, output: torch.Tensor) -> None:
        area[name] = float(np.prod(output.shape[2:]))

    kinds = nn.Conv2d | nn.BatchNorm2d
    layers = {name: m for name, m in model.named_modules() if isinstance(m, kinds)}
    with modes_kept(model), heard(layers, note):
        model.eval()
        model(torch.zeros(1, 3, PROBE_SIZE, PROBE_SIZE, device=next(model.parameters()).device))
    model.model[-1].shape = None  # type: ignore[index, union-attr]
    return area
