"""What a detector costs: multiply-adds, parameters, room on a disk."""

from __future__ import annotations

import torch
import torch_pruning as tp

from msip_core.detector.checkpoints import size_mb
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.events import Cost


def count_cost(model: DetectionModel, imgsz: int) -> Cost:
    """Count multiply-adds of one (3, imgsz, imgsz) image, parameters and MiB at half precision.

    The counter is torch-pruning's: convolutions plus 2 per BatchNorm element, pooling and
    upsampling. YOLOv8s with two classes at 640 px has 14.273 G multiply-adds (FLOPs are twice
    that) and 11.136 M parameters. `model` is left as it is.
    """
    twin = copy_model(model).cpu().float().eval()
    twin.__deepcopy__ = lambda _: twin  # the counter would copy the copy, which takes longest
    with torch.no_grad():
        macs, params = tp.utils.count_ops_and_params(twin, torch.zeros(1, 3, imgsz, imgsz))
    del twin.__deepcopy__  # a circle, which would keep the weights until they are swept up
    return Cost(macs=int(macs), params=int(params), size_mb=round(size_mb(twin), 3), imgsz=imgsz)
