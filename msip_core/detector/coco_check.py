"""mAP by a second, independent program: COCO's own arithmetic, in faster-coco-eval.

Ultralytics and COCO differ in small things (which label a detection is matched with, the step
under the curve), so the two agree to a hundredth, not to a digit; more than that is a fault.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from msip_core.detector.evaluation import FoundBoxes

MOST_DETECTIONS = 300  # per image: as many as Ultralytics keeps


def coco_map(found: Sequence[FoundBoxes]) -> tuple[float, float] | None:
    """mAP50 and mAP50-95 as COCO computes them; None without a label or a detection."""
    truth = _dataset(found)
    detections = [
        {"image_id": n, "category_id": int(cls), "bbox": _sides(box), "score": float(score)}
        for n, image in enumerate(found)
        for box, cls, score in zip(image.boxes, image.cls, image.conf)
    ]
    if not truth["annotations"] or not detections:
        return None
    with contextlib.redirect_stdout(io.StringIO()):
        labels = COCO(truth)
        check = COCOeval_faster(labels, labels.loadRes(detections), iouType="bbox")
        check.params.maxDets = [1, 10, MOST_DETECTIONS]
        check.evaluate()
        check.accumulate()
        check.summarize()
    return float(check.stats[1]), float(check.stats[0])


def _dataset(found: Sequence[FoundBoxes]) -> dict[str, object]:
    labels = [
        (n, int(cls), _sides(box))
        for n, image in enumerate(found)
        for box, cls in zip(image.label_boxes, image.label_cls)
    ]
    return {
        "info": {},
        "images": [{"id": n} for n in range(len(found))],
        "categories": [{"id": cls} for cls in sorted({cls for _, cls, _ in labels})],
        "annotations": [
            {"id": n, "image_id": image, "category_id": cls, "bbox": box,
             "area": box[2] * box[3], "iscrowd": 0}
            for n, (image, cls, box) in enumerate(labels, start=1)
        ],
    }  # fmt: skip


def _sides(box: np.ndarray[Any, Any]) -> list[float]:
    x1, y1, x2, y2 = (float(v) for v in box)
    return [x1, y1, x2 - x1, y2 - y1]
