"""Everything that criteria need from data, gathered in ONE calibration pass.

Forward and backward per micro-batch; gradients are summed over the micro-batches of a batch, as if
it had passed at once (Ultralytics divides a loss by what its own images were assigned; that is
undone for each part and done for the whole batch), turned into per-weight scores per batch, and
averaged over batches (scoring the averaged gradient would say nothing: it is about 0 at a
minimum). Batch norm is in eval mode: in train mode it makes a filter scale-free and the sum of w*g
over it vanishes. Responses are counted on the way.

Only what is asked for is done: ranks need a few smaller images, forward only; second-order scores
the gradient of every image on its own; NISP one backward pass through a linear copy; OBS
another forward pass, which adds up products of what convolutions read.

Memory is bounded by one micro-batch, whatever the number of images.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.utils.loss import v8DetectionLoss

from msip_core.detector.library import copy_model
from msip_core.importance.calibration import CalibrationSet
from msip_core.importance.coupling import prunable_groups
from msip_core.importance.gradients import GRADIENT, OF_BATCH, OF_IMAGE, add_scores
from msip_core.importance.hrank import IMAGES, RankTally, shrunk
from msip_core.importance.inffs import Pooled
from msip_core.importance.moments import POSITIONS, Moments, OutputGradients, centred_ones, readers
from msip_core.importance.msip import SPARSITY_EPS
from msip_core.importance.nisp import column_sums, last_convolutions, propagate
from msip_core.importance.obs import Coupled, Reader, costs_in_turn, coupled, portions
from msip_core.importance.ready import ready
from msip_core.importance.responses import (
    NULLS,
    CellSampler,
    Labelled,
    LayerResponse,
    watched,
)
from msip_core.importance.windows import Places

# What the look at the responses finds beside the share of active ones, whoever asks for that.
ALONGSIDE = frozenset({"spread", "distance"})
COUNTED = frozenset({"sparsity", "information", "loss-information"}) | ALONGSIDE
POOLED = frozenset({"nisp-inffs"})
RESPONSE = COUNTED | POOLED | frozenset({"rank", "nisp", "obs"})
LOSS_QUARTILES = 4


@dataclass(frozen=True)
class Statistics:
    """What one calibration pass found.

    Attributes:
        gradient: kind -> layer name -> (out, in) for convolutions, summed over the kernel, and
            (c,) for batch norms. Kinds: "taylor" (w*g)^2, "taylor-abs" |w*g|, "grad2" g^2,
            "taylor-2" (w*g)^2 / 2 of single images.
        response: kind -> name of the convolution -> (c,). Kinds: "sparsity" in [0, 1],
            "spread" and "distance" of responses in their own unit (always with "sparsity"),
            "information" and "loss-information" in bits, "rank" in [0, 1] (the tie-break may
            lift a full rank above 1 by a millionth), "nisp" and "nisp-inffs" without unit; "obs"
            in the unit of the loss, for the first convolution of every group.
        gathered: which kinds are there.
        images: how many images there were.
    """

    gradient: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    response: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    gathered: frozenset[str] = frozenset()
    images: int = 0


def complete(needs: frozenset[str]) -> frozenset[str]:
    """What is asked for, with what is found alongside it."""
    return needs | ALONGSIDE if "sparsity" in needs else needs


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
    groups = coupled(prunable_groups(model).groups.values()) if "obs" in needs else []
    with ready(model):
        return _Pass(model, calibration, complete(needs), ctx, groups).run()


class _Pass:
    """One calibration pass over one model."""

    def __init__(
        self,
        model: nn.Module,
        calibration: CalibrationSet,
        needs: frozenset[str],
        ctx: Any,
        groups: list[Coupled],
    ) -> None:
        self.model, self.calibration, self.needs, self.ctx = model, calibration, needs, ctx
        self.device = next(model.parameters()).device
        self.criterion = v8DetectionLoss(model)
        self.assigned = _Assigned(self.criterion)
        self.cells = CellSampler(calibration.seed)
        self.by_loss = "loss-information" in needs
        labels = LOSS_QUARTILES if self.by_loss else int(self.criterion.nc) + 1
        self._labels = labels
        self.layers: dict[str, LayerResponse] = {}
        self.quartile = torch.zeros(len(calibration), dtype=torch.long)
        self.pooled = Pooled(last_convolutions(model))
        self.groups = groups
        self.outputs = OutputGradients(readers(model) if "obs" in needs else {})
        self.gradient = {kind: dict[str, Tensor]() for kind in needs & GRADIENT}

    def run(self) -> Statistics:
        if self.needs & COUNTED:
            self._look()
        if self.needs & (OF_BATCH | COUNTED | POOLED | {"obs"}):
            self._batches()
        if self.needs & OF_IMAGE:
            self._images()
        return Statistics(self.gradient, self._responses(), self.needs, len(self.calibration))

    # --- the batches ---------------------------------------------------------------

    def _batches(self) -> None:
        """Every batch once: forward, and backward where gradients are scored."""
        kinds = self.needs & OF_BATCH
        backward = bool(self.needs & (OF_BATCH | {"obs"}))
        batches = list(self.calibration.batches())
        for batch in batches:
            self.model.zero_grad(set_to_none=True)
            assigned = 0.0
            for part in self.calibration.micro_batches(batch):
                assigned += self._step(part, backward=backward)
            factor = len(batch) / max(1.0, assigned)
            self.outputs.close_batch(factor)
            if kinds:
                self._normalise(factor)
            for kind in kinds:
                add_scores(self.model, kind, self.gradient[kind])
            self.cells.forget()
        self._average(kinds, len(batches))

    def _step(self, part: range, *, backward: bool) -> float:
        """One micro-batch: adds gradients of its loss before any division; what it was assigned."""
        self._pause()
        with self._watching(part), torch.set_grad_enabled(backward):
            if not backward:
                self.model(self.calibration.pixels(part, self.device))
                return 0.0
            loss = self._loss(part)
        assigned = self.assigned.of_last
        (loss * max(1.0, assigned) / len(part)).backward()
        return assigned

    @torch.no_grad()
    def _normalise(self, factor: float) -> None:
        """Multiply every gradient of the batch."""
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                parameter.grad *= factor

    def _watching(self, part: range) -> AbstractContextManager[Any]:
        """Count and pool what passes, as far as it is asked for."""
        watching = ExitStack()
        if self.needs & COUNTED:
            watching.enter_context(
                watched(
                    self.model,
                    lambda name, a: self.layers[name].count(
                        a, self._cells(a, part), self._other_cells(a, part)
                    ),
                )
            )
        if self.needs & POOLED:
            watching.enter_context(self.pooled.watching())
        watching.enter_context(self.outputs.watching())
        return watching

    def _loss(self, part: range) -> Tensor:
        output = self.model(self.calibration.pixels(part, self.device))
        targets = {k: v.to(self.device) for k, v in self.calibration.targets(part).items()}
        return self.criterion(output, targets)[0].sum()

    def _average(self, kinds: frozenset[str], count: int) -> None:
        for kind in kinds:
            self.gradient[kind] = {n: t / count for n, t in self.gradient[kind].items()}

    def _pause(self) -> None:
        if self.ctx is not None:
            self.ctx.check_stop()
            self.ctx.beat()

    # --- scales and labels of the counted responses -------------------------------------

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

    def _cells(self, a: Tensor, part: range, ahead: int = 0) -> Labelled:
        """Cells of the images of `part` and their labels; with `ahead`, as if each image had the
        labels of the image that lies so many further on."""
        height, width = a.shape[-2:]
        images = [(i + ahead) % len(self.calibration) for i in part]
        picked = [self.cells(i, self.calibration.labels[i], height, width) for i in images]
        if self.by_loss:
            labels = [self.quartile[i].expand(len(c)) for i, (c, _) in zip(images, picked)]
        else:
            labels = [label for _, label in picked]
        return [cells for cells, _ in picked], torch.cat(labels)

    def _other_cells(self, a: Tensor, part: range) -> list[Labelled]:
        count = len(self.calibration)
        return [self._cells(a, part, round(share * count)) for share in NULLS]

    def _rank_losses(self) -> None:
        """Quartile of each image's own loss, for the switch information="loss"."""
        losses = []
        for i in range(len(self.calibration)):
            self._pause()
            losses.append(float(self._loss(range(i, i + 1))))
        order = torch.tensor(losses).argsort(stable=True)
        self.quartile[order] = torch.arange(len(order)) * LOSS_QUARTILES // max(1, len(order))

    # --- single images, ranks, NISP -------------------------------------------------------

    def _images(self) -> None:
        """Scores of every image's own gradient."""
        kinds = self.needs & OF_IMAGE
        for i in range(len(self.calibration)):
            self._pause()
            self.model.zero_grad(set_to_none=True)
            self._loss(range(i, i + 1)).backward()
            for kind in kinds:
                add_scores(self.model, kind, self.gradient[kind])
        self._average(kinds, len(self.calibration))

    @torch.no_grad()
    def _ranks(self) -> dict[str, Tensor]:
        """HRank of every Conv block, from the first few images made small."""
        tally = RankTally()
        few = range(min(IMAGES, len(self.calibration)))
        with watched(self.model, tally.see):
            for part in self.calibration.micro_batches(few):
                self._pause()
                self.model(shrunk(self.calibration.pixels(part, self.device)))
                tally.add_images(len(part))
        return tally.scores()

    def _nisp(self, seeds: dict[str, Tensor]) -> dict[str, Tensor]:
        """NISP of every Conv block at the size of the images, on the CPU: not every accelerator
        knows float64."""
        self._pause()
        image = torch.zeros(1, *self.calibration.images.shape[1:])
        return propagate(copy_model(self.model).cpu(), image, seeds)  # type: ignore[arg-type]

    @torch.no_grad()
    def _removals(self) -> dict[str, Tensor]:
        """OBS of every group, by its first convolution; as many at a time as memory allows."""
        every, convs, found = range(len(self.calibration)), self.outputs.convs, {}
        fisher, centred = self.outputs.fisher(len(every)), centred_ones(self.model)
        places = Places(len(every), POSITIONS, self.calibration.seed)
        for some in portions(self.groups, convs):
            read = {name: convs[name] for group in some for name in group.inputs}
            moments = Moments(read, places)
            for part in self.calibration.micro_batches(every):
                self._pause()
                with moments.watching(part):
                    self.model(self.calibration.pixels(part, self.device))
            products = {n: moments.take(n, centred=conv in centred) for n, conv in read.items()}
            for group in some:
                left = [
                    Reader(products[name], read[name].weight, fisher[name], own)
                    for name, own in group.inputs.items()
                ]
                found[group.name] = costs_in_turn(left, group.channels, self._pause)
        return found

    def _responses(self) -> dict[str, dict[str, Tensor]]:
        found: dict[str, dict[str, Tensor]] = {}
        for kind in self.needs & COUNTED:
            what = "information" if kind == "loss-information" else kind
            found[kind] = {name: getattr(layer, what)() for name, layer in self.layers.items()}
        if "rank" in self.needs:
            found["rank"] = self._ranks()
        if "nisp" in self.needs:
            found["nisp"] = self._nisp(column_sums(last_convolutions(self.model)))
        if "nisp-inffs" in self.needs:
            found["nisp-inffs"] = self._nisp(self.pooled.seeds())
        if "obs" in self.needs:
            found["obs"] = self._removals()
        return found


class _Assigned:
    """What the task-aligned assigner gave to the images of the last loss, all scores together: by
    this (by 1 where it is less) Ultralytics divides the loss, then multiplies by the images.

    Attributes:
        of_last: of the last call.
    """

    def __init__(self, criterion: v8DetectionLoss) -> None:
        self.of_last = 0.0
        criterion.assigner.register_forward_hook(self._note)

    def _note(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        self.of_last = float(outputs[2].sum())
