"""Responses of Conv blocks, measured on the fly: activation sparsity and information gain.

Both need a scale that is known before the first value is counted (rms of the layer, range of each
channel). It comes from a look at the first two calibration batches, forward only; then every batch
is counted once, so memory does not grow with the number of images.

A plug-in estimate of mutual information is too high: with few cells it finds bits in labels that
have nothing to do with the response (at stride 32 most of what it finds), and cells of one image
are no independent draws, so no formula for independent ones mends it. What the same responses say
about the labels of OTHER images is that bias, and is subtracted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

BINS = 8
LOW, HIGH = 0.005, 0.995  # quantiles between which the bins lie; outliers are clipped
BACKGROUND_PER_OBJECT = 3
MAX_CELLS = 2048  # cells kept per image and layer: bounds memory on large maps
POSITIONS = 2048  # of a micro-batch and layer, whose responses are multiplied with one another
NULLS = (
    0.2,
    0.4,
    0.6,
    0.8,
)  # how far on, in shares of the images, the one lies whose labels are taken
Labelled = tuple[list[Tensor], Tensor]  # cells of each image, and the labels of all of them


class CellSampler:
    """Chooses the feature cells of an image and labels them: background 0, class k as k + 1.

    A cell belongs to the box that holds its centre, the smallest one where several do. Background
    cells are at most three times the object cells (an image without objects keeps as many as one
    with a single object cell would), and at most MAX_CELLS cells are kept in all. Seeded by
    (seed, image, map size), so the choice does not depend on the order of layers.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._memo: dict[tuple[int, int, int], tuple[Tensor, Tensor]] = {}

    def __call__(self, image: int, boxes: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Cells of one image.

        Args:
            image: number of the image in the calibration set.
            boxes: (n, 5) class, centre x, centre y, width, height in shares of the image.

        Returns:
            (k,) indices into the flattened map, and (k,) labels.
        """
        key = (image, height, width)
        if key not in self._memo:
            labels = label_cells(boxes, height, width)
            generator = torch.Generator().manual_seed(
                self.seed * 1_000_003 + image * 10_007 + height * 101 + width
            )
            objects, background = labels.nonzero()[:, 0], (labels == 0).nonzero()[:, 0]
            quota = BACKGROUND_PER_OBJECT * max(1, len(objects))
            background = _draw(background, quota, generator)
            cells = _draw(torch.cat([objects, background]), MAX_CELLS, generator)
            self._memo[key] = (cells, labels[cells])
        return self._memo[key]

    def forget(self) -> None:
        """Drop the cells of images that will not come again."""
        self._memo.clear()


def _draw(values: Tensor, count: int, generator: torch.Generator) -> Tensor:
    if len(values) <= count:
        return values
    return values[torch.randperm(len(values), generator=generator)[:count]]


def label_cells(boxes: Tensor, height: int, width: int) -> Tensor:
    """(height * width,) label of each cell: 0 background, k + 1 for class k; smallest box wins."""
    labels = torch.zeros(height, width, dtype=torch.long)
    y = (torch.arange(height) + 0.5) / height
    x = (torch.arange(width) + 0.5) / width
    for cls, cx, cy, w, h in sorted(boxes.tolist(), key=lambda b: -b[3] * b[4]):
        rows = ((y - cy).abs() < h / 2).nonzero()[:, 0]
        columns = ((x - cx).abs() < w / 2).nonzero()[:, 0]
        if len(rows) and len(columns):
            labels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = int(cls) + 1
    return labels.flatten()


def mutual_information(joint: Tensor) -> Tensor:
    """I(A; Y) in bits from joint counts (..., A, Y), plug-in estimate: (...,).

    [[4, 0], [0, 4]] gives 1; [[2, 2], [2, 2]] gives 0; [[3, 1], [1, 3]] gives .1887.
    """
    p = joint.double() / joint.sum((-2, -1), keepdim=True).clamp_min(1)
    product = p.sum(-1, keepdim=True) * p.sum(-2, keepdim=True)
    ratio = torch.where(p > 0, p / product.clamp_min(1e-300), torch.ones_like(p))
    return (p * ratio.log2()).sum((-2, -1)).clamp_min(0)


def bias_free(joint: Tensor, null: Tensor) -> Tensor:
    """Mutual information less what labels of other images give, not below 0: (c,) bits.

    Args:
        joint: (c, A, Y) counts of response and label.
        null: (n, c, A, Y) the same counts with the labels of n other images in turn.
    """
    return (mutual_information(joint) - mutual_information(null).mean(0)).clamp_min(0)


class LayerResponse:
    """Counts of one Conv block's output (c channels): activity, and response against label."""

    def __init__(self, labels: int, eps: float) -> None:
        self.labels, self.eps = labels, eps
        self._square, self._values = 0.0, 0
        self._samples: list[Tensor] = []
        self.low = self.high = torch.empty(0)
        self.quiet = torch.empty(0)
        self.positions = 0
        self.joint = torch.empty(0)
        self.null = torch.empty(0)
        self.products = self.sums = torch.empty(0)
        self.seen = 0

    def look(self, a: Tensor, cells: list[Tensor]) -> None:
        """Take scale and range from one micro-batch `a` (b, c, h, w)."""
        self._square += float(torch.linalg.vector_norm(a, dtype=torch.float64)) ** 2
        self._values += a.numel()
        self._samples.append(_at(a, cells))

    def settle(self) -> None:
        """Fix threshold and bins after the look."""
        samples = torch.cat(self._samples, 1)  # (c, k)
        last = samples.shape[1] - 1
        # Selected, not sorted: two of a hundred thousand values are wanted.
        self.low, self.high = (
            samples.kthvalue(round(share * last) + 1, dim=1).values for share in (LOW, HIGH)
        )
        self.threshold = self.eps * (self._square / max(1, self._values)) ** 0.5
        self._samples.clear()
        channels = len(samples)
        self.quiet = torch.zeros(channels, dtype=torch.float64)
        self.joint = torch.zeros(channels, BINS, self.labels, dtype=torch.long)
        self.null = torch.zeros(len(NULLS), channels, BINS, self.labels, dtype=torch.long)
        self.products = torch.zeros(channels, channels, dtype=torch.float64)
        self.sums = torch.zeros(channels, dtype=torch.float64)

    def count(self, a: Tensor, real: Labelled, others: list[Labelled]) -> None:
        """Count one micro-batch.

        Args:
            real: the cells of each image, and (k,) their labels in order.
            others: the same with the boxes of other images, one for each of NULLS.
        """
        # Bytes add up several times as fast as truth values, rows as fast as they lie in memory.
        quiet = (a.abs() <= self.threshold).flatten(2).view(torch.uint8)
        self.quiet += quiet.sum(2, dtype=torch.int32).sum(0).double().cpu()
        self.positions += a.shape[0] * a.shape[2] * a.shape[3]
        self._multiply(a.flatten(2).transpose(0, 1).flatten(1))
        self.joint += self._counts(a, *real)
        for number, other in enumerate(others):
            self.null[number] += self._counts(a, *other)

    def _multiply(self, values: Tensor) -> None:
        """Add up products of the responses (c, positions), every so many-th position of them."""
        step = max(1, -(-values.shape[1] // POSITIONS))
        some = values[:, ::step].float()
        self.products += (some @ some.t()).double().cpu()
        self.sums += some.sum(1).double().cpu()
        self.seen += some.shape[1]

    def _counts(self, a: Tensor, cells: list[Tensor], labels: Tensor) -> Tensor:
        """(c, A, Y) counts of response and label at these cells."""
        values = _at(a, cells)  # (c, k)
        channels = len(values)
        span = (self.high - self.low).clamp_min(1e-30)
        place = (values - self.low[:, None]) / span[:, None] * BINS
        # Clipped while a float: a channel that was constant in the look has bins of no width.
        flat = place.clamp_(0, BINS - 1).to(torch.int32)
        flat += BINS * torch.arange(channels, dtype=torch.int32)[:, None]
        flat = flat * self.labels + labels.to(torch.int32)
        counts = torch.bincount(flat.flatten(), minlength=channels * BINS * self.labels)
        return counts.view(channels, BINS, self.labels)

    def sparsity(self) -> Tensor:
        """(c,) share of positions with |a| above the threshold; a dead channel has 0."""
        return 1 - self.quiet / max(1, self.positions)

    def spread(self) -> Tensor:
        """(c,) standard deviation of each response: a constant one says nothing."""
        mean = self.sums / max(1, self.seen)
        square = self.products.diagonal() / max(1, self.seen)
        return (square - mean**2).clamp_min(0).sqrt()

    def distance(self) -> Tensor:
        """(c,) mean over the layer's channels j of the root mean square of a_c - a_j."""
        products = self.products / max(1, self.seen)
        squares = products.diagonal()
        return (squares[:, None] + squares - 2 * products).clamp_min(0).sqrt().mean(1)

    def information(self) -> Tensor:
        """(c,) mutual information of response and label without its bias, bits."""
        return bias_free(self.joint, self.null)


def _at(a: Tensor, cells: list[Tensor]) -> Tensor:
    """Responses at the chosen cells of each image: (b, c, h, w) -> (c, k), on the CPU."""
    flat = a.flatten(2)
    picked = [flat[i].index_select(1, index.to(a.device)) for i, index in enumerate(cells)]
    return torch.cat(picked, 1).float().cpu()


def conv_blocks(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every Conv block (convolution, batch norm, activation), by the name of its convolution."""
    for name, module in model.named_modules():
        if isinstance(getattr(module, "conv", None), nn.Conv2d) and hasattr(module, "act"):
            yield f"{name}.conv", module


@contextmanager
def watched(model: nn.Module, see: Any) -> Iterator[None]:
    """Call `see(name of the convolution, output)` for every Conv block while inside."""

    def hook(name: str) -> Any:
        return lambda _module, _inputs, output: see(name, output.detach())

    handles = [block.register_forward_hook(hook(name)) for name, block in conv_blocks(model)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
