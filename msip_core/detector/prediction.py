"""What a detector finds on images, as boxes in the pixels of those images.

Of boxes that overlap the best stays: what Ultralytics' `non_max_suppression` gives, by the same
kernel of torchvision, but without that package and without a clock. To import torchvision loads
torch's compiler: two seconds and 170 MB before the first picture. And Ultralytics gives up after
some seconds, so that boxes would depend on how busy the computer is.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from ultralytics.utils.ops import scale_boxes, xywh2xyxy

from msip_core.boxes import Detection
from msip_core.detector.frame import Frame
from msip_core.detector.joining import detections
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.detector.memory import memory_errors_named

_ON_GPU = 16  # images at a time
MAX_DETECTIONS = 300
_MOST_CELLS = 30_000  # that are compared with each other, those with the best scores
_APART = 7680  # pixels between the classes: boxes of two never overlap


Pixels = NDArray[np.uint8]


class Predictor:
    """One model made ready to predict: copied, fused, on its device.

    Gives what `YOLO("model.pt").predict(image, imgsz=imgsz, conf=conf, iou=iou)` gives, digit by
    digit.

    Args:
        imgsz: longer side after scaling; the shorter one is padded to a multiple of 32.
        together: images that are looked at in the same time: a GPU takes them as one batch (None
            gives it 16); a processor takes them side by side, each with the threads that torch
            has. So many images by one thread each are done in two thirds of the time that one
            image after the other by so many threads takes.
    """

    def __init__(
        self, model: DetectionModel, *, imgsz: int, device: str = "cpu", together: int | None = None
    ) -> None:
        self._wanted = together
        self._lanes: ThreadPoolExecutor | None = None
        self.device, self.imgsz = torch.device(device), imgsz
        self.stride = int(model.stride.max())
        ready = copy_model(model).to(self.device).float().eval().fuse(verbose=False)
        self._model = ready.to(memory_format=_layout(self.device))

    def __call__(self, image: Pixels, *, conf: float = 0.25, iou: float = 0.7) -> list[Detection]:
        """Find objects.

        Args:
            image: (height, width, 3) uint8 RGB, scaled as the model's recipe says.
            conf: least score, in [0, 1].
            iou: of two boxes of one class that overlap by more, the better stays.

        Returns:
            Best score first, numbered from 1; corners in the image's own pixels.

        Raises:
            InputError: the image has another shape or type.
        """
        return self._found([image], conf, iou)[0]

    def several(
        self, images: Sequence[Pixels], *, conf: float = 0.25, iou: float = 0.7
    ) -> list[list[Detection]]:
        """The same for each of some images, neighbours of one size together."""
        found: list[list[Detection]] = []
        for _, alike in groupby(images, key=lambda image: image.shape):
            rest = list(alike)
            if self.device.type == "cpu" and self._wanted is not None:
                found += self._side_by_side(rest, conf, iou)
                continue
            for start in range(0, len(rest), self.together):
                found += self._found(rest[start : start + self.together], conf, iou)
        return found

    @property
    def together(self) -> int:
        """How many that is."""
        return self._wanted or (_ON_GPU if self.device.type == "cuda" else 1)

    def _side_by_side(
        self, images: Sequence[Pixels], conf: float, iou: float
    ) -> list[list[Detection]]:
        """Of one size: the head keeps the places of its cells for the size that it saw last."""
        if self._lanes is None:
            self._lanes = ThreadPoolExecutor(self.together, "lane")
        return list(self._lanes.map(lambda image: self._found([image], conf, iou)[0], images))

    def _found(self, images: Sequence[Pixels], conf: float, iou: float) -> list[list[Detection]]:
        """Objects on images of one size."""
        inputs = torch.stack([self._prepare(image) for image in images]).to(self.device)
        inputs = inputs.float().div_(255)
        with torch.inference_mode(), memory_errors_named(batch=len(images), imgsz=self.imgsz):
            rows = suppressed(self._model(inputs)[0], conf, iou)
            for found in rows:
                found[:, :4] = scale_boxes(inputs.shape[2:], found[:, :4], images[0].shape[:2])
            return [detections(found) for found in rows]

    def _prepare(self, image: Pixels) -> Tensor:
        # Ultralytics scales BGR; the order does not matter to resizing, so RGB stays RGB.
        letterboxed = Frame.fit(image, self.imgsz, stride=self.stride).picture(image)
        return torch.from_numpy(np.ascontiguousarray(letterboxed.transpose(2, 0, 1)))


def predict(
    model: DetectionModel,
    images: Sequence[Pixels],
    *,
    imgsz: int,
    conf: float = 0.25,
    iou: float = 0.7,
    device: str = "cpu",
) -> list[list[Detection]]:
    """Find objects on several images, one by one (see Predictor). `model` is left as it is."""
    predictor = Predictor(model, imgsz=imgsz, device=device)
    return [predictor(image, conf=conf, iou=iou) for image in images]


def one_class_each(found: Sequence[Detection], iou: float) -> list[Detection]:
    """Of boxes that overlap by more than `iou`, whatever their classes, the best; in their order,
    numbered anew.

    The detector does so within each class only, so one organoid may come as two of its classes.
    """
    boxes = torch.tensor([box.xyxy for box in found], dtype=torch.float64).reshape(-1, 4)
    scores = torch.tensor([box.score for box in found], dtype=torch.float64)
    kept = sorted(best(boxes, scores, iou).tolist())
    return [found[n].model_copy(update={"number": at}) for at, n in enumerate(kept, 1)]


def _layout(device: torch.device) -> torch.memory_format:
    """Where the values of a pixel lie side by side, Intel's and AMD's processors take a tenth less
    time; Ultralytics does the same on the same computers, so the last digits are those of its."""
    fast = (
        device.type == "cpu"
        and platform.system() in ("Linux", "Windows")
        and platform.machine() in ("AMD64", "x86_64")
        and torch.backends.mkldnn.is_available()
    )
    return torch.channels_last if fast else torch.contiguous_format


def suppressed(cells: Tensor, conf: float, iou: float) -> list[Tensor]:
    """What stays of the cells of each image.

    Args:
        cells: (images, 4 + classes, cells): middle, width and height in pixels, then a score in
            [0, 1] for each class.
        conf: only cells whose best score is above it.
        iou: of two boxes of one class that overlap by more, the better stays.

    Returns:
        (boxes, 6) for each image: corners, score and class, best score first, at most 300.
    """
    return [_of_image(found, conf, iou) for found in cells.transpose(-1, -2)]


def best(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Places of the boxes (n, 4) that no better one overlaps by more than `iou`, best first."""
    return _kernel()(boxes, scores, iou)


def _of_image(found: Tensor, conf: float, iou: float) -> Tensor:
    found = found[found[:, 4:].amax(1) > conf]
    scores, classes = found[:, 4:].max(1, keepdim=True)
    rows = torch.cat((xywh2xyxy(found[:, :4]), scores, classes.float()), 1)
    if len(rows) > _MOST_CELLS:
        rows = rows[rows[:, 4].argsort(descending=True)[:_MOST_CELLS]]
    return rows[best(rows[:, :4] + rows[:, 5:] * _APART, rows[:, 4], iou)[:MAX_DETECTIONS]]


@cache
def _kernel() -> Callable[[Tensor, Tensor, float], Tensor]:
    spec = None if "torchvision" in sys.modules else find_spec("torchvision")
    for folder in spec.submodule_search_locations or () if spec else ():
        for library in Path(folder).glob("_C*.so"):
            torch.ops.load_library(library)
            kernel: Callable[[Tensor, Tensor, float], Tensor] = torch.ops.torchvision.nms
            return kernel
    from torchvision.ops import nms  # loaded already, or of a system with other libraries

    loaded: Callable[[Tensor, Tensor, float], Tensor] = nms
    return loaded
