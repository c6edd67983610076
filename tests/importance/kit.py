"""A thin YOLOv8, drawn calibration images and small hand-made groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch_pruning as tp
import yaml
from torch import Tensor, nn

from msip_core.detector.c2f import to_c2f_v2
from msip_core.detector.checkpoints import normalise
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.groups.members import members, width
from msip_core.importance.calibration import CalibrationSet

IMGSZ = 64


# YOLOv8 with depthwise-separable downsampling: a depthwise 3x3 of stride 2, then a pointwise one.
DEPTHWISE_YAML = """
nc: 2
scale: n
scales: {n: [0.33, 0.125, 512]}
backbone:
  - [-1, 1, Conv, [64, 3, 2]] # 0-P1/2
  - [-1, 1, DWConv, [64, 3, 2]] # 1-P2/4
  - [-1, 1, Conv, [128, 1, 1]]
  - [-1, 3, C2f, [128, True]] # 3
  - [-1, 1, DWConv, [128, 3, 2]] # 4-P3/8
  - [-1, 1, Conv, [256, 1, 1]]
  - [-1, 6, C2f, [256, True]] # 6
  - [-1, 1, DWConv, [256, 3, 2]] # 7-P4/16
  - [-1, 1, Conv, [512, 1, 1]]
  - [-1, 6, C2f, [512, True]] # 9
  - [-1, 1, DWConv, [512, 3, 2]] # 10-P5/32
  - [-1, 1, Conv, [1024, 1, 1]]
  - [-1, 3, C2f, [1024, True]]
  - [-1, 1, SPPF, [1024, 5]] # 13
head:
  - [-1, 1, nn.Upsample, [None, 2, "nearest"]]
  - [[-1, 9], 1, Concat, [1]]
  - [-1, 3, C2f, [512]] # 16
  - [-1, 1, nn.Upsample, [None, 2, "nearest"]]
  - [[-1, 6], 1, Concat, [1]]
  - [-1, 3, C2f, [256]] # 19 (P3)
  - [-1, 1, DWConv, [256, 3, 2]]
  - [-1, 1, Conv, [256, 1, 1]]
  - [[-1, 16], 1, Concat, [1]]
  - [-1, 3, C2f, [512]] # 23 (P4)
  - [-1, 1, DWConv, [512, 3, 2]]
  - [-1, 1, Conv, [512, 1, 1]]
  - [[-1, 13], 1, Concat, [1]]
  - [-1, 3, C2f, [1024]] # 27 (P5)
  - [[19, 23, 27], 1, Detect, [nc]]
"""


def thin_detector(width: float = 0.125, seed: int = 0, classes: int = 2) -> DetectionModel:
    """YOLOv8n with C2f_v2 and half the width, batch norms as after some training."""
    from ultralytics.nn.tasks import yaml_model_load

    description = yaml_model_load("yolov8n.yaml")
    description["scales"] = {"n": [0.33, width, 512]}
    return _built(description, seed, classes)


def depthwise_detector(seed: int = 0) -> DetectionModel:
    """The same width with depthwise convolutions in backbone and neck."""
    return _built(yaml.safe_load(DEPTHWISE_YAML), seed, classes=2)


def _built(description: dict[str, Any], seed: int, classes: int) -> DetectionModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = DetectionModel(description, nc=classes, verbose=False)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.1)
    model.names = {i: f"class {i}" for i in range(classes)}
    return to_c2f_v2(normalise(model))


def drawn_calibration(
    images: int = 8, batch: int = 4, micro_batch: int = 2, size: int = IMGSZ
) -> CalibrationSet:
    """Noise with brighter squares where the boxes are."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 120, (images, 3, size, size), generator=generator)
    labels = []
    for i in range(images):
        rows = torch.tensor([[i % 2, 0.3, 0.4, 0.3, 0.25], [1 - i % 2, 0.7, 0.7, 0.2, 0.3]])
        labels.append(rows.float())
        for _, cx, cy, w, h in rows.tolist():
            top, left = int((cy - h / 2) * size), int((cx - w / 2) * size)
            pixels[i, :, top : top + int(h * size), left : left + int(w * size)] += 100
    return CalibrationSet(
        pixels.to(torch.uint8),
        tuple(labels),
        tuple(f"image-{i}" for i in range(images)),
        batch,
        micro_batch,
    )


def groups_of(model: nn.Module, example: Tensor, ignored: Sequence[nn.Module] = ()) -> list[Any]:
    """torch-pruning's groups of a small hand-made network."""
    graph = tp.DependencyGraph().build_dependency(model, example)
    return list(graph.get_all_groups(ignored_layers=list(ignored), root_module_types=[nn.Conv2d]))


def chain(first: Sequence[float], gamma: Sequence[float], last: Sequence[float]) -> nn.Sequential:
    """conv (1 -> n, weights `first`), batch norm (`gamma`), conv (n -> 1, weights `last`)."""
    n = len(first)
    net = nn.Sequential(
        nn.Conv2d(1, n, 1, bias=False), nn.BatchNorm2d(n), nn.Conv2d(n, 1, 1, bias=False)
    )
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor(first).view(n, 1, 1, 1))
        net[1].weight.copy_(torch.tensor(gamma))
        net[2].weight.copy_(torch.tensor(last).view(1, n, 1, 1))
    return net


def permuted(model: DetectionModel, group: Any, order: Tensor) -> DetectionModel:
    """A copy whose group channel p is the old channel order[p], everywhere: the same function."""
    twin = copy_model(model)
    layers = dict(twin.named_modules())
    for member in members(group):
        places: list[list[int]] = [[] for _ in range(width(group))]
        for index, position in zip(member.indices.tolist(), member.positions.tolist()):
            places[position].append(index)
        to = [i for place in places for i in place]
        source = [i for p in order.tolist() for i in places[p]]
        layer: Any = layers[member.name]
        with torch.no_grad():
            for name, value in layer.state_dict().items():
                if value.ndim == 0:
                    continue
                if member.kind == "in":
                    if name == "weight":
                        value[:, to] = value[:, source].clone()
                else:
                    value[to] = value[source].clone()
    return twin
