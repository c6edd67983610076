"""Judging on whole fields what was found on their tiles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from ultralytics.utils.ops import scale_boxes

from msip_core.data.cut import CutDataset
from msip_core.data.dataset import Dataset
from msip_core.data.manifest import ImageRecord
from msip_core.data.tiling import Tile
from msip_core.detector.batch import Batch, shares_of
from msip_core.detector.joining import Rows, from_tiles, joined


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
