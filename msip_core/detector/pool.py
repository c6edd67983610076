"""Images, loaders and evaluators of one run, made once and shared by all its iterations.

Training batches come from Ultralytics' loader, which puts together, turns and recolours one image
after the other on the processor, or from ours in its place: made on the device that holds the
images, a whole one at once, drawn on the processor. The other one stays as its reference.

For ours images are decoded once, through the reader and resizing that Ultralytics' dataset uses;
kept as one colour where all of them are grey, as micrographs mostly are. Where the device has not
the room they lie in the computer's memory, and where that has not either they are read from their
files again and again: slower, with the same pixels.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from ultralytics.data.build import InfiniteDataLoader, build_dataloader
from ultralytics.utils import IterableSimpleNamespace

from msip_core.config import Loader
from msip_core.data.dataset import Dataset, ImageRecord
from msip_core.detector.augment import Augmentation, Draws, draw, place
from msip_core.detector.batch import MOST, Batch, Label
from msip_core.detector.evaluation import Evaluator
from msip_core.detector.images import Home, SplitImages, Tick, home_of
from msip_core.detector.warping import BORDER, Labels, sent, warped_boxes, warped_pictures
from msip_core.processors import usable_cores

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


TrainLoader: TypeAlias = InfiniteDataLoader | DeviceLoader
_MOST_WORKERS = 8  # more wait for the disk, and each holds some hundred megabytes


def loader_workers(device: str, wanted: int | None) -> int:
    """Processes that load images beside the training.

    None on a CPU, whatever was wanted: they would only compete with the work itself. For a GPU, if
    nobody wanted a number, one for each core but the last: by what the computer has and not by what
    is free now, since augmentation is drawn in them, and a run that is resumed needs as many again.
    """
    if not device.startswith("cuda"):
        return 0
    return min(_MOST_WORKERS, usable_cores() - 1) if wanted is None else wanted


def resolve_loader(wanted: Loader, device: str) -> Literal["device", "ultralytics"]:
    """The loader that `wanted` means for training on `device`.

    On one processor core Ultralytics' takes a third of the time (benchmarks/loaders.py: OpenCV
    turns bytes, we turn floats); on a GPU it is what everything else waits for.
    """
    if wanted == "auto":
        return "device" if device.startswith("cuda") else "ultralytics"
    return wanted


class DataPool:
    """What a run reads its images from.

    Args:
        batch: images of a batch.
        parts: a batch comes in so many equal parts, loaded one after the other; see `piece`.
        workers: data-loading processes for training; see `loader_workers`. The loader "device" has
            none.
        loader: who makes the training batches; see msip_core.config.RunBase.
        tick: called for every image read and every batch evaluated; may raise to stop.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        imgsz: int,
        batch: int,
        device: str = "cpu",
        workers: int | None = None,
        loader: Loader = "auto",
        parts: int = 1,
        tick: Tick | None = None,
    ) -> None:
        self.dataset, self.imgsz, self.batch, self.device = dataset, imgsz, batch, device
        self.loader = resolve_loader(loader, device)
        self.workers = 0 if self.loader == "device" else loader_workers(device, workers)
        self.parts = parts
        self._tick = tick
        self._train: TrainLoader | None = None
        self._evaluators: dict[tuple[str, int | None], Evaluator] = {}

    @property
    def piece(self) -> int:
        """Images that are on the device at a time."""
        return self.batch // self.parts

    def train_loader(self, settings: IterableSimpleNamespace) -> TrainLoader:
        """The one training loader, augmenting from now on as `settings` say."""
        if self._train is None:
            self._train = self._device() if self.loader == "device" else self._ultralytics()
        self._train.dataset.renew(settings)
        self._train.reset()
        return self._train

    def _device(self) -> DeviceLoader:
        images = DeviceImages(
            self.dataset,
            self.dataset.split("train"),
            imgsz=self.imgsz,
            device=self.device,
            tick=self._tick,
        )
        return DeviceLoader(images, self.batch, self.parts)

    def _ultralytics(self) -> InfiniteDataLoader:
        images = SplitImages(
            self.dataset,
            self.dataset.split("train"),
            imgsz=self.imgsz,
            batch=self.piece,
            augment=True,
            tick=self._tick,
        )
        return build_dataloader(images, self.piece, self.workers, shuffle=True, device=self.device)

    def evaluator(self, split: str, limit: int | None = None) -> Evaluator:
        """The one evaluator of a split; its letterboxed images stay in memory."""
        key = (split, limit)
        if key not in self._evaluators:
            self._evaluators[key] = Evaluator(
                self.dataset,
                split,
                self.imgsz,
                self.batch,
                self.device,
                parts=self.parts,
                limit=limit,
                tick=self._tick,
            )
        return self._evaluators[key]

    def close(self) -> None:
        """End the loader's processes."""
        if self._train is not None:
            self._train.reset()
