"""The images of one split as Ultralytics wants them, kept in memory where they fit.

Labels come from our Dataset, which the import has checked; Ultralytics' own scan (opening every
image again, a *.cache file beside the labels) is not repeated. Only reading, letterbox and
augmentation are Ultralytics'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
import torch
from torch import Tensor
from ultralytics.data.dataset import YOLODataset
from ultralytics.utils import IterableSimpleNamespace
from ultralytics.utils.ops import scale_boxes

from msip_core.data.cut import CutDataset
from msip_core.data.dataset import Dataset, ImageRecord
from msip_core.data.tiling import Tile
from msip_core.detector.batch import Batch, Label, shares_of
from msip_core.detector.joining import Rows, from_tiles, joined
from msip_core.detector.library import hyperparameters
from msip_core.errors import DatasetError

MEMORY_SHARE = 0.25  # of what is free may go into one cache of images
Tick = Callable[[], None]
Home = Literal["device", "memory", "files"]


def fits_in_memory(n_bytes: float) -> bool:
    """Whether a cache of this size may be kept, leaving room for everything else."""
    return n_bytes < MEMORY_SHARE * psutil.virtual_memory().available


def home_of(n_bytes: int, device: str) -> Home:
    """Where so many bytes of images are kept for work on `device`."""
    if device.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info(device)
        if n_bytes < MEMORY_SHARE * free:
            return "device"
        return "memory" if fits_in_memory(n_bytes) else "files"
    return "device" if fits_in_memory(n_bytes) else "files"


class SplitImages(YOLODataset):
    """One split, for training (augmented) or for evaluation (letterboxed rectangles).

    Mosaic partners are drawn from the whole split, from memory or from disk, so that what a seed
    draws does not depend on how much memory happened to be free.

    Args:
        keep: images for training in memory, where they fit; who keeps them elsewhere says no.
    """

    def __init__(
        self,
        dataset: Dataset,
        records: tuple[ImageRecord, ...],
        *,
        imgsz: int,
        batch: int,
        augment: bool,
        tick: Tick | None = None,
        keep: bool = True,
    ) -> None:
        if not records:
            raise DatasetError(
                "Dataset '{name}' has no images in this part of its split: import it "
                "again with other split fractions.",
                name=dataset.name,
            )
        self._source, self._records, self._tick, self._keep = dataset, records, tick, keep
        super().__init__(
            img_path="",
            imgsz=imgsz,
            cache="ram",
            augment=augment,
            hyp=hyperparameters(imgsz=imgsz),
            rect=not augment,
            batch_size=batch,
            stride=32,
            pad=0.0 if augment else 0.5,  # as Ultralytics validates
            data={"names": dict(enumerate(dataset.classes)), "channels": 3},
            task="detect",
        )

    def get_img_files(self, img_path: str | list[str]) -> list[str]:
        """Files in sorted order, as Ultralytics would list them."""
        self._records = tuple(sorted(self._records, key=lambda record: record.file))
        return [str(self._source.path(record)) for record in self._records]

    def get_labels(self) -> list[Label]:
        """Boxes as centre and size, each over the image's width or height."""
        return [
            self._label(file, record)
            for file, record in zip(self.im_files, self._records, strict=True)
        ]

    def _label(self, file: str, record: ImageRecord) -> Label:
        boxes = self._source.boxes(record)
        return {
            "im_file": file,
            "shape": (record.height, record.width),
            "cls": np.array([b.cls for b in boxes], np.float32).reshape(-1, 1),
            "bboxes": shares_of(boxes, record.width, record.height),
            "segments": [],
            "keypoints": None,
            "normalized": True,
            "bbox_format": "xywh",
        }

    def check_cache_ram(self, safety_margin: float = 1.0) -> bool:
        """Training images are kept resized; evaluation keeps whole batches instead."""
        n_bytes = len(self.im_files) * self.imgsz**2 * 3
        return self._keep and self.augment and fits_in_memory(n_bytes)

    def cache_images(self) -> None:
        """Read every image once. (Ultralytics' own prints a progress bar.)"""
        images = []
        for index in range(self.ni):
            image, self.im_hw0[index], self.im_hw[index] = self.load_image(index)
            images.append(image)
            if self._tick:
                self._tick()
        self.ims = self._ImageCache(images)

    def renew(self, settings: IterableSimpleNamespace) -> None:
        """Augment from now on as `settings` say (degrees, mosaic, mixup, ...)."""
        self.transforms = self.build_transforms(settings)

    def __getstate__(self) -> dict[str, object]:
        """Loader processes need no heartbeat, and on some systems could not receive it."""
        return {**self.__dict__, "_tick": None}


class EvaluationBatches:
    """Letterboxed batches of one split in a fixed order, kept where they fit.

    Args:
        batch: images of a batch, which are padded to one shape.
        parts: a batch comes in so many parts, of the shape of the whole.
        limit: evaluate this many images, evenly spread over the split; None takes all.
        device: pixels are kept on it, sent once, if it has the room; else in memory, if that has.

    Attributes:
        images: that are shown: tiles, where images are cut.
        judged: images that accuracy is said of.
        fields: joins what is found on tiles; None where no image is cut.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        *,
        imgsz: int,
        batch: int,
        parts: int = 1,
        limit: int | None = None,
        tick: Tick | None = None,
        device: str = "cpu",
    ) -> None:
        whole, records = judged(dataset, split, limit)
        self.fields = (
            WholeFields(dataset, whole, imgsz) if isinstance(dataset, CutDataset) else None
        )
        self.dataset = SplitImages(
            dataset, records, imgsz=imgsz, batch=batch, augment=False, tick=tick
        )
        self.images, self.judged = len(records), len(whole)
        self._batch, self._piece = batch, max(1, batch // parts)
        self.home = home_of(self.images * imgsz**2 * 3, device)
        self._device = device
        self._kept: list[Batch] = []

    def __len__(self) -> int:
        return len(self._pieces())

    def _pieces(self) -> list[range]:
        """Numbers of the images that come at a time; none of two batches."""
        starts = range(0, self.images, self._batch)
        whole = [range(start, min(start + self._batch, self.images)) for start in starts]
        step = self._piece
        return [one[n : n + step] for one in whole for n in range(0, len(one), step)]

    def batch_of(self, image: int) -> int:
        """Number of the batch that this image belongs to."""
        return image // self._batch

    def __iter__(self) -> Iterator[Batch]:
        """Batches as Ultralytics collates them: img (n, 3, h, w) uint8, perhaps on the device;
        cls, bboxes, batch_idx in memory."""
        if self._kept:
            yield from (batch.copy() for batch in self._kept)
            return
        made = []
        for indices in self._pieces():
            batch: Batch = SplitImages.collate_fn([self.dataset[i] for i in indices])
            if self.home == "device":
                batch["img"] = batch["img"].to(self._device)
            if self.home != "files":
                made.append(batch)
            yield batch.copy()
        self._kept = made


# --- fields that were cut: judged as a whole on what was found on their tiles -----


class WholeFields:
    """Takes in what was found on tiles, gives it back for whole images, with their labels.

    Args:
        images: of the whole dataset, all tiles of which are going to be taken in.
        imgsz: longer side of a tile for the network.
    """

    def __init__(self, dataset: CutDataset, images: tuple[ImageRecord, ...], imgsz: int) -> None:
        self._dataset, self._images, self._imgsz = dataset, images, imgsz
        self._found: dict[str, Rows] = {}

    def take(self, found: list[dict[str, Tensor]], batch: Batch) -> None:
        """What was found on the images of one of Ultralytics' batches, in its pixels."""
        shape = tuple(batch["img"].shape[2:])
        for n, one in enumerate(found):
            boxes = scale_boxes(
                shape, one["bboxes"].clone().float(), batch["ori_shape"][n], batch["ratio_pad"][n]
            )
            rows = torch.cat([boxes, one["conf"][:, None], one["cls"][:, None]], 1)
            self._found[Path(batch["im_file"][n]).name] = rows.double().cpu().numpy()

    def __iter__(self) -> Iterator[tuple[dict[str, Tensor], Batch]]:
        """For every image what was found and a batch of one: boxes in pixels of the image, and the
        labels of the image as Ultralytics collates them."""
        for image in self._images:
            rows = torch.from_numpy(self._joined(image)).float()
            yield (
                {
                    "bboxes": rows[:, :4],
                    "conf": rows[:, 4],
                    "cls": rows[:, 5],
                    "extra": rows[:, 6:],
                },
                self._labels(image),
            )

    def _joined(self, image: ImageRecord) -> Rows:
        records = self._dataset.tiles_of(image)
        tiles = [
            self._dataset.places[record.id].tile
            if record.id in self._dataset.places
            else Tile(0, 0, image.width, image.height)
            for record in records
        ]
        rows = [self._found[Path(record.file).name] for record in records]
        if len(tiles) == 1:  # nothing to join: as it was judged ever
            return rows[0]
        return joined(from_tiles(tiles, rows, image.width, image.height, self._imgsz))

    def _labels(self, image: ImageRecord) -> Batch:
        whole = self._dataset.whole
        boxes = whole.boxes(image)
        shape = (image.height, image.width)
        return {
            "batch_idx": torch.zeros(len(boxes)),
            "cls": torch.tensor([[float(box.cls)] for box in boxes]).reshape(-1, 1),
            "bboxes": torch.from_numpy(shares_of(boxes, image.width, image.height)),
            "ori_shape": (shape,),
            "ratio_pad": (((1.0, 1.0), (0.0, 0.0)),),
            "im_file": (str(whole.path(image)),),
            "img": torch.empty((1, 3, *shape), device="meta"),  # its shape alone is asked for
        }


def judged(
    dataset: Dataset, split: str, limit: int | None
) -> tuple[tuple[ImageRecord, ...], tuple[ImageRecord, ...]]:
    """The images that a split is judged by, and those that are shown for it: their tiles.

    Args:
        limit: so many images, evenly spread over the split; None takes all.
    """
    source = dataset.whole if isinstance(dataset, CutDataset) else dataset
    records = source.split(split)
    if limit is not None and limit < len(records):
        records = tuple(records[i] for i in np.linspace(0, len(records) - 1, limit).astype(int))
    if not isinstance(dataset, CutDataset):
        return records, records
    return records, tuple(tile for record in records for tile in dataset.tiles_of(record))
