"""Ultralytics' detection loss without a question to the device that computes it.

Its own waits for a GPU a dozen times a batch: how many boxes the fullest picture has, which anchors
lie in a box, which were assigned one, and small tables that are sent each time. Here that number
comes with the batch, tables stay on the device, and where there is nothing to compare the
comparison counts nothing. The numbers are the same up to the order of sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from ultralytics.utils.loss import v8DetectionLoss
from ultralytics.utils.metrics import bbox_iou
from ultralytics.utils.ops import xywh2xyxy, xyxy2xywh
from ultralytics.utils.tal import TaskAlignedAssigner, bbox2dist, make_anchors

from msip_core.detector.batch import MOST, Batch
from msip_core.detector.library import DetectionModel

_PAIRS = 2**24  # of a box and an anchor whose overlap is computed at once


def criterion_of(model: DetectionModel, device: torch.device) -> v8DetectionLoss:
    """The loss for work on `device`: on a GPU the one that asks it nothing, whose batches must
    hold their count."""
    return QuietLoss(model) if device.type == "cuda" else v8DetectionLoss(model)


class QuietAssigner(TaskAlignedAssigner):
    """TaskAlignedAssigner that computes all pairs of a box and an anchor, and blanks most."""

    def get_box_metrics(
        self,
        pd_scores: Tensor,
        pd_bboxes: Tensor,
        gt_labels: Tensor,
        gt_bboxes: Tensor,
        mask_gt: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Alignment and overlap, each (b, boxes, anchors), 0 outside of `mask_gt`."""
        wanted = mask_gt.bool()
        anchors = pd_bboxes.shape[1]
        labels = gt_labels.long().expand(-1, -1, anchors)
        scores = pd_scores.transpose(1, 2).gather(1, labels)
        at_once = max(1, _PAIRS // (self.bs * anchors))
        overlaps = torch.cat(
            [
                self.iou_calculation(boxes.unsqueeze(2), pd_bboxes.unsqueeze(1))
                for boxes in gt_bboxes.split(at_once, dim=1)
            ],
            dim=1,
        )
        overlaps = torch.where(wanted, overlaps, 0.0)
        aligned = torch.where(wanted, scores.pow(self.alpha) * overlaps.pow(self.beta), 0.0)
        return aligned, overlaps

    def select_candidates_in_gts(
        self, xy_centers: Tensor, gt_bboxes: Tensor, mask_gt: Tensor, eps: float = 1e-9
    ) -> Tensor:
        """Which anchors' centres lie in which boxes, small ones enlarged to `stride_val`."""
        boxes = xyxy2xywh(gt_bboxes)
        sizes = boxes[..., 2:]
        boxes[..., 2:] = torch.where(mask_gt.bool(), sizes.clamp(min=self.stride_val), sizes)
        first, last = xywh2xyxy(boxes).unsqueeze(2).chunk(2, 3)
        inside: Tensor = torch.cat((xy_centers - first, last - xy_centers), 3).amin(3) > eps
        return inside


class QuietLoss(v8DetectionLoss):
    """v8DetectionLoss of batches that hold their count (`batch.with_count`)."""

    def __init__(self, model: DetectionModel) -> None:
        super().__init__(model)
        theirs: TaskAlignedAssigner = vars(self)["assigner"]
        self.assigner = QuietAssigner(
            topk=theirs.topk,
            num_classes=self.nc,
            alpha=theirs.alpha,
            beta=theirs.beta,
            stride=theirs.stride,
            topk2=theirs.topk2,
        )
        self._steps = [float(stride) for stride in model.model[-1].stride]
        self._grids: dict[tuple[torch.Size, ...], tuple[Tensor, Tensor, Tensor]] = {}

    def _grid(self, feats: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Anchors (a, 2) in cells, their strides (a, 1), and the picture's corners (4,)."""
        key = tuple(map.shape[2:] for map in feats)
        if key not in self._grids:
            anchors, strides = make_anchors(feats, self._steps, 0.5)
            height, width = (side * self._steps[0] for side in key[0])
            corners = torch.tensor([width, height] * 2, device=self.device)
            self._grids[key] = anchors, strides, corners
        return self._grids[key]

    def get_assigned_targets_and_loss(
        self, preds: Mapping[str, Any], batch: Batch, **_: Any
    ) -> tuple[tuple[Tensor, ...], Tensor, dict[str, Tensor]]:
        """As v8DetectionLoss has it: targets, the three losses by their gains, and their values."""
        sides = preds["boxes"].permute(0, 2, 1).contiguous()
        scores = preds["scores"].permute(0, 2, 1).contiguous()
        anchors, strides, corners = self._grid(preds["feats"])
        labels, boxes = self._padded(batch, len(scores), corners).split((1, 4), 2)
        found = self.bbox_decode(anchors, sides)
        _, wanted, target_scores, chosen, index = self.assigner(
            scores.detach().sigmoid(),
            found.detach() * strides,
            anchors * strides,
            labels,
            boxes,
            boxes.sum(2, keepdim=True).gt_(0.0),
        )
        total = target_scores.sum().clamp_(min=1)
        errors = self.bce(scores, target_scores.to(scores.dtype))
        if self.class_weights is not None:
            errors = errors * self.class_weights
        box, dfl = self._box_losses(
            sides, found, anchors, wanted / strides, target_scores.sum(-1) * chosen
        )
        loss = (
            torch.stack((box * self.hyp.box, errors.sum() * self.hyp.cls, dfl * self.hyp.dfl))
            / total
        )
        values = dict(zip(self.loss_names, loss.detach(), strict=True))
        return (chosen, index, wanted, anchors, strides), loss, values

    def _padded(self, batch: Batch, pictures: int, corners: Tensor) -> Tensor:
        """(pictures, most, 5): class and corners in pixels, filled up with zeros."""
        most = batch[MOST]
        out = torch.zeros(pictures, most, 5, device=self.device)
        if most:
            picture = batch["batch_idx"].long()
            starts = torch.zeros(pictures + 1, dtype=torch.long, device=self.device)
            starts.scatter_add_(0, picture + 1, torch.ones_like(picture))
            place = torch.arange(len(picture), device=self.device) - starts.cumsum(0)[picture]
            rows = torch.cat((batch["cls"].view(-1, 1), batch["bboxes"]), 1)
            out[picture, place] = rows
            out[..., 1:] = xywh2xyxy(out[..., 1:] * corners)
        return out

    def _box_losses(
        self, sides: Tensor, found: Tensor, anchors: Tensor, wanted: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sums over anchors of the CIoU loss and of the distribution loss, by `weight` (b, a)."""
        # An anchor without a box is compared with itself: no loss and, to be sure, no gradient.
        there = (weight > 0)[..., None]
        overlap = bbox_iou(torch.where(there, found, wanted), wanted, xywh=False, CIoU=True)
        box = ((1.0 - overlap.squeeze(-1)) * weight).sum()
        bins = self.reg_max
        distances = bbox2dist(anchors, wanted, bins - 1)
        of_sides = self.bbox_loss.dfl_loss(sides.reshape(-1, bins), distances.reshape(-1, 4))
        return box, (of_sides.view_as(weight) * weight).sum()
