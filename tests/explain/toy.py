"""Small detectors for tests: YOLOv8 in three layouts, and one whose reasons are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from ultralytics.nn.tasks import yaml_model_load

from msip_core.boxes import Box
from msip_core.detector.c2f import to_c2f_v2, to_stock
from msip_core.detector.checkpoints import normalise
from msip_core.detector.library import DetectionModel
from tests.detector.conftest import cut_by_threshold

IMGSZ = 96


def thin_yolo(seed: int = 0) -> DetectionModel:
    """YOLOv8 of an eighth of the width, batch norms measured on random images, live scores."""
    description = yaml_model_load("yolov8n.yaml")
    description["scales"] = {"n": [0.33, 0.125, 512]}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = DetectionModel(description, nc=2, verbose=False).train()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                module.momentum = None
        with torch.no_grad():
            model(torch.rand(4, 3, IMGSZ, IMGSZ))
        for branch in model.model[-1].cv3:
            nn.init.zeros_(branch[2].bias)
    model.names = {0: "crypt", 1: "no_crypt"}
    return normalise(model)


def opened_yolo() -> DetectionModel:
    return to_c2f_v2(thin_yolo()).eval()


def unrolled_yolo() -> DetectionModel:
    """As after pruning: the halves of each C2f differ in width, so stock layers stand in a row."""
    model = cut_by_threshold(opened_yolo(), 0.3)
    model.model[-1].shape = None
    return to_stock(model).eval()


LAYOUTS = {"C2f": thin_yolo, "C2fV2": opened_yolo, "unrolled": unrolled_yolo}


def micrograph(height: int = 96, width: int = 96, seed: int = 0) -> NDArray[np.uint8]:
    """A smooth random picture."""
    noise = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    smooth = functional.interpolate(noise, (height, width), mode="bilinear")[0]
    return (smooth.permute(1, 2, 0).numpy() * 255).astype(np.uint8)


class _Colours(nn.Module):
    """P3 features: how much redder, and how much greener than blue each 8 x 8 patch is."""

    def forward(self, images: Tensor) -> Tensor:
        red, green, blue = images.split(1, dim=1)
        return functional.avg_pool2d(torch.cat((red - blue, green - blue), 1).relu(), 8)


class _Halve(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return functional.avg_pool2d(features, 2)


class _Head(nn.Module):
    """One 40 px box per cell; class 0 is red, class 1 is green, looked for in a 5 x 5 window."""

    def __init__(self) -> None:
        super().__init__()
        self.f, self.nc, self.stride = [0, 1, 2], 2, torch.tensor([8.0, 16.0, 32.0])
        self.shape, self.anchors, self.strides = None, torch.empty(0), torch.empty(0)

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        boxes, scores = [], []
        for level, stride in zip(levels, self.stride.tolist()):
            near = functional.avg_pool2d(level, 5, stride=1, padding=2)
            scores.append((40 * near - 4).flatten(2))
            rows, columns = torch.meshgrid(
                torch.arange(level.shape[2]), torch.arange(level.shape[3]), indexing="ij"
            )
            centre = torch.stack((columns, rows)).flatten(1) * stride + stride / 2
            box = torch.cat((centre, torch.full_like(centre, 40.0)))
            boxes.append(box.expand(level.shape[0], -1, -1))
        logits = torch.cat(scores, 2)
        return torch.cat((torch.cat(boxes, 2), logits.sigmoid()), 1), {"scores": logits}


class ColourDetector(nn.Module):
    """Finds red things (class 0) and green things (class 1), by construction and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.ModuleList([_Colours(), _Halve(), _Halve(), _Head()])
        self.scale = nn.Parameter(torch.ones(1))  # so that it has a device

    def forward(self, images: Tensor) -> Any:
        levels, features = [], images * self.scale
        for layer in self.model[:-1]:
            features = layer(features)
            levels.append(features)
        return self.model[-1](levels)

    def fuse(self, verbose: bool = True) -> ColourDetector:
        return self


RED_BOX = Box(cls=0, x1=20, y1=76, x2=60, y2=116)  # centre (40, 96): low left
GREEN_BOX = Box(cls=1, x1=76, y1=20, x2=116, y2=60)  # centre (96, 40): top right


def red_and_green() -> NDArray[np.uint8]:
    """Grey, 128 x 128, with a red disc in RED_BOX and a green disc in GREEN_BOX.

    Every other line of a disc is blue, so that a blur turns it into nothing the detector knows.
    """
    picture = np.full((128, 128, 3), 100, np.uint8)
    rows, columns = np.mgrid[:128, :128]
    for (x, y), colour in (((40, 96), (220, 60, 60)), ((96, 40), (60, 220, 60))):
        disc = (columns - x) ** 2 + (rows - y) ** 2 < 16**2
        picture[disc] = colour
        picture[disc & (rows % 2 == 0)] = (60, 60, 220)
    return picture


def energy_in(heat: NDArray[np.float32], box: Box) -> float:
    """Share of the heat inside a box."""
    x1, y1, x2, y2 = (int(v) for v in box.xyxy)
    return float(heat[y1:y2, x1:x2].sum() / heat.sum())
