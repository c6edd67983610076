"""Ultralytics' detection loss, told on the processor what it would read from the device.

Its own asks the device how many boxes the fullest picture has, and reads the strides that it was
given there: five times a batch that a GPU's work has to be finished first. Two of its questions
remain, whatever the network: which anchors lie in boxes, and which were assigned one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from ultralytics.utils.loss import v8DetectionLoss
from ultralytics.utils.ops import xywh2xyxy

from msip_core.detector.library import DetectionModel

MOST = "most_boxes"  # of a batch: boxes of its fullest picture, an int


def with_count(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch with its count, made where it is missing; before it goes to the device."""
    if MOST not in batch:
        pictures = batch["batch_idx"].long()
        batch[MOST] = int(torch.bincount(pictures).max()) if len(pictures) else 0
    return batch


class CountedLoss(v8DetectionLoss):
    """The same numbers as v8DetectionLoss, of batches that hold their count."""

    def __init__(self, model: DetectionModel) -> None:
        super().__init__(model)
        self.stride: list[float] = [float(stride) for stride in model.model[-1].stride]
        self._most = 0

    def loss(
        self, preds: dict[str, Tensor], batch: dict[str, Any]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Box, class and distribution loss times the batch, and the three by name."""
        self._most = batch[MOST]
        found: tuple[Tensor, dict[str, Tensor]] = super().loss(preds, batch)
        return found

    def preprocess(self, targets: Tensor, batch_size: int, scale_tensor: Tensor) -> Tensor:
        """Targets (b, 6) of picture, class and box as (n, most, 5), corners in pixels."""
        out = torch.zeros(batch_size, self._most, targets.shape[1] - 1, device=self.device)
        if self._most:
            picture = targets[:, 0].long()
            starts = torch.zeros(batch_size + 1, dtype=torch.long, device=self.device)
            starts.scatter_add_(0, picture + 1, torch.ones_like(picture))
            place = torch.arange(len(targets), device=self.device) - starts.cumsum(0)[picture]
            out[picture, place] = targets[:, 1:]
            out[..., 1:5] = xywh2xyxy(out[..., 1:5].mul_(scale_tensor))
        return out
