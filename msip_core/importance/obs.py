"""OBS: what a channel costs after the others have made up for it.

The refit after a cut (pruning.refit) gives each convolution that read a removed channel the weights
that fit best again, so what a channel costs is only what the channels that stay cannot say in its
place. With X the input of a convolution at positions of the calibration images (one row a kernel
window, about its mean where a batch norm or a bias stands behind), A = X'X / n, B the inputs that
go together (the kernel of one channel; of every copy of it where a convolution reads several, as
behind SPPF and the shortcuts of C2f) and w_o,B the weights of output o there, the least of

    E[(X change_o)^2] + lambda |change of the other weights|^2,   lambda = ridge * mean(diag A)

with change_B = -w_o,B is, as a mean square of what output o still lacks,

    e_o = w_o,B' M w_o,B,   M = ([(A + lambda I)^-1]_BB)^-1 - lambda I

OBS at ridge 0, ZipLM for blocks; the refit minimises the same. As the ridge grows nothing is made
up for, and M becomes A_BB. In units of the loss:

    score = sum over readers of sum over outputs o of F_o e_o / 2
    F_o   = mean over images of the sum over positions of (d loss of the image / d output)^2

The loss of an image is its share of the loss of its batch, as Ultralytics adds it up; F is the
diagonal of the (empirical) Fisher information, taken as the curvature, and as independent of where
the error lies. So a score is the expected rise of the loss of one image by second order, as in
taylor-2, and compares between layers.

A depthwise convolution hands nothing from one channel to another: its filter goes with the channel
that it reads, so it adds no cost of its own; the convolutions that read it do.

Moments are gathered at POSITIONS positions over all images, drawn by seed for each image alone, in
full kernel windows: one value a channel would leave out that what a channel alone says is smooth in
space. They take 8 bytes for each pair of inputs (42 MB for 256 channels under 3x3); wide networks
pass several times, MOMENT_BYTES at a time.

Source: Hassibi & Stork 1993 (Optimal Brain Surgeon); Kurtić et al. 2023 (ZipLM), arXiv:2302.04089.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from msip_core.importance.members import GroupImportance, Member, members
from msip_core.importance.windows import Places, norms_behind, windows

RIDGE = 0.1  # the middle one of the refit's
POSITIONS = 8192  # of every map, over all images
MOMENT_BYTES = 2**29
_NUMBER = 8  # bytes


class ObsImportance(GroupImportance):
    """Loss of one image, so all groups compare in one ranking; sum over the readers."""

    needs = frozenset({"obs"})
    reduction = "sum"

    def member_score(self, member: Member) -> Tensor | None:
        if member.kind != "in":
            return None
        cost: Tensor = self.statistics.response["obs"][member.name]
        return cost[member.indices]


def readers(model: nn.Module) -> dict[str, nn.Conv2d]:
    """The convolutions whose inputs can stand in for one another; not the fixed sum of DFL."""
    head: Any = model.model[-1]  # type: ignore[index]
    fixed = set(head.dfl.modules())
    return {
        name: m
        for name, m in model.named_modules()
        if isinstance(m, nn.Conv2d) and m.groups == 1 and m not in fixed
    }


def copies(groups: Mapping[str, Any]) -> dict[str, list[Tensor]]:
    """Reader -> sets of its inputs that go with one channel, where that is more than one."""
    found: dict[str, list[Tensor]] = {}
    for group in groups.values():
        places: dict[str, dict[int, list[int]]] = {}
        for member in members(group):
            if member.kind == "in":
                own = places.setdefault(member.name, {})
                for position, index in zip(member.positions.tolist(), member.indices.tolist()):
                    own.setdefault(position, []).append(index)
        for name, own in places.items():
            sets = [torch.tensor(sorted(c)) for c in own.values() if len(c) > 1]
            found.setdefault(name, []).extend(sets)
    return found


class OutputGradients:
    """Squares of the loss's gradient with respect to the outputs of convolutions."""

    def __init__(self, convs: Mapping[str, nn.Conv2d]) -> None:
        self.convs = convs
        self._batch: dict[str, Tensor] = {}
        self._total: dict[str, Tensor] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Add up, before any division of the loss, what passes back while inside."""
        with ExitStack() as hooks:
            for name, conv in self.convs.items():
                hooks.callback(conv.register_forward_hook(self._listener(name)).remove)
            yield

    def _listener(self, name: str) -> Any:
        def add(gradient: Tensor) -> None:
            square = gradient.double().square().sum((0, 2, 3)).cpu()
            self._batch[name] = self._batch.get(name, 0) + square

        def listen(_conv: nn.Module, _inputs: Any, output: Tensor) -> None:
            output.register_hook(add)

        return listen

    def close_batch(self, factor: float) -> None:
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

    @contextmanager
    def watching(self, part: range) -> Iterator[None]:
        """Add up what the images of these numbers make pass while inside."""
        with ExitStack() as hooks:
            for name, conv in self.convs.items():
                hooks.callback(conv.register_forward_hook(self._listener(name, part)).remove)
            yield

    def _listener(self, name: str, part: range) -> Any:
        return lambda conv, inputs, output: self._add(name, conv, inputs[0], output, part)

    def _add(self, name: str, conv: nn.Conv2d, x: Tensor, output: Tensor, part: range) -> None:
        cells = self.places(part, output.shape[2] * output.shape[3]).to(x.device)
        rows = windows(conv, x.detach(), cells, output.shape[3])[:, 0]
        # MPS knows no float64; where the mean is large, float32 would lose what varies about it.
        rows = (rows.cpu() if x.device.type == "mps" else rows).double()
        self._sums[name] = self._sums.get(name, 0) + rows.sum(0)
        self._products[name] = self._products.get(name, 0) + rows.t() @ rows
        self._rows[name] = self._rows.get(name, 0) + len(rows)

    def take(self, name: str, *, centred: bool) -> Tensor:
        """(d, d) float64 X'X / n, about the mean where `centred`; not kept any longer."""
        rows = self._rows.pop(name)
        mean, products = self._sums.pop(name) / rows, self._products.pop(name) / rows
        return products - torch.outer(mean, mean) if centred else products


def portions(convs: Mapping[str, nn.Conv2d]) -> list[dict[str, nn.Conv2d]]:
    """The convolutions in sets whose moments fit in MOMENT_BYTES (one that is larger alone)."""
    found: list[dict[str, nn.Conv2d]] = [{}]
    used = 0
    for name, conv in convs.items():
        size = _NUMBER * conv.weight[0].numel() ** 2
        if found[-1] and used + size > MOMENT_BYTES:
            found.append({})
            used = 0
        found[-1][name] = conv
        used += size
    return found


def centred_ones(model: nn.Module) -> set[nn.Conv2d]:
    """The convolutions behind which something can take up a change of the mean."""
    behind = norms_behind(model)
    convs = (m for m in model.modules() if isinstance(m, nn.Conv2d))
    return {conv for conv in convs if conv.bias is not None or conv in behind}


@torch.no_grad()
def removal_costs(
    moments: Tensor,
    weight: Tensor,
    fisher: Tensor,
    together: Sequence[Tensor] = (),
    ridge: float = RIDGE,
) -> Tensor:
    """What each input channel of one convolution costs after the others have made up for it.

    Args:
        moments: (c * k, c * k) float64 mean products of inputs, k the size of the kernel.
        weight: (out, c, ...) of the convolution.
        fisher: (out,) curvature of the loss with respect to each output.
        together: sets of channels that go as one, (m,) each.
        ridge: > 0, share of the mean square of the inputs.

    Returns:
        (c,) float64, in the unit of the loss; of a set each channel has an equal part.
    """
    channels = weight.shape[1]
    w = weight.detach().to(moments).flatten(2)
    k = w.shape[2]
    level = ridge * moments.diagonal().mean()
    level = torch.where(level > 0, level, 1.0)  # what never varies costs nothing
    eye = torch.eye(len(moments), dtype=moments.dtype, device=moments.device)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(moments + level * eye))
    loss = fisher.to(moments)

    def cost(blocks: Tensor, weights: Tensor) -> Tensor:
        """(b, m, m) blocks of the inverse, (b, out, m) weights -> (b,)."""
        lacking = torch.linalg.inv(blocks) - level * eye[: blocks.shape[1], : blocks.shape[1]]
        errors = torch.einsum("bos,bst,bot->bo", weights, lacking, weights)
        return (errors.clamp_min(0) @ loss) / 2

    each = inverse.view(channels, k, channels, k).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    costs = cost(each, w.transpose(0, 1))
    for some in together:
        inputs = (some[:, None] * k + torch.arange(k)).flatten().to(moments.device)
        block = inverse[inputs][:, inputs]
        costs[some] = cost(block[None], w[:, some].flatten(1)[None]) / len(some)
    return costs.cpu()
