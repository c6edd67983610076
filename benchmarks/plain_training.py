"""Plain Ultralytics training of a module as it is, pruned or not: what a careful user writes.

`YOLO.train()` would rebuild the network from its yaml and undo the pruning, so a trainer subclass
hands over the module itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from ultralytics.models.yolo.detect import DetectionTrainer

BASELINE: dict[str, Any] = {
    "lr0": 0.01, "lrf": 0.01, "momentum": 0.937, "cos_lr": True, "warmup_epochs": 1.0,
    "scale": 0.3, "flipud": 0.5, "close_mosaic": 3, "nbs": 16,
}  # fmt: skip
# The same for every pruned row, plain or ours.
FINETUNE: dict[str, Any] = {
    "lr0": 5e-3, "lrf": 0.01, "momentum": 0.9, "cos_lr": True, "warmup_epochs": 0.0,
    "degrees": 15.0, "scale": 0.2, "mixup": 0.0, "close_mosaic": 1, "nbs": 16,
}  # fmt: skip
BATCH = 16


def train(
    model: nn.Module, data: Path, out: Path, *, epochs: int, imgsz: int, seed: int,
    recipe: dict[str, Any], validate: Callable[[nn.Module], tuple[float, float]],
    threads: int = 1,
) -> nn.Module:  # fmt: skip
    """Train `model` in place of the one the yaml would build; return the averaged weights of the
    best epoch, fp32.

    Args:
        validate: mAP50 and mAP50-95 on the validation images. The epoch that is kept is the one
            that the product's trainer would keep: highest mAP50 of the averaged weights, then
            highest mAP50-95, then the earliest.
    """

    class Trainer(DetectionTrainer):
        best_seen: tuple[tuple[float, float], nn.Module] | None = None

        def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
            return model

        def keep_best(self) -> None:
            average = copy.deepcopy(self.ema.ema).float()
            score = validate(average)
            if self.best_seen is None or score > self.best_seen[0]:
                self.best_seen = score, average

        def validate(self) -> tuple[dict[str, float], float]:
            return {}, 0.0  # the table evaluates all rows in one way

        def final_eval(self) -> None:
            pass

    arguments = {
        "model": "yolov8n.yaml", "data": str(data), "epochs": epochs, "imgsz": imgsz,
        "batch": BATCH, "device": "cpu", "workers": 0, "cache": "ram", "optimizer": "SGD",
        "amp": False, "plots": False, "val": False, "save": False, "seed": seed,
        "deterministic": False,  # CPU kernels are; asked for, every new tensor is filled first
        "project": str(out.parent), "name": out.name, "exist_ok": True, **recipe,
    }  # fmt: skip
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    before = sum(p.numel() for p in model.parameters())
    # The same numbers in the order that CPU kernels like.
    model.to(memory_format=torch.channels_last)
    trainer = Trainer(overrides=arguments)
    # Ultralytics takes cores - 1 threads as soon as it picks the CPU.
    trainer.add_callback("on_train_start", lambda _: torch.set_num_threads(threads))
    trainer.add_callback("on_fit_epoch_end", lambda trainer: trainer.keep_best())
    trainer.train()
    if trainer.best_seen is None:
        raise RuntimeError("Training ended before its first epoch did.")
    trained = trainer.best_seen[1].to(memory_format=torch.contiguous_format)
    after = sum(p.numel() for p in trained.parameters())
    if before != after:
        raise RuntimeError(f"Training changed the network: {before} -> {after} parameters.")
    return trained
