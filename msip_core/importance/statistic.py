"""What the calibration pass finds for one criterion or several: an object that brings its own
hooks and its own result.

    class Peaks(Statistic):
        kinds = frozenset({"peak"})      # what criteria name in `needs`
        wants = frozenset({"batches"})   # the passes that it takes part in

        def batch(self, part):           # hooks, while a micro-batch passes
            return watched(self.scene.model, self._see)

        def result(self):                # kind -> layer -> values
            return {"peak": self._peaks}

Defining the class makes it known. It is found by the names in `kinds`: a module of this package is
imported when somebody needs what it brings, so a new criterion adds a file and changes none.

    look      forward, the first images: scales that must be known before anything is counted
    batches   forward, every batch once
    backward  as `batches`, and the gradient of the batch's loss
    images    the gradient of the loss of every image alone
    few       forward, a few small images

Nothing that a statistic adds up leaves the device before `result`: the pass never waits for a
layer. What it finds afterwards, from passes of its own or none, is the business of `result`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from msip_core.detector.quiet_loss import MOST, criterion_of
from msip_core.importance.calibration import CalibrationSet
from msip_core.messages import msg

Pass = Literal["look", "batches", "backward", "images", "few"]
Place = Literal["gradient", "response"]
Found = Mapping[str, dict[str, Tensor]]


class Few(NamedTuple):
    """The pass "few": the first so many images, at most so many pixels large."""

    images: int
    side: int


class Scene:
    """The network and the images of one calibration pass.

    Args:
        at_once: images in memory at a time; changes no result.
        ctx: asked to stop, and told that the work is alive, by `pause`.

    Attributes:
        assigned: what the assigner gave to the images of the last loss, all scores together: by
            this (by 1 where it is less) Ultralytics divides the loss, then multiplies by the
            images.
    """

    def __init__(
        self, model: nn.Module, calibration: CalibrationSet, at_once: int, ctx: Any = None
    ) -> None:
        self.model, self.calibration, self.at_once, self.ctx = model, calibration, at_once, ctx
        self.device = next(model.parameters()).device
        self.criterion: Any = criterion_of(model, self.device)  # type: ignore[arg-type]
        self.assigned = torch.zeros(())
        self.criterion.assigner.register_forward_hook(self._note)

    @property
    def everything(self) -> range:
        """Numbers of all images."""
        return range(len(self.calibration))

    def parts(self, images: range) -> Iterator[range]:
        """The images a micro-batch at a time, with a pause before each."""
        for part in self.calibration.micro_batches(images, self.at_once):
            self.pause()
            yield part

    def pixels(self, part: range) -> Tensor:
        """(b, 3, s, s) float32 in [0, 1]."""
        return self.calibration.pixels(part, self.device)

    def loss(self, part: range) -> Tensor:
        """Loss of these images; its gradient is theirs, as a training step would divide it."""
        output = self.model(self.pixels(part))
        targets: dict[str, Any] = dict(self.calibration.targets(part, self.device))
        targets[MOST] = max((len(self.calibration.labels[i]) for i in part), default=0)
        total: Tensor = self.criterion(output, targets)[0].sum()
        return total

    def pause(self) -> None:
        """A safe point: may raise."""
        if self.ctx is not None:
            self.ctx.check_stop()

    def _note(self, _module: nn.Module, _inputs: Any, outputs: Any) -> None:
        self.assigned = outputs[2].detach().sum()


class Statistic:
    """Base of the statistics; see the module's text.

    Args:
        asked: the kinds that somebody needs, some or all of `kinds`.

    Attributes:
        kinds: what it can find.
        place: where its kinds lie in `Statistics`: "gradient" by layer, "response" by convolution.
        alongside: kind -> kinds that are found with it, whoever asks for it.
        wants: passes to take part in.
        few: which images the pass "few" shows.
    """

    kinds: ClassVar[frozenset[str]] = frozenset()
    place: ClassVar[Place] = "response"
    alongside: ClassVar[Mapping[str, frozenset[str]]] = {}
    wants: ClassVar[frozenset[Pass]] = frozenset()
    few: ClassVar[Few] = Few(images=32, side=320)

    def __init__(self, scene: Scene, asked: frozenset[str]) -> None:
        self.scene, self.asked = scene, asked

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        for kind in cls.kinds:
            known = _KNOWN.setdefault(kind, cls)
            if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
                raise ValueError(
                    msg("{qualname} finds '{kind}' already", qualname=known.__qualname__, kind=kind)
                )
            _KNOWN[kind] = cls  # a module that was loaded again

    # --- while the network runs: hooks, taken off again at the end ---

    def look(self, part: range) -> AbstractContextManager[Any]:
        """The images `part` pass for the look."""
        return nullcontext()

    def batch(self, part: range) -> AbstractContextManager[Any]:
        """The images `part` of a batch pass; backward outside of this."""
        return nullcontext()

    def few_images(self, part: range) -> AbstractContextManager[Any]:
        """The small images `part` pass."""
        return nullcontext()

    # --- between ---

    def looked(self) -> None:
        """The look is over."""

    def end_part(self) -> None:
        """A micro-batch of any pass is over, backward as well."""

    def end_batch(self, factor: Tensor) -> None:
        """A batch is over. The model holds the gradients of its loss; what the statistic itself
        gathered on the way back is still to be multiplied by `factor`."""

    def end_image(self) -> None:
        """The model holds the gradients of one image's loss."""

    # --- afterwards ---

    def result(self) -> Found:
        """Kind -> layer -> values, of the kinds that were asked for; on any device."""
        raise NotImplementedError(msg("{name} must tell what it found", name=type(self).__name__))


_KNOWN: dict[str, type[Statistic]] = {}


def statistic_of(kind: str) -> type[Statistic] | None:
    """The statistic that finds `kind`, or None."""
    if kind not in _KNOWN:
        load_all()
    return _KNOWN.get(kind)


def kinds_in(place: Place) -> frozenset[str]:
    """All kinds that lie there."""
    load_all()
    return frozenset(kind for kind, known in _KNOWN.items() if known.place == place)


def load_all() -> None:
    """Import every module of this package, so that what they bring is known."""
    package = import_module(__package__)
    for module in pkgutil.iter_modules(package.__path__, f"{__package__}."):
        import_module(module.name)


def on_cpu(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same on the processor, in one copy for every type of number."""
    found = {name: value.detach() for name, value in values.items()}
    for dtype in {value.dtype for value in found.values() if value.device.type != "cpu"}:
        some = {n: v for n, v in found.items() if v.dtype == dtype and v.device.type != "cpu"}
        sizes = [value.numel() for value in some.values()]
        flat = torch.cat([value.flatten() for value in some.values()]).cpu().split(sizes)
        found |= {n: f.view(v.shape) for (n, v), f in zip(some.items(), flat, strict=True)}
    return found


def asked_of(needs: Iterable[str]) -> dict[type[Statistic], frozenset[str]]:
    """Statistic -> what is needed of it, in a fixed order.

    Raises:
        ValueError: a kind that nothing finds.
    """
    found: dict[type[Statistic], set[str]] = {}
    unknown = []
    for kind in sorted(needs):
        known = statistic_of(kind)
        if known is None:
            unknown.append(kind)
        else:
            found.setdefault(known, set()).add(kind)
    if unknown:
        raise ValueError(
            msg("The calibration pass cannot gather {unknown}.", unknown=", ".join(unknown))
        )
    return {known: frozenset(kinds) for known, kinds in found.items()}
