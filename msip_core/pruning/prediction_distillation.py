"""Distillation of predictions: the unpruned network shows the pruned one what it would predict.

    loss per image = weight * (C + 4 B)
    C = sum over positions and classes of |s - t| * BCE(s, t) / P       s, t probabilities
    B = sum over positions of p * T^2 * mean over 4 sides of KL(softmax(t/T) || softmax(s/T)) / P
    p = the teacher's largest probability at a position, P = the sum of p over the batch

T is the temperature of the distributions over the bins of a side. Where the student's t come from
is the method:

    prediction   its own predictions
    crosskd      "cross-head": what its head computes first, an adapter, then the rest of the
                 teacher's head, which stays as it is. The student's own last layers learn from the
                 labels alone, so that labels and teacher never pull at the same weights.

CrossKD counts assigned positions where P stands here; what the labels were assigned to is not
known beside the detection loss, so the teacher's confidence counts instead [own]. The adapter is a
1x1 convolution from the student's width to the teacher's that begins as the least squares map over
the calibration images [own], is trained along and dropped with the fit.

Sources: Wang et al. 2023, arXiv:2306.11369 (CrossKD: losses and their weights 1 and 4, the path);
Zheng et al. 2022, arXiv:2102.12252 (distributions of box sides).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from ultralytics.nn.modules import Detect

from msip_core.config import DistillOptions
from msip_core.detector.library import DetectionModel
from msip_core.errors import ConfigError
from msip_core.importance.calibration import CalibrationSet
from msip_core.pruning.distillation import Taught, adapter, check_same_graph, kept

BOX_WEIGHT = 4.0
_LEAST_CONFIDENCE = 1e-6  # keeps a batch without any detection finite


def prediction_error(
    student: dict[str, Tensor], teacher: dict[str, Tensor], temperature: float = 1.0
) -> Tensor:
    """C + 4 B of two raw predictions, see above; a scalar, for one image of the batch.

    Args:
        student, teacher: "scores" (n, classes, positions) logits and "boxes"
            (n, 4 * bins, positions) logits of the distances to the four sides.
    """
    mine, scores = student["scores"].float(), teacher["scores"].float()
    target = scores.sigmoid()
    confidence = target.amax(1)
    total = confidence.sum().clamp(min=_LEAST_CONFIDENCE)
    apart = (mine.sigmoid() - target).abs()
    entropy = F.binary_cross_entropy_with_logits(mine, target, reduction="none")
    classes = (apart * entropy).sum() / total
    log_s, log_t = (_sides(raw["boxes"], temperature) for raw in (student, teacher))
    divergence = F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(2).mean(1)
    boxes = (divergence * confidence).sum() * temperature**2 / total
    return classes + BOX_WEIGHT * boxes


def _sides(boxes: Tensor, temperature: float) -> Tensor:
    """Log-probabilities of the bins: (n, 4, bins, positions)."""
    return F.log_softmax(boxes.float().unflatten(1, (4, -1)) / temperature, dim=2)


class PredictionDistillation(Taught):
    """The teacher shows its predictions.

    Args:
        student: the pruned network; only its widths are read, the fit trains a copy.
        crossed: send what the student's head computes first through the teacher's head.

    Raises:
        ConfigError: two different graphs, or heads that do not predict alike.
    """

    def __init__(
        self,
        teacher: DetectionModel,
        student: DetectionModel,
        *,
        crossed: bool,
        options: DistillOptions,
        calibration: CalibrationSet,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        for model in (teacher, student):
            check_head(model)
        check_same_graph(teacher, student)
        self._crossed = crossed
        self._heard: dict[str, Any] = {}
        pairs = zip(_branches(student), _branches(teacher), strict=True)
        adapters = {
            name: adapter(_width(thin), _width(wide), bias=True)
            for (name, thin), (_, wide) in pairs
            if crossed
        }
        facts = {
            "divergence": "crosskd" if crossed else "prediction",
            "weight": options.weight,
            "temperature": options.temperature,
        }
        super().__init__(
            teacher, adapters, facts=facts, options=options, calibration=calibration, tick=tick
        )

    def _pairs(self, student: DetectionModel, images: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        thin: dict[str, Tensor] = {}
        wide: dict[str, Tensor] = {}
        with self._first(student, thin), self._first(self._teacher, wide):
            student(images)
            self._teacher(images)
        return {name: (thin[name], wide[name]) for name in thin}

    @contextmanager
    def watching(self, model: DetectionModel) -> Iterator[None]:
        self._teacher.to(next(model.parameters()).device)
        with self._first(model, self._heard), kept({"raw": model.model[-1]}, self._heard):
            yield

    def __call__(self, images: Tensor) -> Tensor:
        taught = self._taught(images)
        found = self._through_teacher() if self._crossed else self._heard["raw"]
        error = prediction_error(found, taught, self._options.temperature)
        self._heard.clear()
        return error * self._options.weight

    def _taught(self, images: Tensor) -> dict[str, Tensor]:
        """The teacher's raw predictions."""
        self._teacher.to(images.device)
        with torch.no_grad():
            raw: dict[str, Tensor] = self._teacher(images)[1]
        return raw

    def _through_teacher(self) -> dict[str, Tensor]:
        """Raw predictions of the teacher's last layers on what the student's first ones gave."""
        head = self._teacher.model[-1]
        found = {}
        for part, branches in (("boxes", head.cv2), ("scores", head.cv3)):
            maps = [
                branch[1:](self._adapters[f"{part}-{i}"](self._heard[f"{part}-{i}"]))
                for i, branch in enumerate(branches)
            ]
            found[part] = torch.cat([one.flatten(2) for one in maps], dim=2)
        return found

    def _first(
        self, model: DetectionModel, found: dict[str, Tensor]
    ) -> AbstractContextManager[None]:
        """While open, every forward leaves what the first layer of each branch gave."""
        return kept({name: branch[0] for name, branch in _branches(model)}, found)


def check_head(model: DetectionModel) -> None:
    """Refuse a head that predicts otherwise than YOLOv8's.

    Raises:
        ConfigError: it has one-to-one branches, or is none of Ultralytics' `Detect`.
    """
    head = model.model[-1]
    if not isinstance(head, Detect) or getattr(head, "one2one_cv2", None) is not None:
        raise ConfigError(
            "Distillation of predictions knows the head of YOLOv8, and this detector has another: "
            "choose the recovery 'finetune'."
        )


def _branches(model: DetectionModel) -> Iterator[tuple[str, nn.Sequential]]:
    head = model.model[-1]
    for part, branches in (("boxes", head.cv2), ("scores", head.cv3)):
        for i, branch in enumerate(branches):
            yield f"{part}-{i}", branch


def _width(branch: nn.Sequential) -> int:
    """Channels of what the first layer of a branch gives."""
    convolutions = [m for m in branch[0].modules() if isinstance(m, nn.Conv2d)]
    return convolutions[-1].out_channels
