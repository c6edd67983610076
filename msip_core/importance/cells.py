"""Where responses are looked at: chosen once for every image and size of map, and kept on the
device.

Labels of the cells of an image say what lies there. What the same responses say about the labels
of OTHER images is the bias of that measurement (information.py), so that cells are also handed out
as if an image had those of the one that lies some way on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msip_core.importance.calibration import CalibrationSet

BACKGROUND_PER_OBJECT = 3
MAX_CELLS = 2048  # cells kept per image and layer: bounds memory on large maps
FEW = 4  # images whose positions are numbered through, however many are in memory
Floats = NDArray[np.float32]


class CellSampler:
    """Chooses the feature cells of an image and labels them: background 0, class k as k + 1.

    A cell belongs to the box that holds its centre, the smallest one where several do. Background
    cells are at most three times the object cells (an image without objects keeps as many as one
    with a single object cell would), and at most MAX_CELLS cells are kept in all. Seeded by
    (seed, image, map size), so the choice does not depend on the order of layers.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, image: int, boxes: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Cells of one image.

        Args:
            image: number of the image in the calibration set.
            boxes: (n, 5) class, centre x, centre y, width, height in shares of the image.

        Returns:
            (k,) indices into the flattened map, and (k,) labels.
        """
        labels = label_cells(boxes, height, width)
        generator = torch.Generator().manual_seed(
            self.seed * 1_000_003 + image * 10_007 + height * 101 + width
        )
        there = labels.numpy() > 0
        objects, background = (torch.from_numpy(np.flatnonzero(x)) for x in (there, ~there))
        quota = BACKGROUND_PER_OBJECT * max(1, len(objects))
        background = _draw(background, quota, generator)
        cells = _draw(torch.cat([objects, background]), MAX_CELLS, generator)
        return cells, labels[cells]


def _draw(values: Tensor, count: int, generator: torch.Generator) -> Tensor:
    if len(values) <= count:
        return values
    return values[torch.randperm(len(values), generator=generator)[:count]]


def label_cells(boxes: Tensor, height: int, width: int) -> Tensor:
    """(height * width,) label of each cell: 0 background, k + 1 for class k; smallest box wins."""
    labels = np.zeros((height, width), np.int64)
    # In numpy: a few numbers at a time, thousands of times.
    large_first = sorted(boxes.numpy(), key=lambda b: -float(b[3]) * float(b[4]))
    if large_first:
        cls, cx, cy, w, h = np.stack(large_first, 1)
        for kind, rows, columns in zip(
            cls, _inside(cy, h, height), _inside(cx, w, width), strict=True
        ):
            labels[rows, columns] = int(kind) + 1
    return torch.from_numpy(labels.reshape(-1))


def _inside(centres: Floats, sizes: Floats, cells: int) -> list[slice]:
    """The cells of one side whose centres lie in each box."""
    middle = (np.arange(cells, dtype=np.float32) + np.float32(0.5)) / np.float32(cells)
    inside = np.abs(middle - centres[:, None]) < sizes[:, None] / 2
    first = inside.argmax(1)
    return [slice(a, a + n) for a, n in zip(first, inside.sum(1), strict=True)]


@dataclass(frozen=True)
class Chosen:
    """The cells of several images, image after image.

    Attributes:
        places: (k,) int32 positions in the maps (b, h, w) of these images, flattened.
        labels: (k,) int32 what lies there.
        images: (k,) int32 whose labels they are.
    """

    places: Tensor
    labels: Tensor
    images: Tensor


class Cells:
    """The cells of all images of a calibration set, for every size of map that turns up. Drawn
    once: the next pass over the same set finds them there."""

    def __init__(self, calibration: CalibrationSet, device: torch.device) -> None:
        self._calibration, self._device = calibration, device
        self._sampler = CellSampler(calibration.seed)
        self._sizes: dict[tuple[int, int], tuple[Tensor, list[int]]]
        self._sizes = calibration.drawn.setdefault(("cells", str(device)), {})

    def of(self, part: range, height: int, width: int, ahead: int = 0) -> Chosen:
        """Cells of the images of `part` in maps of this size; with `ahead`, as if each image had
        the labels of the image that lies so many further on (after the last comes the first)."""
        if (height, width) not in self._sizes:
            self._sizes[height, width] = self._all(height, width)
        table, ends = self._sizes[height, width]
        count = len(self._calibration)
        first = (part.start + ahead) % count
        runs = [range(first, min(first + len(part), count))]
        runs.append(range(0, len(part) - len(runs[0])))  # past the last image
        pieces = [table[:, ends[run.start] : ends[run.stop]] for run in runs if len(run)]
        cells, labels, images = pieces[0] if len(pieces) == 1 else torch.cat(pieces, 1)
        at = (images - ahead) % count - part.start
        return Chosen(at * (height * width) + cells, labels, images)

    def _all(self, height: int, width: int) -> tuple[Tensor, list[int]]:
        """(3, k) cells, labels and images of all images, and where each image's end."""
        found, ends = [], [0]
        for image, boxes in enumerate(self._calibration.labels):
            cells, labels = self._sampler(image, boxes, height, width)
            found.append(torch.stack([cells, labels, torch.full_like(cells, image)]))
            ends.append(ends[-1] + len(cells))
        return torch.cat(found, 1).to(torch.int32).to(self._device), ends


class EveryFew:
    """Positions of maps, every so many-th of those of a few images together.

    Args:
        most: positions of so many images.
        few: images; a batch is taken apart into such parts, however it is taken apart for memory.
    """

    def __init__(
        self, calibration: CalibrationSet, device: torch.device, most: int, few: int = FEW
    ) -> None:
        self._calibration, self._device, self._most, self._few = calibration, device, most, few
        self._of: dict[tuple[range, int], tuple[Tensor, Tensor]] = {}

    def of(self, part: range, cells: int) -> tuple[Tensor, Tensor]:
        """(k,) which of the images of `part`, and (k,) positions in their maps of so many cells."""
        if (part, cells) not in self._of:
            flat = torch.cat(list(self._pieces(part, cells)))
            self._of[part, cells] = (flat // cells, flat % cells)
        return self._of[part, cells]

    def forget(self) -> None:
        """Drop the positions of images that will not come again."""
        self._of.clear()

    def _pieces(self, part: range, cells: int) -> list[Tensor]:
        pieces = []
        for few in self._parts_of(part):
            step = _every(max(1, -(-len(few) * cells // self._most)), cells)
            first = (max(few.start, part.start) - few.start) * cells
            last = (min(few.stop, part.stop) - few.start) * cells
            some = torch.arange(-(-first // step) * step, last, step, device=self._device)
            pieces.append(some + (few.start - part.start) * cells)
        return pieces

    def _parts_of(self, part: range) -> list[range]:
        """The few images at a time that `part` touches."""
        batches = self._calibration.batches()
        every = [few for b in batches for few in self._calibration.micro_batches(b, self._few)]
        return [few for few in every if few.start < part.stop and part.start < few.stop]


def _every(least: int, cells: int) -> int:
    """The next step from `least` on that has no divisor in common with the size of the map: steps
    of 128 in a map that is 256 wide would only see its borders and its middle."""
    while math.gcd(least, cells) > 1:
        least += 1
    return least
