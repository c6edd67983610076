"""Ultralytics' own transforms, made to do what was drawn for a batch of the device loader."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import torch
from ultralytics.data import augment as theirs

from msip_core.detector.augment import Draws
from msip_core.detector.images import SplitImages


def _told(numbers: list[float]) -> Any:
    """random.uniform that gives these numbers, whatever it is asked for."""
    return mock.patch.object(theirs.random, "uniform", side_effect=list(numbers))


def _canvas(images: SplitImages, draws: Draws, canvas: int, imgsz: int) -> dict[str, Any]:
    first, *others = (int(i) for i in draws.images[canvas])
    labels = images.get_image_and_label(first)
    labels["img"] = labels["img"].copy()
    if draws.mosaic[canvas]:
        mosaic = theirs.Mosaic(images, imgsz=imgsz, p=1.0)
        x, y = draws.centres[canvas]
        mosaic.get_indexes = lambda: others
        with _told([float(y), float(x)]):
            params = mosaic.get_params(labels)
        labels = mosaic.apply_instances(mosaic.apply_image(labels, params), params)
    affine = theirs.RandomPerspective(size=(imgsz, imgsz))
    with _told(
        [0, 0, draws.angles[canvas], draws.zooms[canvas], *draws.shears[canvas],
         *draws.shifts[canvas]]
    ):  # fmt: skip
        return affine(labels)


def reference(images: SplitImages, draws: Draws, imgsz: int) -> dict[str, torch.Tensor]:
    """The batch as Ultralytics' code makes it from these draws."""
    made = []
    mixed = {int(picture): number for number, picture in enumerate(draws.mixed)}
    for picture in range(draws.pictures):
        labels = _canvas(images, draws, picture, imgsz)
        if picture in mixed:
            number = mixed[picture]
            labels["mix_labels"] = [_canvas(images, draws, draws.pictures + number, imgsz)]
            mixup, share = theirs.MixUp(images), {"r": draws.shares[number]}
            labels = mixup.apply_instances(mixup.apply_image(labels, share), share)
            labels.pop("mix_labels")
        with mock.patch.object(np.random, "uniform", lambda *_, p=picture: draws.gains[p]):
            labels = theirs.RandomHSV(1.0, 1.0, 1.0)(labels)
        for direction, flip in zip(("horizontal", "vertical"), draws.flips[picture], strict=True):
            labels = theirs.RandomFlip(p=float(flip), direction=direction)(labels)
        formed = theirs.Format(bbox_format="xywh", normalize=True, batch_idx=True, bgr=0.0)(labels)
        made.append({k: formed[k] for k in ("img", "cls", "bboxes", "batch_idx")})
    return SplitImages.collate_fn(made)
