"""What a detector costs: multiply-adds, parameters, room on a disk."""

from __future__ import annotations

from msip_core.detector.checkpoints import size_mb
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.events import Cost
from msip_core.groups.copies import count_ops


def count_cost(model: DetectionModel, imgsz: int) -> Cost:
    """Count multiply-adds of one (3, imgsz, imgsz) image, parameters and MiB at half precision.

    The counter is torch-pruning's: convolutions plus 2 per BatchNorm element, pooling and
    upsampling. YOLOv8s with two classes at 640 px has 14.273 G multiply-adds (FLOPs are twice
    that) and 11.136 M parameters. `model` is left as it is.
    """
    twin = copy_model(model).cpu().float().eval()
    macs, params = count_ops(twin, imgsz)
    return Cost(macs=macs, params=params, size_mb=round(size_mb(twin), 3), imgsz=imgsz)
