"""What a detector finds on images, as boxes in the pixels of those images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from ultralytics.data.augment import LetterBox
from ultralytics.utils import nms
from ultralytics.utils.ops import scale_boxes

from msip_core.boxes import Detection
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.detector.memory import memory_errors_named

MAX_DETECTIONS = 300
_ON_GPU = 16  # images at a time
Pixels = NDArray[np.uint8]


class Predictor:
    """One model made ready to predict: copied, fused, on its device.

    Gives what `YOLO("model.pt").predict(image, imgsz=imgsz, conf=conf, iou=iou)` gives.

    Args:
        imgsz: longer side after scaling; the shorter one is padded to a multiple of 32.
    """

    def __init__(self, model: DetectionModel, *, imgsz: int, device: str = "cpu") -> None:
        self.device, self.imgsz = torch.device(device), imgsz
        self.stride = int(model.stride.max())
        self._model = copy_model(model).to(self.device).float().eval().fuse(verbose=False)

    def __call__(self, image: Pixels, *, conf: float = 0.25, iou: float = 0.7) -> list[Detection]:
        """Find objects.

        Args:
            image: (height, width, 3) uint8 RGB, scaled as the model's recipe says.
            conf: least score, in [0, 1].
            iou: of two boxes of one class that overlap by more, the better stays.

        Returns:
            Best score first, numbered from 1; corners in the image's own pixels.

        Raises:
            ValueError: the image has another shape or type.
        """
        return self._found([image], conf, iou)[0]

    def several(
        self, images: Sequence[Pixels], *, conf: float = 0.25, iou: float = 0.7
    ) -> list[list[Detection]]:
        """The same for each of some images. A GPU, which waits more than it works with one at a
        time, takes neighbours of one size together: as many as `together`."""
        found: list[list[Detection]] = []
        for _, alike in groupby(images, key=lambda image: image.shape):
            rest = list(alike)
            for start in range(0, len(rest), self.together):
                found += self._found(rest[start : start + self.together], conf, iou)
        return found

    @property
    def together(self) -> int:
        """Images that go through the network at once."""
        return _ON_GPU if self.device.type == "cuda" else 1

    def _found(self, images: Sequence[Pixels], conf: float, iou: float) -> list[list[Detection]]:
        """Objects on images of one size."""
        inputs = torch.stack([self._prepare(image) for image in images]).to(self.device)
        inputs = inputs.float().div_(255)
        with torch.inference_mode(), memory_errors_named(batch=len(images), imgsz=self.imgsz):
            rows = nms.non_max_suppression(
                self._model(inputs),
                conf,
                iou,
                max_det=MAX_DETECTIONS,
                max_time_img=math.inf,  # boxes must not depend on how busy the computer is
            )
            shape = images[0].shape[:2]
            boxes = [scale_boxes(inputs.shape[2:], found[:, :4], shape) for found in rows]
        return [
            _numbered(corners, found[:, 4], found[:, 5])
            for corners, found in zip(boxes, rows, strict=True)
        ]

    def _prepare(self, image: Pixels) -> Tensor:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(
                f"need a (height, width, 3) uint8 image, got {image.shape} {image.dtype}"
            )
        letterbox = LetterBox((self.imgsz, self.imgsz), auto=True, stride=self.stride)
        # Ultralytics scales BGR; the order does not matter to resizing, so RGB stays RGB.
        scaled = np.ascontiguousarray(letterbox(image=image).transpose(2, 0, 1))
        return torch.from_numpy(scaled)


def predict(
    model: DetectionModel,
    images: Sequence[Pixels],
    *,
    imgsz: int,
    conf: float = 0.25,
    iou: float = 0.7,
    device: str = "cpu",
    tick: Callable[[int], None] | None = None,
) -> list[list[Detection]]:
    """Find objects on several images, one by one (see Predictor). `model` is left as it is.

    Args:
        tick: called with the number of finished images; may raise to stop.
    """
    predictor = Predictor(model, imgsz=imgsz, device=device)
    results = []
    for image in images:
        results.append(predictor(image, conf=conf, iou=iou))
        if tick:
            tick(len(results))
    return results


def _numbered(boxes: Tensor, scores: Tensor, classes: Tensor) -> list[Detection]:
    rows = zip(boxes.tolist(), scores.tolist(), classes.tolist(), strict=True)
    return [
        Detection(cls=int(cls), x1=x1, y1=y1, x2=x2, y2=y2, score=score, number=number)
        for number, ((x1, y1, x2, y2), score, cls) in enumerate(rows, start=1)
    ]
