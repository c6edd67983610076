"""Runs of a study in milliseconds: a model card instead of a model, numbers instead of measuring.

What a row scores follows from its name in SCORES; a run whose method is "l1" fails.
"""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np

from msip_core.config import PruneConfig, TrainConfig
from msip_core.errors import WorkError
from msip_core.events import Cost, FinalRecord, Metrics, RunContext
from msip_core.measures import DRAWS_FILE, MEASURE_FILE, MEASURE_FOLDER
from msip_core.models import ModelCard, write_card
from msip_core.workspace import write_json

RESAMPLES = 200
SCORES = {"l2": 0.70, "random": 0.60, "msip": 0.80, "msip-literal": 0.80}
_BASELINE = 0.85


def run(config: TrainConfig | PruneConfig, ctx: RunContext) -> None:
    if isinstance(config, PruneConfig) and config.method == "l1":
        raise WorkError("The disk is full.")
    if isinstance(config, PruneConfig) and config.method == "lamp" and _first_time(ctx):
        os.kill(os.getpid(), signal.SIGKILL)
    model_id = f"made-{ctx.run_id}"[:64]
    cost = Cost(macs=_macs(config), params=1000, size_mb=0.1, imgsz=config.imgsz)
    metrics = Metrics(split="val", map50=0.5, map50_95=0.3)
    write_card(
        ctx.workspace,
        ModelCard(
            id=model_id, name=config.name, kind="baseline", architecture="yolov8n",
            classes=("crypt", "no_crypt"), imgsz=config.imgsz, cost=cost,
            origin={"run_id": ctx.run_id},
        ),
    )  # fmt: skip
    (ctx.workspace.model_dir(model_id) / "model.pt").write_bytes(b"weights")
    ctx.emit(
        FinalRecord(
            iteration=0, metrics=metrics, cost=cost, macs_ratio=1.0, model_id=model_id, artifacts={}
        )
    )


def check(ctx: RunContext) -> None:
    """Nothing was saved, so there is nothing to check."""


def measure(config: TrainConfig | PruneConfig, model_id: str, ctx: RunContext) -> None:
    assert config.measure is not None
    folder = ctx.run_dir / MEASURE_FOLDER
    folder.mkdir(exist_ok=True)
    if getattr(config, "method", "") == "fpgm" and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    score = SCORES.get(config.method, 0.75) if isinstance(config, PruneConfig) else _BASELINE
    score += 0.001 * config.seed
    write_json(folder / MEASURE_FILE, numbers(model_id, score, _macs(config)))
    # All rows share one noise, as all models share the images.
    noise = np.random.default_rng(0).normal(0, 0.05, (RESAMPLES, 1))
    np.savez_compressed(folder / DRAWS_FILE, test=score + noise.repeat(2, axis=1))


def numbers(model_id: str, score: float, macs: int) -> dict[str, Any]:
    """measure.json of a run."""
    return {
        "model": model_id, "int8": False, "macs": macs, "params": 1000, "size_mb": 0.1,
        "imgsz": 64,
        "test": {"map50": score, "map50_95": score / 2, "images": 40, "per_class": {}},
        "coco": {"map50": score + 0.004, "map50_95": score / 2, "agrees": True},
        "latency": {
            "model": {"median_ms": 5.0 * macs / 1e6}, "beside": {"median_ms": 5.0},
        },
        "datasets": {}, "noise": {}, "attention": None, "shap": None,
    }  # fmt: skip


def _macs(config: TrainConfig | PruneConfig) -> int:
    return 335_000 if isinstance(config, PruneConfig) else 1_000_000


def _first_time(ctx: RunContext) -> bool:
    flag = ctx.run_dir / "begun"
    if flag.exists():
        return False
    flag.touch()
    return True
