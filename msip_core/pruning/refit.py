"""Refit after the cut: repair without training.

Removing channels leaves the readers of a map with the wrong weights; the best linear repair is
known in closed form. Layer by layer in forward order, with X the input of a convolution in the
pruned network (already repaired up to there), Y its output in the network before the cut (the
channels that stayed), both centred over positions of the calibration images, and W0 its weights:

    W = W0 + (Y'X - W0 X'X) (X'X + lambda I)^-1,   lambda = ridge * mean(diag X'X)

which minimises |Y - W X|^2 + lambda |W - W0|^2. The difference of the means goes into the running
mean of the batch norm behind it (or the bias), whose other statistics stay: what it normalises is
again what it was trained on. Grouped and depthwise convolutions are solved group by group. With too
little ridge the fit follows the calibration images alone, so `repair` lets validation choose it.

The network is walked by its layers with the maps of all images kept between them, so that fitting
sixty convolutions costs a few forward passes, not sixty.

Source: ThiNet (1707.06342); He, Zhang, Sun (1707.06168); OBSPA (2403.18955); method sheet, sec. 10.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn.modules import DFL

from msip_core.detector.library import DetectionModel, copy_model
from msip_core.errors import ConfigError
from msip_core.events import RunContext
from msip_core.groups.hooks import heard
from msip_core.groups.members import members
from msip_core.importance.calibration import CalibrationSet
from msip_core.importance.windows import Places, norms_behind, windows
from msip_core.messages import msg

IMAGES = 64  # at most
POSITIONS = 16384  # of every map, over all images
BLOCK = 8  # images in one forward pass
KEPT_BYTES = 2**30  # of the maps that are kept between layers, over all images
LEAST_IMAGES = 4
LEAST_RIDGE = 1e-9  # below, float64 cannot tell the directions that the data leave open
_ROWS = 4096  # of X turned into float64 at a time


def kept_filters(
    groups: Mapping[str, Any], removed: Mapping[str, Sequence[int]], widths: Mapping[str, int]
) -> dict[str, Tensor]:
    """Which output channels of every convolution stay, as numbers in the network before the cut.

    Args:
        groups: of the network before the cut.
        removed: group name -> channels of the group that go.
        widths: convolution name -> its output channels before the cut.
    """
    stays = {name: torch.ones(width, dtype=torch.bool) for name, width in widths.items()}
    for name, channels in removed.items():
        gone = torch.tensor([int(c) for c in channels], dtype=torch.long)
        for member in members(groups[name]):
            if member.filters:
                stays[member.name][member.indices[torch.isin(member.positions, gone)]] = False
    return {name: mask.nonzero().flatten() for name, mask in stays.items()}


@torch.no_grad()
def refitted(
    pruned: DetectionModel,
    before: DetectionModel,
    kept: Mapping[str, Tensor],
    calibration: CalibrationSet,
    ridge: float,
    *,
    ctx: RunContext | None = None,
    block: int = BLOCK,
    positions: int = POSITIONS,
) -> DetectionModel:
    """A copy of `pruned`, in eval mode, whose convolutions give again what `before` gave.

    Args:
        pruned: on the device to work on; layers have the names that they have in `before`.
        before: the network before this cut; left as it was.
        kept: convolution name -> output channels of `before` that are left, as `kept_filters`
            finds them.
        ridge: share of the mean square of X that weighs a change of the weights, at least 1e-9.
        ctx: asked to stop, and told that the work is alive, at every convolution.
        block: images in one forward pass; does not change the result.
        positions: sampled of every map, over all images.
    """
    if not ridge >= LEAST_RIDGE:
        raise ValueError(
            msg("a ridge is at least {least:g}, not {ridge:g}", least=LEAST_RIDGE, ridge=ridge)
        )
    twin, teacher = copy_model(pruned).eval(), copy_model(before).eval()
    device = next(twin.parameters()).device
    teacher.to(device)
    images = calibration.images[: _how_many(teacher, calibration, device)]
    blocks = [part.to(device).float() / 255 for part in images.split(block)]
    places = Places(len(images), positions, calibration.seed)
    old, new = _Walk(teacher, blocks), _Walk(twin, blocks)
    for layer, module in enumerate(twin.model):
        wanted = old.outputs_of(layer, kept, places)
        for conv in _in_order(module, new.inputs(layer)[0]):
            if ctx is not None:
                ctx.check_stop()
            name = new.names[conv]
            if name in wanted:
                norm = new.norms.get(conv)
                _fit(conv, norm, new.windows(layer, conv, places, wanted.pop(name)), ridge)
        new.step(layer)
    return twin


@dataclass(frozen=True)
class _Pair:
    """What a convolution reads and what it should give, at the same positions.

    Attributes:
        x: (n, groups, inputs of a group times kernel) float32.
        y: (n, out) float32.
    """

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class _Wanted:
    """Outputs of a convolution before the cut: (n, out), sampled from maps of this size."""

    y: Tensor
    size: tuple[int, int]


class _Walk:
    """A detector that is walked layer by layer, with the maps that later layers read kept."""

    def __init__(self, model: DetectionModel, blocks: list[Tensor]) -> None:
        self.layers: list[Any] = list(model.model)
        self.sources = _sources(self.layers)
        self.names = {m: n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
        self.norms = norms_behind(model)
        self._maps: dict[int, list[Tensor]] = {-1: blocks}
        ends = list(accumulate(len(block) for block in blocks))
        self.parts = [range(end - len(b), end) for b, end in zip(blocks, ends, strict=True)]

    def inputs(self, layer: int) -> list[Any]:
        """What the layer reads, for every block."""
        found = list(zip(*(self._maps[source] for source in self.sources[layer]), strict=True))
        several = isinstance(self.layers[layer].f, list)
        return [list(maps) if several else maps[0] for maps in found]

    def step(self, layer: int) -> None:
        """Run the layer; drop what nobody reads any more."""
        given = self.inputs(layer)
        later = {source for s in self.sources[layer + 1 :] for source in s}
        if layer in later:
            self._maps[layer] = [self.layers[layer](x) for x in given]
        self._maps = {i: maps for i, maps in self._maps.items() if i in later}

    def outputs_of(
        self, layer: int, kept: Mapping[str, Tensor], places: Places
    ) -> dict[str, _Wanted]:
        """Run the layer, and take samples of what each of its convolutions gives."""
        found: dict[str, list[Tensor]] = {}
        size: dict[str, tuple[int, int]] = {}
        number = 0

        def look(name: str, _inputs: Any, output: Tensor) -> None:
            size[name] = (output.shape[2], output.shape[3])
            if len(found.setdefault(name, [])) > number:
                raise ValueError(
                    msg("{name} is used twice in one pass and cannot be refitted", name=name)
                )
            chosen = output[:, kept[name].to(output.device)].flatten(2)
            cells = places(self.parts[number], chosen.shape[2], output.device)
            y = chosen.gather(2, cells[:, None].expand(-1, chosen.shape[1], -1))
            found[name].append(y.transpose(1, 2).flatten(0, 1))

        convs = {self.names[conv]: conv for conv in _convolutions(self.layers[layer])}
        given, maps = self.inputs(layer), []
        with heard({name: conv for name, conv in convs.items() if name in kept}, look):
            for x in given:
                maps.append(self.layers[layer](x))
                number += 1
        later = {source for s in self.sources[layer + 1 :] for source in s}
        self._maps = {i: m for i, m in {**self._maps, layer: maps}.items() if i in later}
        return {name: _Wanted(torch.cat(parts), size[name]) for name, parts in found.items()}

    def windows(self, layer: int, conv: nn.Conv2d, places: Places, wanted: _Wanted) -> _Pair:
        """What the convolution reads where `wanted` was sampled."""
        parts = []
        height, width = wanted.size
        for number, given in enumerate(self.inputs(layer)):
            x = _reaching(self.layers[layer], conv, given)
            cells = places(self.parts[number], height * width, x.device)
            parts.append(windows(conv, x, cells, width))
        return _Pair(torch.cat(parts), wanted.y)


def _sources(layers: Sequence[Any]) -> list[tuple[int, ...]]:
    """Numbers of the layers that each layer reads; -1 is the image."""
    listed = [layer.f if isinstance(layer.f, list) else [layer.f] for layer in layers]
    return [tuple(i + j if j < 0 else j for j in f) for i, f in enumerate(listed)]


def _convolutions(module: nn.Module) -> list[nn.Conv2d]:
    """Every convolution but the fixed sum of DFL."""
    fixed = {conv for dfl in module.modules() if isinstance(dfl, DFL) for conv in dfl.modules()}
    return [m for m in module.modules() if isinstance(m, nn.Conv2d) and m not in fixed]


class _Reached(Exception):
    """The convolution that was waited for is about to run."""


def _in_order(module: nn.Module, given: Any) -> list[nn.Conv2d]:
    """The convolutions of a layer as they run."""
    order: dict[nn.Conv2d, None] = {}
    convs = {conv: conv for conv in _convolutions(module)}
    one = [x[:1] for x in given] if isinstance(given, list) else given[:1]
    with heard(convs, lambda conv, _inputs, _output: order.setdefault(conv)):
        if convs:
            module(one)
    return list(order)


def _reaching(module: nn.Module, conv: nn.Conv2d, given: Any) -> Tensor:
    """What `conv` reads when the layer is given this; nothing behind it runs."""
    found: list[Tensor] = []

    def take(_conv: nn.Module, inputs: Any) -> None:
        found.append(inputs[0])
        raise _Reached

    with conv.register_forward_pre_hook(take):
        try:
            module(list(given) if isinstance(given, list) else given)
        except _Reached:
            return found[0]
    raise ValueError(msg("a convolution that ran before was not reached"))


def _fit(conv: nn.Conv2d, norm: nn.BatchNorm2d | None, pair: _Pair, ridge: float) -> None:
    """Give the convolution the weights, and what is behind it the mean, that fit best."""
    home = conv.weight.device
    place = torch.device("cpu") if home.type == "mps" else home  # MPS knows no float64
    x, y = pair.x.to(place), pair.y.to(place).unflatten(1, (conv.groups, -1))
    centred = norm is not None or conv.bias is not None
    mean_x, mean_y = (v.mean(0, dtype=torch.float64) * centred for v in (x, y))
    a, c = _moments(x, y, mean_x, mean_y)
    old = conv.weight.to(place).double().view(conv.groups, -1, x.shape[2])
    level = ridge * a.diagonal(dim1=1, dim2=2).mean(1)
    if not torch.isfinite(a).all() or not torch.isfinite(c).all():
        raise ConfigError(
            "The model answers the calibration images with values that are not numbers, so its "
            "weights cannot be refitted; it has probably diverged. Choose another baseline."
        )
    level = torch.where(level > 0, level, 1.0)  # a group that reads nothing keeps its weights
    a_ridge = a + torch.diag_embed(level[:, None].expand(-1, a.shape[1]))
    change = torch.cholesky_solve((c - old @ a).mT, torch.linalg.cholesky(a_ridge)).mT
    new = (old + change).float()
    conv.weight.copy_(new.view_as(conv.weight))
    if centred:
        # With the rounded weights, so that the means agree to the last bit that they can.
        rest = (mean_y - (new.double() @ mean_x[..., None])[..., 0]).flatten().float().to(home)
        if conv.bias is not None:
            conv.bias.copy_(rest)
        elif norm is not None and norm.running_mean is not None:
            norm.running_mean.sub_(rest)


def _moments(x: Tensor, y: Tensor, mean_x: Tensor, mean_y: Tensor) -> tuple[Tensor, Tensor]:
    """X'X / n and Y'X / n of each group, about the means, in float64."""
    groups, inputs = x.shape[1:]
    a = torch.zeros(groups, inputs, inputs, dtype=torch.float64, device=x.device)
    c = torch.zeros(groups, y.shape[2], inputs, dtype=torch.float64, device=x.device)
    for xs, ys in zip(x.split(_ROWS), y.split(_ROWS), strict=True):
        u, v = (xs.double() - mean_x).transpose(0, 1), (ys.double() - mean_y).transpose(0, 1)
        a += u.mT @ u
        c += v.mT @ u
    return a / len(x), c / len(x)


def _how_many(model: DetectionModel, calibration: CalibrationSet, device: torch.device) -> int:
    """Images whose maps of both networks, as they are kept between layers, fit in KEPT_BYTES."""
    layers: list[Any] = list(model.model)
    sources = _sources(layers)
    walk, sizes, most = _Walk(model, [calibration.pixels(range(1), device)]), {-1: 0}, 0
    sizes[-1] = walk._maps[-1][0].nbytes
    for layer in range(len(layers) - 1):
        live = {source for s in sources[layer:] for source in s if source < layer}
        walk.step(layer)
        sizes[layer] = walk._maps[layer][0].nbytes if layer in walk._maps else 0
        most = max(most, sizes[layer] + sum(sizes[source] for source in live))
    bound = max(LEAST_IMAGES, KEPT_BYTES // (2 * most))
    return min(IMAGES, len(calibration), bound)
