"""Everything that criteria need from data, gathered in ONE calibration pass.

Forward and backward per micro-batch; gradients are summed over the micro-batches of a batch, as if
it had passed at once (Ultralytics divides a loss by what its own images were assigned; that is
undone for each part and done for the whole batch). Batch norm is in eval mode: in train mode it
makes a filter scale-free and the sum of w*g over it vanishes.

What is found, from which passes, is told by the statistics themselves (statistic.py), and only
what is asked for is done. Memory is bounded by one micro-batch, whatever the number of images: on a
processor as many as the settings say, since more are no faster and others need the memory too; on a
GPU as many as a share of what is free holds, up to a whole batch, and never fewer than the settings
say. That changes how fast the pass is, not what it finds. Nothing is read from the device before
all is over, so a GPU is never waited for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.utils import IterableSimpleNamespace

from msip_core.groups.hooks import modes_kept
from msip_core.importance.calibration import CalibrationSet, shrunk
from msip_core.importance.statistic import (
    Few,
    Pass,
    Scene,
    Statistic,
    asked_of,
    kinds_in,
    on_cpu,
    statistic_of,
)
from msip_core.messages import msg

logger = logging.getLogger(__name__)

_GAINS = {"box": 7.5, "cls": 0.5, "dfl": 1.5}  # of a model that was saved without its settings
_LOOK = 16  # images; twice as many change less of what is removed than other images do
Hooks = Callable[[Statistic, range], AbstractContextManager[Any]]


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

    def of(self, kind: str) -> dict[str, Tensor]:
        """Where a kind lies, empty if it was not gathered."""
        known = statistic_of(kind)
        if known is None:
            raise ValueError(msg("The calibration pass cannot gather {kind}.", kind=kind))
        place = self.gradient if known.place == "gradient" else self.response
        return place.setdefault(kind, {})


def __getattr__(name: str) -> frozenset[str]:
    """GRADIENT and RESPONSE: the kinds of either place, also those that were added since."""
    if name == "GRADIENT":
        return kinds_in("gradient")
    if name == "RESPONSE":
        return kinds_in("response")
    raise AttributeError(
        msg("module {name} has no attribute {attribute}", name=repr(__name__), attribute=repr(name))
    )


def complete(needs: frozenset[str]) -> frozenset[str]:
    """What is asked for, with what is found alongside it."""
    known = {kind: statistic_of(kind) for kind in needs}
    more = (k.alongside.get(kind, frozenset()) for kind, k in known.items() if k)
    return needs.union(*more)


def gather(
    model: nn.Module, calibration: CalibrationSet, needs: frozenset[str], ctx: Any = None
) -> Statistics:
    """Run the calibration pass that `needs` asks for; the model is left as it was.

    Args:
        model: an Ultralytics DetectionModel, on the device to work on.
        needs: kinds of Statistics; unknown ones raise ValueError.
        ctx: asked to stop, and told that the work is alive, at every micro-batch.
    """
    asked = asked_of(complete(needs))
    if not asked:
        return Statistics()
    with ready(model):
        at_once = _at_once(model, calibration)
        try:
            return _run(model, calibration, at_once, asked, ctx)
        except torch.OutOfMemoryError:
            if at_once <= calibration.micro_batch:
                raise
            logger.warning(
                "%d images at once did not fit: again with %d", at_once, calibration.micro_batch
            )
        torch.cuda.empty_cache()  # outside, where nothing holds what was left behind
        return _run(model, calibration, calibration.micro_batch, asked, ctx)


def _at_once(model: nn.Module, calibration: CalibrationSet) -> int:
    device = next(model.parameters()).device
    return images_at_once(
        model,
        calibration.pixels(range(1), device),
        calibration.micro_batch,
        calibration.batch,
        free_bytes(device),
    )


def _run(
    model: nn.Module,
    calibration: CalibrationSet,
    at_once: int,
    asked: Mapping[type[Statistic], frozenset[str]],
    ctx: Any,
) -> Statistics:
    scene = Scene(model, calibration, at_once, ctx)
    statistics = [known(scene, kinds) for known, kinds in asked.items()]
    _look(scene, _taking_part(statistics, "look"))
    backward = _taking_part(statistics, "backward")
    watching = [*_taking_part(statistics, "batches"), *backward]
    _batches(scene, watching, backward=bool(backward))
    _images(scene, _taking_part(statistics, "images"))
    _few(scene, _taking_part(statistics, "few"))
    found = Statistics(gathered=frozenset().union(*asked.values()), images=len(calibration))
    for statistic in statistics:
        for kind, values in statistic.result().items():
            found.of(kind).update(on_cpu(values))
    return found


def _taking_part(statistics: Sequence[Statistic], what: Pass) -> list[Statistic]:
    return [one for one in statistics if what in one.wants]


def _hooked(some: Sequence[Statistic], part: range, hooks: Hooks) -> ExitStack:
    """Everybody's hooks on the network."""
    with ExitStack() as stack:
        for one in some:
            stack.enter_context(hooks(one, part))
        return stack.pop_all()


@torch.no_grad()
def _look(scene: Scene, some: Sequence[Statistic]) -> None:
    """Scales and ranges from the first images, forward only."""
    for part in scene.parts(scene.everything[:_LOOK]) if some else []:
        with _hooked(some, part, lambda one, images: one.look(images)):
            scene.model(scene.pixels(part))
        for one in some:
            one.end_part()
    for one in some:
        one.looked()


def _batches(scene: Scene, some: Sequence[Statistic], *, backward: bool) -> None:
    """Every batch once: forward, and backward where gradients are scored."""
    for batch in scene.calibration.batches() if some else []:
        scene.model.zero_grad(set_to_none=True)
        assigned = torch.zeros((), dtype=torch.float64, device=scene.device)
        for part in scene.parts(batch):
            with (
                _hooked(some, part, lambda one, images: one.batch(images)),
                torch.set_grad_enabled(backward),
            ):
                loss = scene.loss(part) if backward else scene.model(scene.pixels(part))
            if backward:
                (loss * scene.assigned.clamp(min=1) / len(part)).backward()
                assigned += scene.assigned
            for one in some:
                one.end_part()
        factor = len(batch) / assigned.clamp(min=1)
        if backward:
            multiply_gradients(scene.model, factor)
        for one in some:
            one.end_batch(factor)


@torch.no_grad()
def multiply_gradients(model: nn.Module, factor: Tensor) -> None:
    """All gradients that the model holds, in place."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    if gradients:
        torch._foreach_mul_(gradients, factor.to(gradients[0].dtype))


def _images(scene: Scene, some: Sequence[Statistic]) -> None:
    """The gradient of every image's own loss."""
    for i in scene.everything if some else []:
        scene.pause()
        scene.model.zero_grad(set_to_none=True)
        scene.loss(range(i, i + 1)).backward()
        for one in some:
            one.end_image()


@torch.no_grad()
def _few(scene: Scene, some: Sequence[Statistic]) -> None:
    """A few small images, forward only; once for all who want the same ones."""
    wishes: dict[Few, list[Statistic]] = {}
    for one in some:
        wishes.setdefault(one.few, []).append(one)
    for few, those in wishes.items():
        for part in scene.parts(scene.everything[: few.images]):
            with _hooked(those, part, lambda one, images: one.few_images(images)):
                scene.model(shrunk(scene.pixels(part), few.side))
            for one in those:
                one.end_part()


@contextmanager
def ready(model: nn.Module) -> Iterator[None]:
    """Eval mode, gradients on, loss gains as attributes, no cached anchors; then all as before."""
    flags = {p: p.requires_grad for p in model.parameters()}
    grads = {p: p.grad for p in model.parameters()}
    args = model.args
    head: Any = model.model[-1]  # type: ignore[index]
    fixed = {id(p) for p in head.dfl.parameters()}
    # Anchors cached under inference mode cannot take part in a backward pass.
    head.shape = None
    if isinstance(args, dict):  # as a loaded checkpoint has them; the loss wants attributes
        model.args = IterableSimpleNamespace(**{**_GAINS, **args})
    for p in model.parameters():
        p.requires_grad_(id(p) not in fixed)
        p.grad = None
    try:
        with modes_kept(model), torch.enable_grad():
            model.eval()
            yield
    finally:
        model.args = args
        head.shape = None
        for p, flag in flags.items():
            p.requires_grad_(flag)
            p.grad = grads[p]


# --- how many images of a pass are in memory at once ------------------------------

SHARE = 0.25  # of what is free: other runs may be on the same GPU, and come to need theirs
PEAK = 2.0  # of what the backward pass keeps: gradients, and what is counted on the way


def images_at_once(model: nn.Module, image: Tensor, least: int, most: int, free: int | None) -> int:
    """How many images of one size pass the network at a time.

    Args:
        model: as it will run, with gradients.
        image: (1, 3, s, s), on the device of the model.
        least: as the settings say; also where nothing is known of the memory.
        most: more would be of no use.
        free: bytes, or None where it is not to be asked.
    """
    if free is None or most <= least:
        return least
    fit = int(SHARE * free / (PEAK * max(1, bytes_kept(model, image))))
    return max(least, min(most, fit))


def free_bytes(device: torch.device) -> int | None:
    """What is free on a GPU for this process, or None for another device."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    mine = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free + mine


def bytes_kept(model: nn.Module, image: Tensor) -> int:
    """What a forward pass of `image` keeps for the backward pass, the weights apart."""
    own = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        memory = tensor.untyped_storage()
        if memory.data_ptr() not in own:
            kept[memory.data_ptr()] = memory.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda kept: kept):
        output = model(image)  # held until all is counted: memory that is free is given out again
    del output
    return sum(kept.values())
