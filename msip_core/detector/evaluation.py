"""Accuracy of a detector on one split, by Ultralytics' own metrics."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.utils import nms

from msip_core.data.dataset import Dataset
from msip_core.detector.images import EvaluationBatches, Tick
from msip_core.detector.library import DetectionModel, copy_model, hyperparameters
from msip_core.detector.memory import memory_errors_named
from msip_core.errors import ConfigError
from msip_core.events import Metrics


class Evaluator:
    """Evaluate models on the same images again and again.

    The decoded, letterboxed batches stay in memory between calls (where they fit), and the loss is
    always weighed with Ultralytics' default gains (box 7.5, cls .5, dfl 1.5), so that losses of
    differently trained models compare. Equal to `YOLO(...).val(rect=True)` with the same batch.

    Args:
        split: "train", "val" or "test".
        limit: use this many images, evenly spread over the split; None takes all.
        tick: called once per batch; may raise to stop.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        imgsz: int,
        batch: int = 16,
        device: str = "cpu",
        *,
        limit: int | None = None,
        tick: Tick | None = None,
    ) -> None:
        self.classes, self.split, self.imgsz, self.batch = dataset.classes, split, imgsz, batch
        self.device = torch.device(device)
        self.batches = EvaluationBatches(
            dataset, split, imgsz=imgsz, batch=batch, limit=limit, tick=tick
        )
        self._tick = tick or (lambda: None)

    def __call__(self, model: DetectionModel) -> Metrics:
        """mAP50, mAP50-95, precision, recall (at the best F1), AP50 per class and mean loss.

        The model is copied, then fused; it is left exactly as it is.

        Raises:
            ConfigError: it detects other classes than the dataset has.
            OutOfMemoryError: the batch does not fit the device.
        """
        check_classes(model, self.classes)
        twin = copy_model(model)
        twin.args = hyperparameters()
        twin = twin.to(self.device).float().eval().fuse(verbose=False)
        validator = self._validator(twin)
        losses: list[Tensor] = []
        with torch.inference_mode(), memory_errors_named(batch=self.batch, imgsz=self.imgsz):
            for batch in self.batches:
                self._tick()
                inputs = validator.preprocess(batch)
                outputs = twin(inputs["img"])
                losses.append(torch.stack(list(twin.loss(inputs, outputs)[1].values())).sum())
                validator.update_metrics(validator.postprocess(outputs), inputs)
        validator.get_stats()
        return self._metrics(validator, float(torch.stack(losses).mean()))

    def _validator(self, model: DetectionModel) -> DetectionValidator:
        validator = _Validator(
            dataloader=SimpleNamespace(dataset=self.batches.dataset),
            save_dir=Path(tempfile.gettempdir()),  # it insists on a folder, and writes nothing
            args={"task": "detect", "mode": "val", "plots": False, "imgsz": self.imgsz},
        )
        validator.training, validator.device, validator.data = False, self.device, {}
        validator.init_metrics(model)
        return validator

    def _metrics(self, validator: DetectionValidator, loss: float) -> Metrics:
        box = validator.metrics.box
        precision, recall, map50, map50_95 = (float(v) for v in box.mean_results())
        per_class = {self.classes[int(c)]: float(ap) for c, ap in zip(box.ap_class_index, box.ap50)}
        return Metrics(
            split=self.split,  # type: ignore[arg-type]
            map50=map50,
            map50_95=map50_95,
            precision=precision,
            recall=recall,
            loss=loss,
            per_class=per_class,
            images=self.batches.images,
        )


class _Validator(DetectionValidator):
    def postprocess(self, preds: Any) -> list[dict[str, Tensor]]:
        """Ultralytics' suppression without its clock: on a busy computer it would give up after
        some seconds and drop the remaining images' boxes with a mere warning."""
        outputs = nms.non_max_suppression(
            preds,
            self.args.conf,
            self.args.iou,
            multi_label=True,
            max_det=self.args.max_det,
            max_time_img=math.inf,
        )
        return [{"bboxes": x[:, :4], "conf": x[:, 4], "cls": x[:, 5], "extra": x[:, 6:]}
                for x in outputs]  # fmt: skip


def check_classes(model: DetectionModel, classes: tuple[str, ...]) -> None:
    """Raise unless the model detects exactly these classes, in this order (case apart)."""
    own = tuple(model.names.values())
    if [c.strip().lower() for c in own] != [c.strip().lower() for c in classes]:
        raise ConfigError(
            f"The model detects {_listed(own)}, but the dataset has {_listed(classes)}: choose a "
            "model trained on these classes, or train one first."
        )


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:5])
    return f"{len(names)} classes ({shown}, ...)" if len(names) > 5 else shown
