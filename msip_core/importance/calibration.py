"""The calibration set: a fixed list of training images that every data-driven criterion sees.

Letterbox only, no mosaic or mixup; chosen once by seed and stored with the run by image id, so
that a resumed run, another criterion or a reader of the run sees the same pixels.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from msip_core.config import CalibrationConfig
from msip_core.detector.frame import Frame
from msip_core.detector.images import home_of
from msip_core.errors import DatasetError


@dataclass(frozen=True)
class CalibrationSet:
    """Images and labels ready for the network.

    Attributes:
        images: (n, 3, s, s) uint8 RGB, letterboxed; on any device.
        labels: per image (m, 5) float32: class, centre x, centre y, width, height in shares of
            the letterboxed square.
        ids: image ids in the dataset, in order.
        batch: images whose gradients are summed before they are squared.
        micro_batch: images in memory at a time; does not change what is measured.
        seed: for the choice of background cells.
        drawn: what was chosen at random for these images, for whoever passes over them again.
    """

    images: Tensor
    labels: tuple[Tensor, ...]
    ids: tuple[str, ...]
    batch: int = 16
    micro_batch: int = 4
    seed: int = 0
    drawn: dict[Any, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.images)

    def kept_on(self, device: str) -> CalibrationSet:
        """The same with its images on the device, if it has the room: sent once for every pass,
        trial, recalibration and refit of a run."""
        if home_of(self.images.nbytes, device) != "device":
            return self
        return replace(self, images=self.images.to(device))

    def batches(self) -> Iterator[range]:
        """Image numbers of each batch."""
        for start in range(0, len(self), self.batch):
            yield range(start, min(start + self.batch, len(self)))

    def micro_batches(self, batch: range, at_once: int | None = None) -> Iterator[range]:
        """Image numbers of each part of one batch; `at_once` images instead of `micro_batch`."""
        step = at_once or self.micro_batch
        for start in range(batch.start, batch.stop, step):
            yield range(start, min(start + step, batch.stop))

    def pixels(self, numbers: range, device: torch.device | str = "cpu") -> Tensor:
        """(b, 3, s, s) float32 in [0, 1]."""
        return self.images[numbers.start : numbers.stop].to(device).float() / 255

    def targets(self, numbers: range, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Labels as Ultralytics' loss takes them, sent in one piece."""
        rows = [self.labels[i] for i in numbers]
        index = [torch.full((len(r), 1), float(i)) for i, r in enumerate(rows)]
        flat = torch.cat([torch.cat(index), torch.cat(rows)], 1) if rows else torch.zeros(0, 6)
        flat = flat.to(device)
        return {"batch_idx": flat[:, 0], "cls": flat[:, 1:2], "bboxes": flat[:, 2:]}


def choose_images(dataset: Any, config: CalibrationConfig, seed: int) -> tuple[str, ...]:
    """Ids of the calibration images: drawn by seed from the training images that hold objects."""
    records = [r for r in dataset.split("train") if sum(r.counts.values())]
    if not records:
        raise DatasetError(
            "Dataset '{name}' has no labelled training image, so nothing can be scored; "
            "add labels or choose another split.",
            name=dataset.name,
        )
    order = sorted(r.id for r in records)
    random.Random(seed).shuffle(order)
    return tuple(order[: config.batches * config.batch])


def load_calibration(
    dataset: Any, ids: Sequence[str], config: CalibrationConfig, imgsz: int, seed: int
) -> CalibrationSet:
    """Read and letterbox the images of `ids`."""
    images = np.empty((len(ids), 3, imgsz, imgsz), np.uint8)
    labels = []
    for i, image_id in enumerate(ids):
        record = dataset.image(image_id)
        square, rows = letterbox(dataset.pixels(record), dataset.boxes(record), imgsz)
        images[i] = square.transpose(2, 0, 1)
        labels.append(torch.from_numpy(rows))
    return CalibrationSet(
        torch.from_numpy(images), tuple(labels), tuple(ids), config.batch, config.micro_batch, seed
    )


def shrunk(pixels: Tensor, side: int) -> Tensor:
    """(b, 3, s, s) images, at most `side` px large."""
    if pixels.shape[-1] <= side:
        return pixels
    return functional.interpolate(pixels, size=(side, side), mode="area")


def letterbox(pixels: np.ndarray, boxes: Sequence[Any], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Fit an image into a grey square, aspect kept, centred; boxes go along.

    Args:
        pixels: (h, w, 3) uint8.
        boxes: objects with cls, x1, y1, x2, y2 in pixels.

    Returns:
        (size, size, 3) uint8, and (n, 5) float32 rows: class, centre x, y, width, height in
        shares of the square.
    """
    frame = Frame.fit(pixels, size, square=True)
    left, top, scale = frame.left, frame.top, min(size / side for side in frame.image)
    rows = np.array(
        [
            (
                b.cls,
                ((b.x1 + b.x2) / 2 * scale + left) / size,
                ((b.y1 + b.y2) / 2 * scale + top) / size,
                (b.x2 - b.x1) * scale / size,
                (b.y2 - b.y1) * scale / size,
            )
            for b in boxes
        ],
        np.float32,
    ).reshape(-1, 5)
    return frame.picture(pixels), rows
