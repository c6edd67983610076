"""Information gain of responses: how many bits a channel tells about what it lies on.

The response of each channel is counted in bins against the label of the cell (the class that lies
there, or the quartile of the image's loss). Bins lie between quantiles of what a look at the first
images finds; then every batch is counted once, so memory does not grow with the number of images.

A plug-in estimate of mutual information is too high: with few cells it finds bits in labels that
have nothing to do with the response (at stride 32 most of what it finds), and cells of one image
are no independent draws, so no formula for independent ones mends it. What the same responses say
about the labels of OTHER images is that bias, and is subtracted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from msip_core.importance.cells import Cells, Chosen
from msip_core.importance.responses import mutual_information, watched
from msip_core.importance.statistic import Found, Scene, Statistic

BINS = 8
LOW, HIGH = 0.005, 0.995  # quantiles between which the bins lie; outliers are clipped
NULLS = (0.2, 0.4, 0.6, 0.8)  # how far on, in shares of the images, the one lies whose labels count
LOSS_QUARTILES = 4


class Asked(NamedTuple):
    """What is asked of the maps (b, h, w) of some images: responses here, against these labels.

    Attributes:
        places: (k,) int32 positions, flattened.
        labels: (k,) int32.
        table: (k,) int32 in which of the tables to count them: 0 with the images' own labels, 1
            and on with those of other images.
        tables: how many there are.
    """

    places: Tensor
    labels: Tensor
    table: Tensor
    tables: int


class Information(Statistic):
    """About the class that lies on a cell, of every Conv block."""

    kinds = frozenset({"information"})
    wants = frozenset({"look", "batches"})

    def __init__(self, scene: Scene, asked: frozenset[str]) -> None:
        super().__init__(scene, asked)
        self._cells = Cells(scene.calibration, scene.device)
        self._layers: dict[str, LayerInformation] = {}
        self._asked: dict[tuple[int, int], Asked] = {}

    def look(self, part: range) -> AbstractContextManager[Any]:
        return watched(
            self.scene.model,
            lambda name, a: self._layer(name).look(a, self._of(a, part, ()).places),
        )

    def looked(self) -> None:
        for layer in self._layers.values():
            layer.settle()

    def batch(self, part: range) -> AbstractContextManager[Any]:
        return watched(
            self.scene.model, lambda name, a: self._layer(name).count(a, self._of(a, part, NULLS))
        )

    def end_part(self) -> None:
        self._asked.clear()

    def result(self) -> Found:
        (kind,) = self.asked
        return {kind: {name: layer.information() for name, layer in self._layers.items()}}

    def _layer(self, name: str) -> LayerInformation:
        return self._layers.setdefault(name, LayerInformation(self._labels()))

    def _labels(self) -> int:
        """How many there are."""
        return int(self.scene.criterion.nc) + 1

    def _label(self, chosen: Chosen) -> Tensor:
        """(k,) the label of each cell."""
        return chosen.labels

    def _of(self, a: Tensor, part: range, nulls: Sequence[float]) -> Asked:
        """Of the images themselves and, for each of `nulls`, of other images; the same for all
        layers with maps of this size."""
        size = (a.shape[2], a.shape[3])
        if size not in self._asked:
            ahead = [0, *(further_on(share, len(self.scene.calibration)) for share in nulls)]
            found = [self._cells.of(part, *size, n) for n in ahead]
            self._asked[size] = asked_at(
                [one.places for one in found], [self._label(one) for one in found]
            )
        return self._asked[size]


def further_on(share: float, images: int) -> int:
    """How far on another image lies: its own labels are no chance. A single image has no other, so
    that its information is 0: nothing tells it from its bias."""
    return min(max(1, round(share * images)), images - 1)


def asked_at(places: Sequence[Tensor], labels: Sequence[Tensor]) -> Asked:
    """One table for each of these."""
    table = [torch.full_like(one, number) for number, one in enumerate(places)]
    return Asked(torch.cat(list(places)), torch.cat(list(labels)), torch.cat(table), len(table))


class LossInformation(Information):
    """About the quartile of the image's own loss."""

    kinds = frozenset({"loss-information"})

    def __init__(self, scene: Scene, asked: frozenset[str]) -> None:
        super().__init__(scene, asked)
        images = len(scene.calibration)
        self._quartile = torch.zeros(images, dtype=torch.int32, device=scene.device)

    def looked(self) -> None:
        super().looked()
        losses = []
        for i in self.scene.everything:
            self.scene.pause()
            losses.append(self.scene.loss(range(i, i + 1)))
        order = torch.stack(losses).argsort(stable=True)
        rank = torch.arange(len(order), dtype=torch.int32, device=order.device)
        self._quartile[order] = rank * LOSS_QUARTILES // len(order)

    def _labels(self) -> int:
        return LOSS_QUARTILES

    def _label(self, chosen: Chosen) -> Tensor:
        return self._quartile[chosen.images]


class LayerInformation:
    """Counts of one Conv block's output (c channels) in bins against labels."""

    def __init__(self, labels: int) -> None:
        self.labels = labels
        self._samples: list[Tensor] = []
        self.low = self.high = self._joint = torch.empty(0)
        self._span = self._rows = torch.empty(0)

    def look(self, a: Tensor, places: Tensor) -> None:
        """Take the range from one micro-batch `a` (b, c, h, w) at these of its positions."""
        self._samples.append(_by_channel(a).index_select(1, places).float())

    def settle(self) -> None:
        """Fix the bins after the look."""
        samples = torch.cat(self._samples, 1)  # (c, k)
        self._samples.clear()
        last = samples.shape[1] - 1
        # Selected, not sorted: two of a hundred thousand values are wanted.
        self.low, self.high = (
            samples.kthvalue(round(share * last) + 1, dim=1).values for share in (LOW, HIGH)
        )
        self._span = (self.high - self.low).clamp_min(1e-30)[:, None]
        row = torch.arange(len(samples), dtype=torch.int32, device=samples.device)
        self._rows = (row * (BINS * self.labels))[:, None]

    def count(self, a: Tensor, asked: Asked) -> None:
        """Count one micro-batch (b, c, h, w)."""
        values = _by_channel(a).index_select(1, asked.places).float()  # (c, k)
        values = values.sub_(self.low[:, None]).div_(self._span).mul_(BINS)
        # Clipped while a float: a channel that was constant in the look has bins of no width.
        # What is no number lies in the first bin: the gradients, which are none either, refuse it.
        flat = values.nan_to_num_(0.0).clamp_(0, BINS - 1).to(torch.int32)
        shape = (asked.tables, a.shape[1], BINS, self.labels)
        size = math.prod(shape[1:])
        flat.mul_(self.labels).add_(self._rows).add_(asked.table * size + asked.labels)
        joint = tally(flat.flatten(), asked.tables * size).view(shape)
        self._joint = joint if self._joint.numel() == 0 else self._joint.add_(joint)

    @property
    def joint(self) -> Tensor:
        """(c, bins, labels) counts with the images' own labels."""
        return self._joint[0]

    @property
    def null(self) -> Tensor:
        """(n, c, bins, labels) the same with labels of n other images in turn."""
        return self._joint[1:]

    def information(self) -> Tensor:
        """(c,) mutual information of response and label without its bias, bits."""
        return bias_free(self.joint, self.null)


def _by_channel(a: Tensor) -> Tensor:
    """(b, c, h, w) -> (c, b * h * w)."""
    return a.flatten(2).transpose(0, 1).flatten(1)


def tally(places: Tensor, size: int) -> Tensor:
    """(size,) how often each number occurs among `places` (k,) int32."""
    if places.device.type == "cpu":
        return torch.bincount(places, minlength=size)
    # bincount would ask the device for the largest.
    counts = torch.zeros(size, dtype=torch.long, device=places.device)
    return counts.index_add_(0, places, counts.new_ones(()).expand(len(places)))


def bias_free(joint: Tensor, null: Tensor) -> Tensor:
    """Mutual information less what labels of other images give, not below 0: (c,) bits.

    Args:
        joint: (c, A, Y) counts of response and label.
        null: (n, c, A, Y) the same counts with the labels of n other images in turn.
    """
    bias = mutual_information(null).sum(0) / max(1, len(null))
    return (mutual_information(joint) - bias).clamp_min(0)
