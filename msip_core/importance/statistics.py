"""Everything that criteria need from data, gathered in ONE calibration pass.

Forward and backward per micro-batch; gradients are summed over the micro-batches of a batch,
turned into per-weight scores per batch, and averaged over batches (scoring the averaged gradient
would say nothing: it is about 0 at a minimum). Batch norm is in eval mode: in train mode it makes
a filter scale-free and the sum of w*g over it vanishes. Responses are counted on the way.

Memory is bounded by one micro-batch, whatever the number of images.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.utils import IterableSimpleNamespace
from ultralytics.utils.loss import v8DetectionLoss

from msip_core.importance.calibration import CalibrationSet
from msip_core.importance.msip import SPARSITY_EPS
from msip_core.importance.responses import CellSampler, LayerResponse, watched

GRADIENT = frozenset({"taylor", "taylor-abs", "grad2"})
RESPONSE = frozenset({"sparsity", "information", "loss-information"})
LOSS_QUARTILES = 4


@dataclass(frozen=True)
class Statistics:
    """What one calibration pass found.

    Attributes:
        gradient: kind -> layer name -> (out, in) for convolutions, summed over the kernel, and
            (c,) for batch norms. Kinds: "taylor" (w*g)^2, "taylor-abs" |w*g|, "grad2" g^2.
        response: kind -> name of the convolution -> (c,). Kinds: "sparsity" in [0, 1],
            "information" and "loss-information" in bits.
        gathered: which kinds are there.
        images, loss: how many images, and their mean loss.
    """

    gradient: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    response: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    gathered: frozenset[str] = frozenset()
    images: int = 0
    loss: float = 0.0


def gather(
    model: nn.Module, calibration: CalibrationSet, needs: frozenset[str], ctx: Any = None
) -> Statistics:
    """Run the calibration pass that `needs` asks for; the model is left as it was.

    Args:
        model: an Ultralytics DetectionModel, on the device to work on.
        needs: kinds of Statistics; unknown ones raise ValueError.
        ctx: asked to stop, and told that the work is alive, at every micro-batch.
    """
    unknown = needs - GRADIENT - RESPONSE
    if unknown:
        raise ValueError(f"The calibration pass cannot gather {', '.join(sorted(unknown))}.")
    if not needs:
        return Statistics()
    with _ready(model):
        return _Pass(model, calibration, needs, ctx).run()


class _Pass:
    """One calibration pass over one model."""

    def __init__(
        self, model: nn.Module, calibration: CalibrationSet, needs: frozenset[str], ctx: Any
    ) -> None:
        self.model, self.calibration, self.needs, self.ctx = model, calibration, needs, ctx
        self.device = next(model.parameters()).device
        self.criterion = v8DetectionLoss(model)
        self.cells = CellSampler(calibration.seed)
        self.by_loss = "loss-information" in needs
        labels = LOSS_QUARTILES if self.by_loss else int(self.criterion.nc) + 1
        self.respond = bool(needs & RESPONSE)
        self._labels = labels
        self.layers: dict[str, LayerResponse] = {}
        self.quartile = torch.zeros(len(calibration), dtype=torch.long)
        self.sums = {kind: dict[str, Tensor]() for kind in needs & GRADIENT}
        self.loss = 0.0

    def run(self) -> Statistics:
        if self.respond:
            self._look()
        batches = list(self.calibration.batches())
        for batch in batches:
            self.model.zero_grad(set_to_none=True)
            for part in self.calibration.micro_batches(batch):
                self._step(part)
            for kind, sums in self.sums.items():
                _add_scores(self.model, kind, sums)
            self.cells.forget()
        gradient = {k: {n: t / len(batches) for n, t in s.items()} for k, s in self.sums.items()}
        return Statistics(gradient, self._responses(), self.needs, len(self.calibration),
                          self.loss / max(1, len(self.calibration)))  # fmt: skip

    @torch.no_grad()
    def _look(self) -> None:
        """Scales and ranges from the first two batches, forward only."""
        for batch in list(self.calibration.batches())[:2]:
            for part in self.calibration.micro_batches(batch):
                self._pause()
                with watched(self.model, lambda name, a, part=part: self._see(name, a, part)):
                    self.model(self.calibration.pixels(part, self.device))
        for layer in self.layers.values():
            layer.settle()
        self.cells.forget()
        if self.by_loss:
            self._rank_losses()

    def _see(self, name: str, a: Tensor, part: range) -> None:
        layer = self.layers.setdefault(name, LayerResponse(self._labels, SPARSITY_EPS))
        layer.look(a, self._cells(a, part)[0])

    def _cells(self, a: Tensor, part: range) -> tuple[list[Tensor], Tensor]:
        height, width = a.shape[-2:]
        picked = [self.cells(i, self.calibration.labels[i], height, width) for i in part]
        if self.by_loss:
            labels = [self.quartile[i].expand(len(c)) for i, (c, _) in zip(part, picked)]
        else:
            labels = [label for _, label in picked]
        return [cells for cells, _ in picked], torch.cat(labels)

    def _rank_losses(self) -> None:
        """Quartile of each image's own loss, for the switch information="loss"."""
        losses = []
        for i in range(len(self.calibration)):
            self._pause()
            losses.append(float(self._loss(range(i, i + 1))))
        order = torch.tensor(losses).argsort(stable=True)
        self.quartile[order] = torch.arange(len(order)) * LOSS_QUARTILES // max(1, len(order))

    def _loss(self, part: range) -> Tensor:
        output = self.model(self.calibration.pixels(part, self.device))
        targets = {k: v.to(self.device) for k, v in self.calibration.targets(part).items()}
        return self.criterion(output, targets)[0].sum()

    def _step(self, part: range) -> None:
        self._pause()

        def count(name: str, a: Tensor) -> None:
            self.layers[name].count(a, *self._cells(a, part))

        watching = watched(self.model, count) if self.respond else nullcontext()
        with watching, torch.set_grad_enabled(bool(self.sums)):
            loss = self._loss(part)
        self.loss += float(loss.detach())
        if self.sums:
            loss.backward()

    def _pause(self) -> None:
        if self.ctx is not None:
            self.ctx.check_stop()
            self.ctx.beat()

    def _responses(self) -> dict[str, dict[str, Tensor]]:
        found: dict[str, dict[str, Tensor]] = {}
        for kind in self.needs & RESPONSE:
            found[kind] = {
                name: layer.sparsity() if kind == "sparsity" else layer.information()
                for name, layer in self.layers.items()
            }
        return found


@torch.no_grad()
def _add_scores(model: nn.Module, kind: str, sums: dict[str, Tensor]) -> None:
    """Add one batch's per-weight scores to `sums`."""
    for name, layer in model.named_modules():
        weight = getattr(layer, "weight", None)
        if weight is None or weight.grad is None:  # no weights, or fixed ones, such as DFL's
            continue
        if isinstance(layer, nn.Conv2d):
            score = _score(kind, weight * weight.grad, weight.grad).flatten(2).sum(2)
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            shift: Any = layer.bias
            # Scale and shift act together: one channel's first-order change is their sum.
            score = _score(kind, weight * weight.grad + shift * shift.grad, weight.grad)
            if kind == "grad2":
                score = score + shift.grad.double() ** 2
        else:
            continue
        sums[name] = sums.get(name, 0) + score.cpu()


def _score(kind: str, change: Tensor, gradient: Tensor) -> Tensor:
    """Score of each weight from its first-order loss change w*g and its gradient g."""
    if kind == "taylor-abs":
        return change.double().abs()
    return (change if kind == "taylor" else gradient).double() ** 2


@contextmanager
def _ready(model: nn.Module) -> Iterator[None]:
    """Eval mode, gradients on, loss gains as attributes, no cached anchors; then all as before."""
    modes = {module: module.training for module in model.modules()}
    flags = {p: p.requires_grad for p in model.parameters()}
    grads = {p: p.grad for p in model.parameters()}
    args = model.args
    head: Any = model.model[-1]  # type: ignore[index]
    fixed = {id(p) for p in head.dfl.parameters()}
    model.eval()
    # Anchors cached under inference mode cannot take part in a backward pass.
    head.shape = None
    if isinstance(args, dict):  # as a loaded checkpoint has them; the loss wants attributes
        model.args = IterableSimpleNamespace(**{**_GAINS, **args})
    for p in model.parameters():
        p.requires_grad_(id(p) not in fixed)
        p.grad = None
    try:
        with torch.enable_grad():
            yield
    finally:
        model.args = args
        head.shape = None
        for p, flag in flags.items():
            p.requires_grad_(flag)
            p.grad = grads[p]
        for module, mode in modes.items():
            module.training = mode


_GAINS = {"box": 7.5, "cls": 0.5, "dfl": 1.5}
