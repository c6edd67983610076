"""C2f as two separate convolutions, so that its halves can be pruned; and the way back.

    C2f      cv1: c1 -> 2c, cut in halves a, b;     cv2(cat(a, b, m0(b), m1(m0(b)), ...))
    C2fV2    cv0: c1 -> c0 gives a, cv1: c1 -> c gives b; the rest is the same

torch-pruning 1.6.1 cannot follow the cut (VainF/Torch-Pruning, YOLOv8 example), hence C2fV2.
Stock Ultralytics does not know C2fV2, hence `to_stock`: halves of equal width become one C2f
again; halves of unequal width are laid out as Conv, Conv, Bottleneck..., Concat, Conv in the
graph of the detector, which costs exactly the same multiply-adds and pads nothing.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn.modules import C2f, Concat, Conv

from msip_core.detector.library import DetectionModel, copy_model
from msip_core.errors import WrongModelError


class C2fV2(nn.Module):
    """C2f whose first convolution is two: `cv0` for the half that is only passed on, `cv1` for the
    half that feeds the bottlenecks.

    Args:
        block: the C2f whose weights are taken over exactly; its `cv2` and `m` are shared, not
            copied.
    """

    cv0: Conv
    cv1: Conv
    cv2: Conv
    m: nn.ModuleList
    f: int | list[int]

    def __init__(self, block: C2f) -> None:
        super().__init__()
        half = block.cv1.conv.out_channels // 2
        self.c = half
        self.cv0 = _rows(block.cv1, slice(0, half))
        self.cv1 = _rows(block.cv1, slice(half, 2 * half))
        self.cv2, self.m = block.cv2, block.m
        for name in ("f", "i", "type", "np"):  # the parser's routing, absent in a lone block
            if hasattr(block, name):
                setattr(self, name, getattr(block, name))
        self.train(block.training)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, c1, height, width) -> (batch, c2, height, width)."""
        y = [self.cv0(x), self.cv1(x)]
        y.extend(m(y[-1]) for m in self.m)
        return self.cv2(torch.cat(y, 1))


def to_c2f_v2(model: DetectionModel, prox: float = 0.0) -> DetectionModel:
    """A copy of `model` with every C2f as C2fV2; outputs in eval mode are bit-identical.

    Args:
        prox: above 0, the L1 norm acts at the transfer: weights and batch-norm factors of the new
            convolutions become sign(w) max(|w| - prox, 0) (method sheet, section 1), and outputs
            change a little.

    Raises:
        WrongModelError: the model is fused; its BatchNorms are gone.
    """
    if any(isinstance(m, Conv) and not hasattr(m, "bn") for m in model.modules()):
        raise WrongModelError(
            "This model was fused for deployment (its batch-norm layers are folded away), so it "
            "cannot be pruned: use the .pt file that training wrote."
        )
    twin = copy_model(model)
    for parent in list(twin.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is C2f:
                setattr(parent, name, C2fV2(child))
    if prox:
        _soft_threshold(twin, prox)
    return twin


@torch.no_grad()
def _soft_threshold(model: nn.Module, by: float) -> None:
    """What the L1 term of training is on (detector.sparsity) comes nearer to 0 by this."""
    for name in new_conv_names(model):
        block: Any = model.get_submodule(name)
        for weight in (block.conv.weight, block.bn.weight):
            weight.copy_(nn.functional.softshrink(weight, by))


def new_conv_names(model: nn.Module) -> tuple[str, ...]:
    """Names of the convolution blocks that the transfer made: cv0 and cv1 of every C2fV2."""
    return tuple(
        f"{name}.{part}"
        for name, module in model.named_modules()
        if isinstance(module, C2fV2)
        for part in ("cv0", "cv1")
    )


def to_stock(model: DetectionModel) -> DetectionModel:
    """A copy of `model` made of stock Ultralytics classes only; outputs unchanged to 1e-5.

    Where one layer becomes several, the routing that the detector's forward follows (`f` and `i`
    of each layer, `save` of the model) is rewritten.
    """
    twin = copy_model(model)
    layout = _Layout()
    place: dict[int, int] = {}  # old layer index -> index of the new layer that gives its output
    for index, old in enumerate(list(twin.model)):
        f: Any = old.f
        if isinstance(old, C2fV2):
            place[index] = _unroll(layout, old, place[index - 1 if f == -1 else f])
        elif isinstance(f, list):
            place[index] = layout.add(old, [place.get(s, -1) for s in f])
        else:
            place[index] = layout.add(old, place.get(f, -1))
    twin.model = nn.Sequential(*layout.layers)
    twin.save = sorted(layout.save)
    return twin


class _Layout:
    """Layers in order; writes the routing as Ultralytics' forward reads it."""

    def __init__(self) -> None:
        self.layers: list[nn.Module] = []
        self.save: set[int] = set()

    def add(self, module: Any, sources: int | list[int] = -1) -> int:
        """Append a layer that reads layer `sources` (-1: the one before); returns its index."""
        listed = sources if isinstance(sources, list) else [sources]
        self.save.update(s for s in listed if s != -1)
        module.f, module.i = sources, len(self.layers)
        module.type = f"{type(module).__module__}.{type(module).__qualname__}"
        module.np = sum(p.numel() for p in module.parameters())
        self.layers.append(module)
        return module.i


def _unroll(layout: _Layout, block: C2fV2, source: int) -> int:
    """Lay a C2fV2 out in stock layers; returns the index of the one that gives its output."""
    if _joinable(block.cv0, block.cv1):
        return layout.add(_join(block), block.f if block.f == -1 else source)
    parts = [layout.add(block.cv0, source), layout.add(block.cv1, source)]
    parts += [layout.add(bottleneck) for bottleneck in block.m]
    layout.add(Concat(1), parts)
    return layout.add(block.cv2)


def _joinable(a: Conv, b: Conv) -> bool:
    """Whether C2f's `chunk(2)` would cut the joined convolution back into these two."""
    return (
        a.conv.out_channels == b.conv.out_channels
        and a.bn.eps == b.bn.eps
        and a.bn.momentum == b.bn.momentum
    )


def _rows(block: Conv, rows: slice) -> Conv:
    """The convolution block that computes only these output channels of `block`."""
    part = deepcopy(block)  # keeps eps, momentum, num_batches_tracked and the activation
    _set(part.conv, "weight", block.conv.weight[rows])
    for name in ("weight", "bias", "running_mean", "running_var"):
        _set(part.bn, name, getattr(block.bn, name)[rows])
    part.conv.out_channels = part.bn.num_features = part.conv.weight.shape[0]
    return part


def _join(block: C2fV2) -> C2f:
    """The inverse of `C2fV2(block)`, for halves of equal width."""
    both = deepcopy(block.cv0)
    _set(both.conv, "weight", torch.cat((block.cv0.conv.weight, block.cv1.conv.weight)))
    for name in ("weight", "bias", "running_mean", "running_var"):
        _set(both.bn, name, torch.cat((getattr(block.cv0.bn, name), getattr(block.cv1.bn, name))))
    both.conv.out_channels = both.bn.num_features = both.conv.weight.shape[0]
    twin = C2f.__new__(C2f)
    nn.Module.__init__(twin)
    twin.c = block.cv0.conv.out_channels
    # Numbered anew: a block that lost bottlenecks keeps the names of the others.
    twin.cv1, twin.cv2, twin.m = both, block.cv2, nn.ModuleList(block.m)
    return twin.train(block.training)


def _set(module: nn.Module, name: str, value: Tensor) -> None:
    """Replace a parameter or buffer by one of another length, keeping its kind."""
    value = value.detach().clone()
    old = getattr(module, name)
    if isinstance(old, nn.Parameter):
        setattr(module, name, nn.Parameter(value, requires_grad=old.requires_grad))
    else:
        setattr(module, name, value)
