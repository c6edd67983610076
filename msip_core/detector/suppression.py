"""Of boxes that overlap, the best: what Ultralytics' `non_max_suppression` gives, by the same
kernel of torchvision, but without that package and without a clock.

To import torchvision loads torch's compiler: two seconds and 170 MB before the first picture. And
Ultralytics gives up after some seconds, so that boxes would depend on how busy the computer is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from ultralytics.utils.ops import xywh2xyxy

MAX_DETECTIONS = 300
_MOST_CELLS = 30_000  # that are compared with each other, those with the best scores
_APART = 7680  # pixels between the classes: boxes of two never overlap


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
