"""What is done to a network right after a cut, before any training: nothing, fresh batch-norm
statistics (bn.py), what lost channels gave at rest (`absorbed`), a refit of the weights (refit.py),
or whichever of these validation likes best.

Each helps in some cuts and hurts in others (recalibration can add .1 mAP50 early and cost some
late; a refit with too little ridge overfits the calibration images), so "auto" measures all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from msip_core.config import RIDGES, Repair
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.events import Metrics, RunContext
from msip_core.groups.coupling import prunable_groups
from msip_core.groups.hooks import heard
from msip_core.groups.layout import PROBE_SIZE
from msip_core.groups.members import members
from msip_core.importance.calibration import CalibrationSet
from msip_core.importance.windows import norms_behind
from msip_core.messages import msg
from msip_core.pruning.bn import recalibrated
from msip_core.pruning.bottlenecks import bottlenecks, remove_bottlenecks
from msip_core.pruning.refit import POSITIONS, refitted

AS_CUT, RECALIBRATED, ABSORBED = "as cut", "recalibrated", "betas absorbed"


def refit_name(ridge: float) -> str:
    """What a refit is called in records."""
    return f"refitted, ridge {ridge:g}"


@dataclass(frozen=True)
class Repaired:
    """A network after a cut and its repair.

    Attributes:
        name: of the repair that was kept.
        metrics: on validation, of `model`.
        map50: what was tried -> mAP50 on validation.
    """

    model: DetectionModel
    name: str
    metrics: Metrics
    map50: dict[str, float]


def repair(
    cut: DetectionModel,
    how: Repair,
    calibration: CalibrationSet,
    evaluate: Callable[[DetectionModel], Metrics],
    before: Callable[[], tuple[DetectionModel, Mapping[str, Tensor]]],
    *,
    ctx: RunContext | None = None,
) -> Repaired:
    """Try what `how` allows; the best by mAP50, then mAP50-95, and the first of equals, is kept.

    Args:
        cut: after surgery, on the device to work on; left as it was.
        evaluate: on validation.
        before: the network before this cut and the filters that stayed; asked only for a repair
            that looks at it.
    """
    best: Repaired | None = None
    map50: dict[str, float] = {}
    for name, make in _attempts(cut, how, calibration, before, ctx):
        model = make()
        metrics = evaluate(model)
        map50[name] = metrics.map50
        if best is None or _rank(metrics) > _rank(best.metrics):
            best = Repaired(model, name, metrics, map50)
    assert best is not None, msg("no repair is called {how}", how=how)
    return best


def tried(
    cut: DetectionModel,
    how: Repair,
    calibration: CalibrationSet,
    before: tuple[DetectionModel, Mapping[str, Tensor]],
    *,
    ctx: RunContext | None = None,
) -> DetectionModel:
    """The one repair that a network gets which is only tried out: a refit with the middle ridge on
    a quarter of the positions where `how` may refit, else what `how` says."""
    if how == "none":
        return cut
    if how == "recalibrate":
        return recalibrated(cut, calibration, ctx)
    if how == "absorb":
        return absorbed(cut, *before)
    return refitted(cut, *before, calibration, sorted(RIDGES)[1], ctx=ctx, positions=POSITIONS // 4)


def _rank(metrics: Metrics) -> tuple[float, float]:
    return metrics.map50, metrics.map50_95


def _attempts(
    cut: DetectionModel,
    how: Repair,
    calibration: CalibrationSet,
    before: Callable[[], tuple[DetectionModel, Mapping[str, Tensor]]],
    ctx: RunContext | None,
) -> Iterator[tuple[str, Callable[[], DetectionModel]]]:
    if how in ("none", "auto"):
        yield AS_CUT, lambda: cut
    if how in ("recalibrate", "auto"):
        yield RECALIBRATED, partial(recalibrated, cut, calibration, ctx)
    if how not in ("absorb", "refit", "auto"):
        return
    teacher, kept = before()
    if how != "refit":
        yield ABSORBED, partial(absorbed, cut, teacher, kept)
    if how != "absorb":
        for ridge in RIDGES:
            make = partial(refitted, cut, teacher, kept, calibration, ridge, ctx=ctx)
            yield refit_name(ridge), make


@torch.no_grad()
def absorbed(
    pruned: DetectionModel, before: DetectionModel, kept: Mapping[str, Tensor]
) -> DetectionModel:
    """A copy of `pruned` that has taken in what the removed channels gave at rest.

    A channel whose batch-norm factors gamma are near 0 still gives the constant act(beta), at every
    place. A convolution that reads removed channels i is therefore left without

        lost[o] = sum over i and the kernel of W[o, i] * k_i,   k_i = act(beta_i)

    which goes into the running mean of the batch norm behind it (minus), or into its bias (plus).
    No data, no training. Exact where every gamma of a removed channel is 0, at all places where the
    kernel lies inside the map (1x1: everywhere); where gamma is not 0, k_i is what the channel
    answers to its mean.

    k_i is read off one forward pass of the network before the cut in which the gammas of all
    removed channels are 0. So constants arrive as they do in the network, over additions (a
    shortcut hands on the sum of several), concatenations, pooling and upsampling; the rule for a
    single pair of batch norm and convolution would miss those [own].
    Source: method sheet, section 1; common practice after Network Slimming (Liu et al. 2017,
    arXiv:1708.06519).

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
    layers = {name: model.get_submodule(name) for name in names}

    def look(name: str, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        found[name] = layers[name], inputs[0][0, :, 0, 0]

    with heard(layers, look):
        device = next(model.parameters()).device
        model.eval()(torch.zeros(1, 3, PROBE_SIZE, PROBE_SIZE, device=device))
    return found
