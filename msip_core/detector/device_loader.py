"""Training batches made on the device that holds the images: a whole one at once, drawn on the
processor.

Takes the place of Ultralytics' loader, which puts together, turns and recolours one image after the
other on the processor; that one stays as the reference and as the setting `loader: ultralytics`.

Images are decoded once, through the reader and resizing that Ultralytics' dataset uses; kept as one
colour where all of them are grey, as micrographs mostly are. Where the device has not the room they
lie in the computer's memory, and where that has not either they are read from their files again and
again: slower, with the same pixels.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msip_core.data.dataset import Dataset, ImageRecord
from msip_core.detector.augment import Augmentation, Draws, draw, place
from msip_core.detector.batch import MOST, Batch, Label
from msip_core.detector.images import Home, SplitImages, Tick, home_of
from msip_core.detector.warping import BORDER, Labels, sent, warped_boxes, warped_pictures

logger = logging.getLogger(__name__)


class DeviceImages:
    """Images of one split, and their labels, for a loader that augments on the device.

    Attributes:
        home: where the images are kept.
        sizes: (images, 2) width and height in pixels; the longer is `imgsz`.
        boxes: of all images, in their pixels.
        augmentation: how pictures are made from now on.
    """

    def __init__(
        self,
        dataset: Dataset,
        records: tuple[ImageRecord, ...],
        *,
        imgsz: int,
        device: str,
        tick: Tick | None = None,
        home: Home | None = None,
    ) -> None:
        self._files = SplitImages(dataset, records, imgsz=imgsz, batch=1, augment=True, keep=False)
        self.imgsz, self.device = imgsz, device
        self.augmentation = Augmentation()
        count = len(self._files)
        self.home = home or home_of(count * 3 * imgsz**2, device)
        self.sizes = np.zeros((count, 2), np.int64)
        self._pixels = self._read(tick)
        self.boxes = _boxes(self._files.labels, self.sizes)
        if self.home == "memory":
            logger.warning("No room for %d images on %s: slower, from memory", count, device)
        if self.home == "files":
            logger.warning("No room in memory for %d images: much slower, from files", count)

    # --- what Ultralytics' trainer asks a dataset for ---

    def __len__(self) -> int:
        return len(self._files)

    @property
    def labels(self) -> list[Label]:
        """As Ultralytics' datasets have them."""
        return self._files.labels

    def renew(self, settings: Any) -> None:
        """Augment from now on as `settings` say (degrees, mosaic, mixup, ...)."""
        self.augmentation = Augmentation.from_settings(settings)

    def close_mosaic(self, hyp: Any) -> None:
        """Augment as `hyp` says, but put no images together."""
        self.augmentation = Augmentation.from_settings(hyp).without_mosaic()

    # --- pixels ---

    def gather(self, index: NDArray[np.int64]) -> Tensor:
        """(k, 1 or 3, imgsz, imgsz) uint8 on the device: RGB, filled up to the right and below."""
        if self._pixels is None:
            found = (self._row(int(i)) for i in index)
            rows = np.stack([np.broadcast_to(row, (3, *row.shape[1:])) for row in found])
            return torch.from_numpy(rows).to(self.device)
        rows_at = torch.from_numpy(index)
        if self.home == "memory":
            return self._sent(self._pixels, rows_at)
        if self._pixels.is_cuda:
            rows_at = rows_at.pin_memory().to(self.device, non_blocking=True)
        return self._pixels.index_select(0, rows_at)

    def _sent(self, pixels: Tensor, rows: Tensor) -> Tensor:
        shape = (len(rows), *pixels.shape[1:])
        some = torch.empty(shape, dtype=torch.uint8, pin_memory=pixels.is_pinned())
        torch.index_select(pixels, 0, rows, out=some)
        return some.to(self.device, non_blocking=some.is_pinned())

    def _read(self, tick: Tick | None) -> Tensor | None:
        """All images, or None where they stay in their files. Measures their sizes."""
        kept: Tensor | None = None
        for index in range(len(self)):
            row = self._row(index)
            if self.home != "files":
                kept = self._with(kept, index, row)
            if tick:
                tick()
        return kept

    def _row(self, index: int) -> NDArray[np.uint8]:
        """One image, (1 or 3, imgsz, imgsz): one colour if it is grey."""
        image, _, (height, width) = self._files.load_image(index)  # BGR, colours last
        self.sizes[index] = width, height
        grey = bool((image == image[..., :1]).all())
        row = np.full((1 if grey else 3, self.imgsz, self.imgsz), int(BORDER), np.uint8)
        row[:, :height, :width] = (
            image[..., :1].transpose(2, 0, 1) if grey else (image[..., ::-1].transpose(2, 0, 1))
        )
        return row

    def _with(self, kept: Tensor | None, index: int, row: NDArray[np.uint8]) -> Tensor:
        """`kept` with this image in its place; with three colours from the first coloured on."""
        if kept is None:
            on_device = self.home == "device"
            kept = torch.empty(
                (len(self), *row.shape),
                dtype=torch.uint8,
                device=self.device if on_device else "cpu",
                pin_memory=not on_device and self.device.startswith("cuda"),
            )
        elif len(row) > kept.shape[1]:
            pinned = kept.is_pinned()
            kept = kept.expand(-1, 3, -1, -1).contiguous()
            kept = kept.pin_memory() if pinned else kept
        kept[index] = torch.from_numpy(row)  # a grey one fills all colours
        return kept


def _boxes(labels: list[Label], sizes: NDArray[np.int64]) -> Labels:
    """Ultralytics' labels (centre and size as shares) as corners in pixels."""
    shares = np.concatenate([label["bboxes"] for label in labels]).reshape(-1, 4)
    counts = np.array([len(label["cls"]) for label in labels], np.int64)
    half = shares[:, 2:] / 2
    corners = np.concatenate((shares[:, :2] - half, shares[:, :2] + half), axis=1)
    corners *= np.tile(np.repeat(sizes, counts, axis=0), 2)
    classes = np.concatenate([label["cls"].reshape(-1) for label in labels])
    starts = np.concatenate(([0], np.cumsum(counts)))
    return Labels(corners.astype(np.float32), classes.astype(np.float32), starts)


class DeviceLoader:
    """One epoch of batches each time it is gone through; every image begins one picture.

    Batches are Ultralytics': img (n, 3, imgsz, imgsz) uint8, cls (b, 1), bboxes (b, 4) centre and
    size as shares of the picture, batch_idx (b,), all on the device; and how many boxes the fullest
    picture has, for msip_core.detector.quiet_loss.

    Args:
        parts: a batch is drawn as a whole and comes in so many parts, one after the other.

    Attributes:
        generator: seeds an epoch: the same state, the same batches, on any device.
    """

    drop_last = False
    num_workers = 0

    def __init__(self, images: DeviceImages, batch: int, parts: int = 1) -> None:
        self.dataset = images
        self.sampler = range(len(images))
        self._whole = batch
        self.batch_size = min(batch // parts, len(images))
        self.generator = torch.Generator()

    def __len__(self) -> int:
        return math.ceil(len(self.dataset) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=self.generator)))
        order = rng.permutation(len(self.dataset))
        images = self.dataset
        for start in range(0, len(order), self._whole):
            firsts = order[start : start + self._whole]
            draws = draw(rng, firsts, len(images), images.imgsz, images.augmentation)
            for first in range(0, len(firsts), self.batch_size):
                yield self._batch(draws.part(first, first + self.batch_size))

    def reset(self) -> None:
        """Nothing runs between two batches."""

    def _batch(self, draws: Draws) -> Batch:
        images = self.dataset
        imgsz, device = images.imgsz, images.device
        placed = place(draws, images.sizes, imgsz)
        targets = warped_boxes(images.boxes, draws, placed, imgsz)
        pictures = warped_pictures(images.gather, draws, placed, imgsz, device)
        return {
            "img": pictures.expand(-1, 3, -1, -1),
            "cls": sent(targets.classes, device),
            "bboxes": sent(targets.boxes, device),
            "batch_idx": sent(targets.picture, device),
            MOST: int(np.bincount(targets.picture.astype(np.int64), minlength=1).max()),
        }
