"""Training batches made on the device: drawn on the processor, a whole batch at once.

Takes the place of Ultralytics' loader, which puts together, turns and recolours one image after the
other on the processor; that one stays as the reference and as the setting `loader: ultralytics`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from msip_core.detector.augment import Draws, draw, place
from msip_core.detector.batch import MOST, Batch
from msip_core.detector.device_images import DeviceImages
from msip_core.detector.warped_boxes import warped_boxes
from msip_core.detector.warping import sent, warped_pictures


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
