"""What is explained: the score that a detector gives to one box and class.

The caller's model is never touched. Every explanation works on `private_copy(model)`, because
hooks, gradients, fusing and the anchors that Detect caches would all leave traces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from msip_core.detector.library import DetectionModel, copy_model
from msip_core.errors import ConfigError
from msip_core.messages import msg

MIN_IOU = 0.5


def private_copy(model: DetectionModel) -> DetectionModel:
    """A float32 copy in eval mode, without hooks, gradients, cached anchors or criterion."""
    twin = copy_model(model)
    for module in twin.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks):
            hooks.clear()
    for parameter in twin.parameters():
        parameter.requires_grad_(False)
    return twin.float().eval()


class Candidates(nn.Module):
    """The detector with one tensor as output: (batch, 4 + classes, anchors).

    Rows 0-3 are decoded boxes (x1, y1, x2, y2 in input pixels), the others class *logits*:
    the sigmoid saturates, and its gradient with it.
    """

    def __init__(self, model: DetectionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        decoded, raw = self.model(images)
        centre, half = decoded[:, :2], decoded[:, 2:4] / 2
        return torch.cat((centre - half, centre + half, raw["scores"]), dim=1)


def box_iou(boxes: Tensor, reference: Sequence[float]) -> Tensor:
    """IoU of boxes (..., 4, n) with one reference (x1, y1, x2, y2): (..., n), in [0, 1]."""
    x1, y1, x2, y2 = boxes.unbind(-2)
    rx1, ry1, rx2, ry2 = reference
    width = (x2.clamp(max=rx2) - x1.clamp(min=rx1)).clamp(min=0)
    height = (y2.clamp(max=ry2) - y1.clamp(min=ry1)).clamp(min=0)
    shared = width * height
    union = (x2 - x1).clamp(min=0) * (y2 - y1).clamp(min=0) + (rx2 - rx1) * (ry2 - ry1) - shared
    return shared / union.clamp(min=1e-9)


@dataclass(frozen=True, slots=True)
class BoxTarget:
    """Mean class logit over a fixed set of anchors: the target of every CAM.

    S = anchors whose decoded box overlaps the reference box with IoU >= .5 (else the one of best
    IoU), chosen without gradient; target = mean over S of the logit of the reference's class.

    Attributes:
        cls: class of the reference box.
        anchors: indices of S.
        best_iou: best overlap that any anchor reaches; below .5 the model draws no such box.
        score: largest probability of the class within S.
    """

    cls: int
    anchors: tuple[int, ...]
    best_iou: float
    score: float

    def __call__(self, output: Tensor) -> Tensor:
        """Target of one image's candidates (4 + classes, anchors): a scalar."""
        return output[4 + self.cls, list(self.anchors)].mean()

    @property
    def note(self) -> str:
        """What a reader must know about the choice, or nothing."""
        if self.best_iou >= MIN_IOU:
            return ""
        return msg(
            "This model draws no box here that matches the chosen one "
            "(best overlap {best_iou:.2f}); the map explains its nearest candidate.",
            best_iou=self.best_iou,
        )


def choose_target(candidates: Tensor, reference: Sequence[float], cls: int) -> BoxTarget:
    """The CAM target for a reference box.

    Args:
        candidates: output of `Candidates` for one image, (4 + classes, anchors).
        reference: x1, y1, x2, y2 in input pixels.
        cls: class whose logit is explained.

    Raises:
        ConfigError: the model has no such class, or the box has no area.
    """
    check_reference(reference, cls, classes=candidates.shape[0] - 4)
    with torch.no_grad():
        iou = box_iou(candidates[:4], reference)
        chosen = torch.nonzero(iou >= MIN_IOU).flatten()
        if not len(chosen):
            chosen = _nearest(candidates[:4], iou, reference)
        score = candidates[4 + cls, chosen].sigmoid().max()
    return BoxTarget(cls, tuple(chosen.tolist()), float(iou.max()), float(score))


def _nearest(boxes: Tensor, iou: Tensor, reference: Sequence[float]) -> Tensor:
    """The anchor of best IoU; among anchors that do not overlap at all, the closest centre."""
    if iou.max() > 0:
        return iou.argmax()[None]
    x1, y1, x2, y2 = reference
    away = ((boxes[0] + boxes[2]) - (x1 + x2)) ** 2 + ((boxes[1] + boxes[3]) - (y1 + y2)) ** 2
    return away.argmin()[None]


def check_reference(reference: Sequence[float], cls: int, *, classes: int) -> None:
    """Raise ConfigError unless the box has an area and the model knows the class."""
    x1, y1, x2, y2 = reference
    if not 0 <= cls < classes:
        raise ConfigError(
            "The model has {classes} classes; class number {cls} is not among them.",
            classes=classes,
            cls=cls,
        )
    if x2 <= x1 or y2 <= y1:
        raise ConfigError("The box to explain has no area: draw or choose another one.")


def similarity(candidates: Tensor, reference: Sequence[float], cls: int) -> Tensor:
    """How well a detector still finds the reference: max over anchors of IoU * p(class).

    The D-RISE similarity without NMS (Petsiuk et al. 2021, arXiv:2006.03204), the f that SHAP
    explains.

    Args:
        candidates: (batch, 4 + classes, anchors).

    Returns:
        (batch,), in [0, 1].
    """
    probability = candidates[:, 4 + cls].sigmoid()
    return (box_iou(candidates[:, :4], reference) * probability).amax(dim=1)
