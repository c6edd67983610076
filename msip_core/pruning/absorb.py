"""Beta absorption: what removed channels gave at rest goes on in the layers that read them.

A channel whose batch-norm factors gamma are near 0 still gives the constant act(beta), at every
place. A convolution that reads removed channels i is therefore left without

    lost[o] = sum over i and the kernel of W[o, i] * k_i,   k_i = act(beta_i)

which goes into the running mean of the batch norm behind it (minus), or into its bias (plus). No
data, no training. Exact where every gamma of a removed channel is 0, at all places where the kernel
lies inside the map (1x1: everywhere); where gamma is not 0, k_i is what the channel answers to its
mean.

k_i is read off one forward pass of the network before the cut in which the gammas of all removed
channels are 0. So constants arrive as they do in the network, over additions (a shortcut hands on
the sum of several), concatenations, pooling and upsampling; the rule for a single pair of batch
norm and convolution would miss those [own].

Source: method sheet, section 1; common practice after Network Slimming (Liu et al. 2017,
arXiv:1708.06519).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from msip_core.detector.library import DetectionModel, copy_model
from msip_core.groups.coupling import prunable_groups
from msip_core.groups.layout import PROBE_SIZE
from msip_core.groups.members import members
from msip_core.importance.windows import norms_behind
from msip_core.pruning.bottlenecks import bottlenecks, remove_bottlenecks


@torch.no_grad()
def absorbed(
    pruned: DetectionModel, before: DetectionModel, kept: Mapping[str, Tensor]
) -> DetectionModel:
    """A copy of `pruned` that has taken in what the removed channels gave at rest.

    Args:
        pruned: layers have the names that they have in `before`.
        before: the network before this cut; left as it was. Its blocks may have gone as well.
        kept: convolution name -> output channels that are left, as `refit.kept_filters` finds them.
    """
    twin, whole = copy_model(pruned), copy_model(before)
    left = {site.name for site in bottlenecks(pruned)}
    remove_bottlenecks(whole, [s.name for s in bottlenecks(whole) if s.name not in left])
    layers, norms = dict(twin.named_modules()), norms_behind(twin)
    for name, lost in at_rest(whole, kept).items():
        conv: Any = layers[name]
        mine = lost[kept[name].to(lost.device)].to(conv.weight)
        if conv.bias is not None:
            conv.bias.add_(mine)
        elif conv in norms:
            mean: Any = norms[conv].running_mean
            mean.sub_(mine)
    return twin


@torch.no_grad()
def at_rest(whole: DetectionModel, kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convolution -> (out,) float64: what its outputs get from channels that go, when these are at
    rest.

    Args:
        whole: the network before channels go; the gammas of these become 0.
    """
    read: dict[str, list[Tensor]] = {}
    for group in prunable_groups(whole).groups.values():
        gone = _gone(group, kept)
        for member in members(group) if len(gone) else ():
            places = member.indices[torch.isin(member.positions, gone)]
            if member.kind == "norm":
                norm: Any = member.layer
                norm.weight[places.to(norm.weight.device)] = 0
            elif member.kind == "in":
                read.setdefault(member.name, []).append(places)
    found = {}
    for name, (conv, inputs) in _inputs(whole, read).items():
        places = torch.cat(read[name]).to(inputs.device)
        weights = conv.weight[:, places].double().flatten(2).sum(2)
        found[name] = weights @ inputs[places].double()
    return found


def _gone(group: Any, kept: Mapping[str, Tensor]) -> Tensor:
    """Places of the channels of a group that go, by its first filters, which own all of them."""
    first = next(member for member in members(group) if member.filters)
    return first.positions[~torch.isin(first.indices, kept[first.name].cpu())]


def _inputs(model: DetectionModel, names: Mapping[str, Any]) -> dict[str, tuple[Any, Tensor]]:
    """Each of these convolutions, and (in,) what it reads at one place: what is constant is the
    same at all."""
    found: dict[str, tuple[Any, Tensor]] = {}
    layers = dict(model.named_modules())
    with ExitStack() as hooks:
        for name in names:

            def look(conv: Any, inputs: Any, name: str = name) -> None:
                found[name] = conv, inputs[0][0, :, 0, 0]

            hooks.callback(layers[name].register_forward_pre_hook(look).remove)
        device = next(model.parameters()).device
        model.eval()(torch.zeros(1, 3, PROBE_SIZE, PROBE_SIZE, device=device))
    return found
