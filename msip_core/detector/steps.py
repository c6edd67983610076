"""Optimizer steps of one epoch, of which none may take up a gradient that is not finite.

    WatchedSteps   looks at every loss and every gradient norm before it goes on
    MaskedSteps    leaves both on the device and goes on; they are read once, after the epoch

Looking makes a GPU wait for the processor and the processor for the GPU, twice a batch. The masked
step does the same without: the optimizer is told, by a number that is on the device, to leave
everything as it is, and so is the running average. On a processor looking costs nothing.

A batch whose loss is not finite is left out and counted. A gradient that is not finite in spite of
finite losses costs all batches that were gathered in it. They differ in one thing: where several
batches make a step, MaskedSteps takes it after so many batches, WatchedSteps after so many usable
ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from ultralytics.utils.torch_utils import ModelEMA

from msip_core.detector.extras import GradientTerm

CLIP = 10.0  # largest norm of a gradient, Ultralytics' value


class Steps(Protocol):
    """What an epoch tells of its batches.

    Attributes:
        waiting: batches that the next step will take up.
    """

    waiting: int

    def begin(self, batches: int) -> None:
        """An epoch of so many batches begins."""

    def take(self, loss: Tensor, items: dict[str, Tensor]) -> None:
        """Go backward from the loss (a scalar) of one batch; `items` are its parts."""

    def step(self, progress: float) -> None:
        """Move the weights by what is waiting; `progress` is that of the fit, in [0, 1)."""

    def finish(self) -> tuple[dict[str, float], int]:
        """Sums of the items over all usable batches, and how many were not usable."""


class WatchedSteps:
    """Reads every loss and norm.

    Args:
        move: one step, told the progress; False if the gradient was not finite.
    """

    def __init__(self, move: Callable[[float], bool]) -> None:
        self._move = move
        self.begin(0)

    def begin(self, batches: int) -> None:
        self.waiting, self._bad = 0, 0
        self._sums: dict[str, Tensor] = {}

    def take(self, loss: Tensor, items: dict[str, Tensor]) -> None:
        if not torch.isfinite(loss):
            self._bad += 1
            return
        loss.backward()
        self.waiting += 1
        for name, value in items.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value

    def step(self, progress: float) -> None:
        self._bad += self.waiting * (not self._move(progress))
        self.waiting = 0

    def finish(self) -> tuple[dict[str, float], int]:
        return {name: float(value) for name, value in self._sums.items()}, self._bad


class MaskedSteps:
    """Reads nothing before the epoch is over.

    Args:
        optimizer: SGD; from now on with its fused kernel, which knows how to skip a step.
        average: of `model`, in place of whose own update this one is used.
    """

    def __init__(
        self,
        model: nn.Module,
        trained: Sequence[nn.Parameter],
        optimizer: torch.optim.Optimizer,
        average: ModelEMA,
        terms: Sequence[GradientTerm],
    ) -> None:
        self._trained = [weight for weight in trained if weight.requires_grad]
        self._optimizer, self._average, self._terms = optimizer, average, terms
        weights = model.state_dict()
        floats = [n for n, v in average.ema.state_dict().items() if v.dtype.is_floating_point]
        self._followed = [weights[name] for name in floats]
        self._following = [average.ema.state_dict()[name] for name in floats]
        self._device = self._trained[0].device

    def begin(self, batches: int) -> None:
        self._skipping()
        self.waiting = 0
        self._sums: dict[str, Tensor] = {}
        self._gathered: dict[nn.Parameter, Tensor] = {}
        self._good = self._count(torch.bool)  # whether the last batch is usable
        self._usable, self._bad, self._steps = (self._count(torch.int64) for _ in range(3))
        done = self._average.updates
        pace = [1 - self._average.decay(done + number) for number in range(batches + 1)]
        self._pace = torch.tensor(pace, device=self._device)

    def _count(self, dtype: torch.dtype) -> Tensor:
        return torch.zeros((), dtype=dtype, device=self._device)

    def _skipping(self) -> None:
        """Make the optimizer one that can skip; a resumed one comes back as it was saved.

        The kernel would leave the momentum of a first step that is skipped unset: it starts from
        zero, which gives the same steps.
        """
        for group in self._optimizer.param_groups:
            group["fused"], group["foreach"] = True, False
            for weight in group["params"]:
                if weight.requires_grad and self._optimizer.state[weight].get(_MOMENTUM) is None:
                    self._optimizer.state[weight][_MOMENTUM] = torch.zeros_like(weight)

    def take(self, loss: Tensor, items: dict[str, Tensor]) -> None:
        if self.waiting:
            self._put_aside()
        self._good = torch.isfinite(loss.detach())
        loss.backward()
        self.waiting += 1
        self._usable += self._good
        self._bad += ~self._good
        for name, value in items.items():
            usable = torch.where(self._good, value, 0.0)
            self._sums[name] = self._sums[name] + usable if name in self._sums else usable

    def _put_aside(self) -> None:
        """Add the last batch's gradient, if it is usable, to those that were gathered."""
        for weight in self._trained:
            if weight.grad is None:
                continue
            usable = torch.where(self._good, weight.grad, 0.0)
            before = self._gathered.get(weight)
            self._gathered[weight] = usable if before is None else before.add_(usable)
            weight.grad = None

    def step(self, progress: float) -> None:
        if self._gathered:
            self._put_aside()
            for weight, gradient in self._gathered.items():
                weight.grad = gradient
            self._gathered = {}
        norm = nn.utils.clip_grad_norm_(self._trained, max_norm=CLIP)
        usable = torch.isfinite(norm) & (self._usable > 0)
        for term in self._terms:
            term.add(progress)
        self._optimizer.found_inf = (~usable).float()  # type: ignore[attr-defined]
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._follow(usable)
        self._bad += torch.where(usable, 0, self._usable)
        self._usable.zero_()
        self.waiting = 0

    @torch.no_grad()
    def _follow(self, usable: Tensor) -> None:
        """The running average of weights and statistics: ModelEMA.update, or nothing."""
        self._steps += usable
        pace = self._pace.index_select(0, self._steps[None])[0] * usable
        apart = torch._foreach_sub(self._followed, self._following)
        torch._foreach_mul_(apart, pace)
        torch._foreach_add_(self._following, apart)

    def finish(self) -> tuple[dict[str, float], int]:
        bad, steps, *sums = torch.stack(
            [one.double() for one in (self._bad, self._steps, *self._sums.values())]
        ).tolist()
        self._average.updates += int(steps)
        return dict(zip(self._sums, sums, strict=True)), int(bad)


_MOMENTUM = "momentum_buffer"
