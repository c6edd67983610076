"""OBS: what a channel costs after the channels that stay have made up for it.

The refit after a cut (pruning.refit) gives each convolution that read removed channels the weights
that fit best again, so what channels cost is only what those that stay cannot say in their place.
With X the input of a convolution at positions of the calibration images (one row a kernel window,
about its mean where a batch norm or a bias stands behind), A = X'X / n, S the inputs that go and
w_o the weights of output o, the least of

    E[(X change_o)^2] + lambda |change of the other weights|^2,   lambda = ridge * mean(diag A)

with change_S = -w_o,S is, as a mean square of what output o still lacks,

    e_o(S) = w_o,S' ([(A + lambda I)^-1]_SS)^-1 w_o,S - lambda |w_o,S|^2

OBS at ridge 0, ZipLM for blocks; the refit minimises the same. As the ridge grows nothing is made
up for, and e_o becomes w_o,S' A_SS w_o,S. In units of the loss:

    cost(S) = sum over readers of sum over outputs o of F_o e_o(S) / 2
    F_o     = mean over images of the sum over positions of (d loss of the image / d output)^2

The loss of an image is its share of the loss of its batch, as Ultralytics adds it up; F is the
diagonal of the (empirical) Fisher information, taken as the curvature, and as independent of where
the error lies. So a cost is the expected rise of the loss of one image by second order, as in
taylor-2, and compares between layers.

Two channels that say the same cost nothing each, but not both together. So the channels of a group
are taken out one by one, always the one that adds least to the cost of those that are out already,
as ZipLM does; a channel's score is what it adds in its turn, and no less than what came before it
(who wants it out takes those first). Of two twins one is free, the other costs what both say.

A reader's inputs that belong to one channel (its kernel; all copies of it where a convolution reads
several, as behind SPPF and the shortcuts of C2f) go together. A depthwise convolution hands nothing
from one channel to another: its filter goes with the channel that it reads, so it adds no cost of
its own; the convolutions that read it do. Groups are looked at one at a time.

Source: Hassibi & Stork 1993 (Optimal Brain Surgeon); Kurtić et al. 2023 (ZipLM), arXiv:2302.04089.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from msip_core.groups.coupling import prunable_groups
from msip_core.groups.hooks import heard
from msip_core.groups.members import group_name, members, width
from msip_core.importance.members import GroupImportance
from msip_core.importance.statistic import Found, Scene, Statistic
from msip_core.importance.windows import Places, norms_behind, windows

RIDGE = 0.1  # the middle one of the refit's
MOMENT_BYTES = 2**29  # of the moments that are gathered in one pass


class ObsImportance(GroupImportance):
    """Loss of one image, so all groups compare in one ranking."""

    needs = frozenset({"obs"})

    @torch.no_grad()
    def __call__(self, group: Any) -> Tensor:
        return cost_of(group, self.statistics)


def cost_of(group: Any, statistics: Any) -> Tensor:
    """(channels,) float64 what was found for the channels of a group."""
    found: Tensor = statistics.response["obs"][group_name(group)]
    return found[torch.tensor(group[0].idxs)]


@dataclass(frozen=True)
class Coupled:
    """A group of coupled channels and who reads it.

    Attributes:
        inputs: reader -> for each channel of the group, which inputs of the reader go with it.
    """

    name: str
    channels: int
    inputs: dict[str, list[list[int]]]


def coupled(groups: Iterable[Any]) -> list[Coupled]:
    """The groups of a network, as far as their readers mix channels."""
    found = []
    for group in groups:
        inputs: dict[str, list[list[int]]] = {}
        for member in members(group):
            if member.kind == "in":
                own = inputs.setdefault(member.name, [[] for _ in range(width(group))])
                for position, index in zip(member.positions.tolist(), member.indices.tolist()):
                    own[position].append(index)
        found.append(Coupled(group_name(group), width(group), inputs))
    return found


def portions(groups: Sequence[Coupled], convs: Mapping[str, nn.Conv2d]) -> list[list[Coupled]]:
    """The groups in sets whose readers' moments fit in MOMENT_BYTES (a larger group alone)."""
    found: list[list[Coupled]] = [[]]
    held: set[str] = set()
    for group in groups:
        wanted = held | set(group.inputs)
        if found[-1] and sum(moment_bytes(convs[name]) for name in wanted) > MOMENT_BYTES:
            found.append([])
            wanted = set(group.inputs)
        found[-1].append(group)
        held = wanted
    return found


class Reader:
    """One convolution that reads a group, while channels of the group go one by one.

    (A + lambda I)^-1 of the inputs that are left is kept as that of all inputs less L L', which
    grows by the columns of each channel that goes: what a step needs of it, the blocks of the
    channels, is brought up to date, the rest is never written.

    Args:
        moments: (inputs, inputs) float64 mean products; inputs are channels times kernel.
        weight: (out, in, ...) of the convolution.
        fisher: (out,) curvature of the loss with respect to each output.
        own: for each channel of the group, the channels of the convolution that go with it.
        ridge: > 0, share of the mean square of the inputs.
    """

    def __init__(
        self,
        moments: Tensor,
        weight: Tensor,
        fisher: Tensor,
        own: Sequence[Sequence[int]],
        ridge: float = RIDGE,
    ) -> None:
        level = ridge * moments.diagonal().mean()
        level = torch.where(level > 0, level, 1.0)  # what never varies costs nothing
        eye = torch.eye(len(moments), dtype=moments.dtype, device=moments.device)
        self._inverse = torch.cholesky_inverse(torch.linalg.cholesky(moments + level * eye))
        self._weight = weight.detach().to(moments).flatten(1).clone()
        self._fisher = fisher.to(moments)
        self._inputs = self._inputs_of(own, weight[0, 0].numel())  # (channels, b)
        size = self._inputs.numel()
        self._factor = moments.new_empty(len(self._inverse), size)
        self._used = 0
        rows, columns = self._inputs[:, :, None], self._inputs[:, None]
        self._blocks = self._inverse[rows, columns]  # (channels, b, b)
        squares = self._weight.square().t() @ self._fisher  # (inputs,)
        self._penalty = level * squares[self._inputs].sum(1)

    def _inputs_of(self, own: Sequence[Sequence[int]], kernel: int) -> Tensor:
        """(channels, b) numbers of the inputs that go with each channel; where one has fewer than
        another, inputs that are appended for it, which nothing has to do with, fill its row."""
        most = max(len(some) for some in own)
        taps, end = range(kernel), len(self._inverse)
        rows = [[c * kernel + tap for c in some for tap in taps] for some in own]
        missing = sum(most * kernel - len(row) for row in rows)
        if missing:
            more = torch.eye(missing).to(self._inverse)
            self._inverse = torch.block_diag(self._inverse, more)
            nothing = self._weight.new_zeros(len(self._weight), missing)
            self._weight = torch.cat([self._weight, nothing], 1)
        fill = iter(range(end, end + missing))
        full = [row + [next(fill) for _ in range(most * kernel - len(row))] for row in rows]
        return torch.tensor(full, device=self._inverse.device)

    def costs(self, left: Tensor) -> Tensor:
        """(n,) what each of these channels, all still there, would add to the cost."""
        weights = self._weight[:, self._inputs[left]].permute(1, 2, 0)  # (n, b, out)
        errors = (weights * torch.linalg.solve(self._blocks[left], weights)).sum(1)
        return (errors @ self._fisher - self._penalty[left]) / 2

    @property
    def device(self) -> torch.device:
        """Where it works."""
        return self._inverse.device

    def remove(self, channel: Tensor) -> None:
        """Take the channel (1,) out and make up for it."""
        own = self._inputs[channel][0]
        done = self._factor[:, : self._used]
        columns = self._inverse[:, own] - done @ done[own].t()
        root = torch.linalg.cholesky(columns[own])
        fresh = torch.linalg.solve_triangular(root, columns.t(), upper=False).t()  # (inputs, b)
        # W - W_S (P_SS)^-1 P_S, and P - P_S' (P_SS)^-1 P_S, with P_SS = root root'
        lost = torch.linalg.solve_triangular(root, self._weight[:, own].t(), upper=False)
        self._weight -= lost.t() @ fresh.t()
        blocks = fresh[self._inputs]
        self._blocks -= blocks @ blocks.mT
        self._factor[:, self._used : self._used + len(own)] = fresh
        self._used += len(own)


@torch.no_grad()
def costs_in_turn(
    readers: Sequence[Reader], channels: int, pause: Callable[[], None] = lambda: None
) -> Tensor:
    """What each channel of a group adds in its turn, the cheapest first: (channels,) float64.

    Args:
        pause: called at every step; may raise.
    """
    if not readers:
        return torch.zeros(channels, dtype=torch.float64)
    left = torch.arange(channels, device=readers[0].device)
    score = torch.zeros(channels, dtype=torch.float64, device=left.device)
    most = score.new_zeros(1)
    for number in range(channels):
        pause()
        adds = torch.stack([reader.costs(left) for reader in readers]).sum(0)
        place = adds.argmin()[None]
        channel = left[place]
        most = torch.maximum(most, adds[place])
        score[channel] = most
        # All but this one, without a question to the device where it stands.
        rest = torch.arange(channels - number - 1, device=left.device)
        left = left[rest + (rest >= place)]
        for reader in readers:
            reader.remove(channel)
    return score.cpu()


class Removals(Statistic):
    """Of every group, by its first convolution: what its channels cost in their turn.

    The batches give the curvature of the loss; the moments of what convolutions read come from
    passes afterwards, as many groups at a time as memory allows.
    """

    kinds = frozenset({"obs"})
    wants = frozenset({"backward"})

    def __init__(self, scene: Scene, asked: frozenset[str]) -> None:
        super().__init__(scene, asked)
        self._groups = coupled(prunable_groups(scene.model).groups.values())
        self._outputs = OutputGradients(readers(scene.model))

    def batch(self, part: range) -> AbstractContextManager[Any]:
        return self._outputs.watching()

    def end_batch(self, factor: Tensor) -> None:
        self._outputs.close_batch(factor)

    @torch.no_grad()
    def result(self) -> Found:
        scene, convs = self.scene, self._outputs.convs
        found: dict[str, Tensor] = {}
        images = scene.everything
        fisher, centred = self._outputs.fisher(len(images)), centred_ones(scene.model)
        places = Places(len(images), POSITIONS, scene.calibration.seed)
        for some in portions(self._groups, convs):
            read = {name: convs[name] for group in some for name in group.inputs}
            moments = Moments(read, places)
            for part in scene.parts(images):
                with moments.watching(part):
                    scene.model(scene.pixels(part))
            products = {n: moments.take(n, centred=conv in centred) for n, conv in read.items()}
            for group in some:
                if not all(_finite(products[n], fisher[n]) for n in group.inputs):
                    # No number either, which whoever ranks the channels refuses by its name.
                    found[group.name] = torch.full((group.channels,), torch.nan).double()
                    continue
                left = [
                    Reader(products[name], read[name].weight, fisher[name], own)
                    for name, own in group.inputs.items()
                ]
                found[group.name] = costs_in_turn(left, group.channels, scene.pause)
        return {"obs": found}


def _finite(*values: Tensor) -> bool:
    return all(bool(torch.isfinite(v).all()) for v in values)


# --- what inputs have in common, and how the loss bends with outputs --------------
# Moments are 8 bytes for each pair of inputs (42 MB for 256 channels under 3x3), so wide networks
# pass several times. They are of full kernel windows: one value a channel would leave out that what
# a channel alone says is smooth in space.

POSITIONS = 8192  # of every map, over all images


def readers(model: nn.Module) -> dict[str, nn.Conv2d]:
    """The convolutions whose inputs can stand in for one another; not the fixed sum of DFL."""
    head: Any = model.model[-1]  # type: ignore[index]
    fixed = set(head.dfl.modules())
    return {
        name: m
        for name, m in model.named_modules()
        if isinstance(m, nn.Conv2d) and m.groups == 1 and m not in fixed
    }


def centred_ones(model: nn.Module) -> set[nn.Conv2d]:
    """The convolutions behind which something can take up a change of the mean."""
    behind = norms_behind(model)
    convs = (m for m in model.modules() if isinstance(m, nn.Conv2d))
    return {conv for conv in convs if conv.bias is not None or conv in behind}


def moment_bytes(conv: nn.Conv2d) -> int:
    """What the moments of one convolution take."""
    return 8 * conv.weight[0].numel() ** 2


class OutputGradients:
    """Squares of the loss's gradient with respect to the outputs of convolutions."""

    def __init__(self, convs: Mapping[str, nn.Conv2d]) -> None:
        self.convs = convs
        self._batch: dict[str, Tensor] = {}
        self._total: dict[str, Tensor] = {}

    def watching(self) -> AbstractContextManager[None]:
        """Add up, before any division of the loss, what passes back while inside."""
        return heard(self.convs, self._listen)

    def _listen(self, name: str, _inputs: Any, output: Tensor) -> None:
        def add(gradient: Tensor) -> None:
            square = gradient.square().sum((2, 3)).double().sum(0)
            self._batch[name] = self._batch.get(name, 0) + square

        output.register_hook(add)

    def close_batch(self, factor: Tensor | float) -> None:
        """Every gradient of the batch times this, as its parameters' are."""
        for name, square in self._batch.items():
            self._total[name] = self._total.get(name, 0) + factor**2 * square
        self._batch = {}

    def fisher(self, images: int) -> dict[str, Tensor]:
        """Convolution -> (out,) sum over positions, mean over images."""
        return {name: total / images for name, total in self._total.items()}


class Moments:
    """Sums and products of what convolutions read, over the places that are looked at."""

    def __init__(self, convs: Mapping[str, nn.Conv2d], places: Places) -> None:
        self.convs, self.places = convs, places
        self._sums: dict[str, Tensor] = {}
        self._products: dict[str, Tensor] = {}
        self._rows: dict[str, int] = {}

    def watching(self, part: range) -> AbstractContextManager[None]:
        """Add up what the images of these numbers make pass while inside."""
        return heard(self.convs, partial(self._add, part))

    def _add(self, part: range, name: str, inputs: Any, output: Tensor) -> None:
        x = inputs[0].detach()
        cells = self.places(part, output.shape[2] * output.shape[3], x.device)
        rows = windows(self.convs[name], x, cells, output.shape[3])[:, 0]
        # MPS knows no float64; float32 would lose what varies about a large mean.
        rows = (rows.cpu() if x.device.type == "mps" else rows).double()
        self._sums[name] = self._sums.get(name, 0) + rows.sum(0)
        self._products[name] = self._products.get(name, 0) + rows.t() @ rows
        self._rows[name] = self._rows.get(name, 0) + len(rows)

    def take(self, name: str, *, centred: bool) -> Tensor:
        """(d, d) float64 X'X / n, about the mean where `centred`; not kept any longer."""
        rows = self._rows.pop(name)
        mean, products = self._sums.pop(name) / rows, self._products.pop(name) / rows
        return products - torch.outer(mean, mean) if centred else products
