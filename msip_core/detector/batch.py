"""A batch of images and labels as Ultralytics collates it, and the count that our loss wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msip_core.boxes import Box

MOST: Final = "most_boxes"  # of a batch: boxes of its fullest picture


class Batch(TypedDict, total=False):
    """n images with b boxes.

    Attributes:
        img: (n, 3, h, w).
        cls, bboxes: (b, 1), and (b, 4) centre and size as shares of the picture.
        batch_idx: (b,) the picture of each box.
        im_file, ori_shape, ratio_pad: of each image; the loss does not need them.
    """

    img: Tensor
    cls: Tensor
    bboxes: Tensor
    batch_idx: Tensor
    im_file: Sequence[str]
    ori_shape: Sequence[tuple[int, int]]
    ratio_pad: Sequence[tuple[tuple[float, float], tuple[float, float]]]
    most_boxes: int


class Label(TypedDict):
    """Boxes of one image: `cls` (b, 1), `bboxes` (b, 4) as in a Batch."""

    im_file: str
    shape: tuple[int, int]
    cls: NDArray[Any]
    bboxes: NDArray[Any]
    segments: list[object]
    keypoints: None
    normalized: bool
    bbox_format: str


def shares_of(boxes: Sequence[Box], width: int, height: int) -> NDArray[np.float32]:
    """Centre and size (b, 4), each over the width or height of the picture."""
    corners = np.array([box.xyxy for box in boxes], np.float64).reshape(-1, 4)
    corners /= (width, height, width, height)
    centres, sizes = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    return np.concatenate((centres, sizes), axis=1).astype(np.float32)


def with_count(batch: Batch) -> Batch:
    """The batch with its count, made where it is missing; before it goes to the device."""
    if MOST not in batch:
        pictures = batch["batch_idx"].long()
        batch[MOST] = int(torch.bincount(pictures).max()) if len(pictures) else 0
    return batch
