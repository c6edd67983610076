"""Accuracy of a detector on one split, by Ultralytics' own metrics."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.utils import nms

from msip_core.data.dataset import Dataset
from msip_core.detector.batch import Batch, with_count
from msip_core.detector.images import EvaluationBatches, Tick
from msip_core.detector.library import DetectionModel, copy_model, hyperparameters
from msip_core.detector.memory import memory_errors_named
from msip_core.detector.quiet_loss import criterion_of
from msip_core.errors import ConfigError
from msip_core.events import Metrics
from msip_core.matches import Matches
from msip_core.messages import msg

Forward = Callable[[Tensor], Tensor]
Disturb = Callable[[NDArray[np.float32], str], NDArray[np.float32]]


class FoundBoxes(NamedTuple):
    """Detections and labels of one image, as x1, y1, x2, y2 in pixels of the network's input (of
    the image, where it was cut into tiles)."""

    file: str
    boxes: NDArray[np.float32]
    conf: NDArray[np.float32]
    cls: NDArray[np.float32]
    label_boxes: NDArray[np.float32]
    label_cls: NDArray[np.float32]


class Evaluation(NamedTuple):
    """Metrics of a model on a split, and what they were computed from (`found`: if it was kept)."""

    metrics: Metrics
    matches: Matches
    found: tuple[FoundBoxes, ...]


class Evaluator:
    """Evaluate models on the same images again and again.

    The decoded, letterboxed batches stay on the device between calls, or in memory, where they fit;
    what is found leaves the device in one piece a batch. Of a dataset whose fields are cut into
    tiles (msip_core.data.cut), whole fields are judged: what was found on tiles is joined, the loss
    is the tiles'. The loss is always weighed with
    Ultralytics' default gains (box 7.5, cls .5, dfl 1.5), so that losses of differently trained
    models compare. Equal to `YOLO(...).val(rect=True)` with the same batch.

    Args:
        split: "train", "val" or "test".
        parts: a batch is looked at in so many parts; changes no result.
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
        parts: int = 1,
        limit: int | None = None,
        tick: Tick | None = None,
    ) -> None:
        self.classes, self.split, self.imgsz, self.batch = dataset.classes, split, imgsz, batch
        self.device, self.piece = torch.device(device), max(1, batch // parts)
        self.batches = EvaluationBatches(
            dataset, split, imgsz=imgsz, batch=batch, parts=parts, limit=limit, tick=tick,
            device=device,
        )  # fmt: skip
        self._tick = tick or (lambda: None)

    def __call__(self, model: DetectionModel) -> Metrics:
        """mAP50, mAP50-95, precision, recall (at the best F1), AP50 per class and mean loss.

        The model is copied, then fused; it is left exactly as it is.

        Raises:
            ConfigError: it detects other classes than the dataset has.
            OutOfMemoryError: the batch does not fit the device.
        """
        return self.measured(model, keep=False).metrics

    def measured(
        self,
        model: DetectionModel,
        *,
        forward: Forward | None = None,
        disturb: Disturb | None = None,
        keep: bool = True,
    ) -> Evaluation:
        """The same, with what was found on each image.

        Args:
            forward: predicts in the model's place (a quantised twin of it, say): (n, 3, h, w) in
                [0, 1] to (n, 4 + classes, anchors). Then there is no loss.
            disturb: changes the pixels of each image, (3, h, w) in [0, 1], knowing its file name.
            keep: boxes and labels of each image too.
        """
        check_classes(model, self.classes)
        twin = copy_model(model)
        twin.args = hyperparameters()
        twin = twin.to(self.device).float().eval().fuse(verbose=False)
        twin.criterion = criterion_of(twin, self.device)
        validator = self._validator(twin, keep)
        losses, fields, seen = _Losses(twin.criterion), self.batches.fields, 0
        with torch.inference_mode(), memory_errors_named(batch=self.piece, imgsz=self.imgsz):
            for batch in self.batches:
                self._tick()
                images = batch["img"].to(self.device).float() / 255
                if disturb:
                    images = _disturbed(images, batch["im_file"], disturb)
                outputs = forward(images) if forward else twin(images)
                if forward is None:
                    parts = twin.loss(_labels_on(self.device, batch), outputs)[1]
                    losses.take(
                        torch.stack(list(parts.values())).sum(), self.batches.batch_of(seen)
                    )
                seen += len(images)
                found = validator.postprocess(outputs)
                if fields is None:
                    validator.update_metrics(found, batch)
                else:
                    fields.take(found, batch)
        for one, labels in fields or ():
            validator.update_metrics([one], labels)
        matches = validator.matches()
        validator.get_stats()
        return Evaluation(self._metrics(validator, losses.mean()), matches, tuple(validator.found))

    def _validator(self, model: DetectionModel, keep: bool) -> _Validator:
        validator = _Validator(
            dataloader=SimpleNamespace(dataset=self.batches.dataset),
            save_dir=Path(tempfile.gettempdir()),  # it insists on a folder, and writes nothing
            args={"task": "detect", "mode": "val", "plots": False, "imgsz": self.imgsz},
        )
        validator.keep = keep
        # What was found is matched with the labels where these are.
        validator.training, validator.device, validator.data = False, torch.device("cpu"), {}
        validator.init_metrics(model)
        return validator

    def _metrics(self, validator: DetectionValidator, loss: float | None) -> Metrics:
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
            images=self.batches.judged,
        )


class _Losses:
    """Losses of whole batches, however many parts these come in: Ultralytics divides the loss of a
    part by what its own images were assigned (by 1 where that is less)."""

    def __init__(self, criterion: Any) -> None:
        self._of: dict[int, list[tuple[Tensor, Tensor]]] = {}
        self._assigned = torch.ones(())
        criterion.assigner.register_forward_hook(self._note)

    def _note(self, _module: nn.Module, _inputs: Any, outputs: Any) -> None:
        self._assigned = outputs[2].sum()

    def take(self, loss: Tensor, batch: int) -> None:
        """Loss of a part of this batch, just computed."""
        self._of.setdefault(batch, []).append((loss, self._assigned))

    def mean(self) -> float | None:
        """Over batches; None where none was computed."""
        found = []
        for parts in self._of.values():
            losses, assigned = (torch.stack(values) for values in zip(*parts, strict=True))
            whole = (losses * assigned.clamp(min=1)).sum() / assigned.sum().clamp(min=1)
            found.append(losses[0] if len(losses) == 1 else whole)
        return float(torch.stack(found).mean()) if found else None


class _Validator(DetectionValidator):
    """Ultralytics' validator, which also keeps what was found on each image."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.found: list[FoundBoxes] = []
        self.keep = True

    def update_metrics(self, preds: list[dict[str, Tensor]], batch: Batch) -> None:
        """As Ultralytics does; with `keep`, boxes and labels too, in pixels of the input."""
        super().update_metrics(preds, batch)
        if not self.keep:
            return
        for n, pred in enumerate(preds):
            labels = self._prepare_batch(n, batch)
            self.found.append(
                FoundBoxes(
                    Path(labels["im_file"]).name,
                    *(pred[key].cpu().numpy() for key in ("bboxes", "conf", "cls")),
                    *(labels[key].cpu().numpy() for key in ("bboxes", "cls")),
                )
            )

    def matches(self) -> Matches:
        """What the validator will compute its metrics from, image by image."""
        stats = self.metrics.stats
        return Matches(
            images=tuple(one.file for one in self.found),
            image=_places(stats["conf"]),
            conf=np.concatenate(stats["conf"]).astype(np.float64),
            cls=np.concatenate(stats["pred_cls"]).astype(np.int64),
            hit=np.concatenate(stats["tp"]).astype(np.bool_),
            label_image=_places(stats["target_cls"]),
            label_cls=np.concatenate(stats["target_cls"]).astype(np.int64),
        )

    def postprocess(self, preds: Any) -> list[dict[str, Tensor]]:
        """Ultralytics' suppression without its clock: on a busy computer it would give up after
        some seconds and drop the remaining images' boxes with a mere warning. On the device, then
        brought to memory in one piece."""
        # Where somebody has imported it, Ultralytics suppresses by torchvision's kernel: the same
        # boxes, in a tenth of the time, and on a GPU without a question for each of them.
        import torchvision  # noqa: F401

        outputs = nms.non_max_suppression(
            preds,
            self.args.conf,
            self.args.iou,
            multi_label=True,
            max_det=self.args.max_det,
            max_time_img=math.inf,
        )
        found = torch.cat(outputs).cpu().split([len(x) for x in outputs])
        return [
            {"bboxes": x[:, :4], "conf": x[:, 4], "cls": x[:, 5], "extra": x[:, 6:]} for x in found
        ]


def _places(per_image: list[NDArray[Any]]) -> NDArray[np.int64]:
    """The image's number, as often as it has entries."""
    return np.repeat(np.arange(len(per_image)), [len(one) for one in per_image])


def _labels_on(device: torch.device, batch: Batch) -> Batch:
    """What the loss wants of a batch, sent in one piece."""
    together = torch.cat([batch["batch_idx"].view(-1, 1), batch["cls"], batch["bboxes"]], 1)
    number, cls, boxes = together.to(device).split((1, 1, 4), 1)
    counted = with_count({"batch_idx": batch["batch_idx"]})
    return {**counted, "batch_idx": number[:, 0], "cls": cls, "bboxes": boxes}


def _disturbed(images: Tensor, files: Sequence[str], disturb: Disturb) -> Tensor:
    changed = [
        torch.from_numpy(disturb(image.cpu().numpy(), Path(file).name))
        for image, file in zip(images, files, strict=True)
    ]
    return torch.stack(changed).to(images)


def check_classes(model: DetectionModel, classes: tuple[str, ...]) -> None:
    """Raise unless the model detects exactly these classes, in this order (case apart)."""
    own = tuple(model.names.values())
    if [c.strip().lower() for c in own] != [c.strip().lower() for c in classes]:
        raise ConfigError(
            "The model detects {known}, but the dataset has {asked}: choose a "
            "model trained on these classes, or train one first.",
            known=_listed(own),
            asked=_listed(classes),
        )


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:5])
    return msg("{n} classes ({shown}, ...)", n=len(names), shown=shown) if len(names) > 5 else shown
