"""A small deterministic "pruning run" for the tests of the runs room: no torch, milliseconds.

It behaves as the real work must: it reports stages, epochs and iterations, asks for stop
requests at safe points, and goes on from what it finished before. How it misbehaves is told by
`plan.json` in the run folder.
"""

from __future__ import annotations

import errno
import json
import os
import time
from typing import Any

from msip_core.config import PruneConfig
from msip_core.errors import DatasetError
from msip_core.events import (
    BaselineRecord,
    Cost,
    EpochRecord,
    FinalRecord,
    IterationRecord,
    LayerChannels,
    Metrics,
    MilestoneRecord,
    ProgressRecord,
    RunContext,
    Stage,
    StageRecord,
)
from msip_core.workspace import write_json

GO_FILE = "go"  # a run whose plan says "held" ends no epoch before this file is in its folder
COST = Cost(macs=1_000_000, params=1000, size_mb=0.1, imgsz=64)


def run(config: PruneConfig, ctx: RunContext) -> None:
    plan = _plan(ctx)
    _misbehave(plan)
    if config.parts < plan.get("fits_in_parts", 1):
        raise MemoryError
    _tell_config(config, ctx)
    if not (ctx.run_dir / "baseline.json").exists():
        ctx.emit(StageRecord(stage=Stage.BASELINE))
        write_json(ctx.run_dir / "baseline.json", {})
        ctx.emit(BaselineRecord(metrics=_metrics(0.9), cost=COST, seconds=0.1))
    for index in range(1, config.iterations + 1):
        _iteration(config, ctx, index, plan)
    ctx.emit(
        FinalRecord(
            iteration=config.iterations,
            metrics=_metrics(0.85),
            cost=COST.model_copy(update={"macs": 400_000}),
            macs_ratio=0.4,
            model_id="made-by-fake",
            artifacts={"model": "models/made-by-fake/model.pt"},
        )
    )


def check(ctx: RunContext) -> None:
    if _plan(ctx).get("check") == "fail":
        raise DatasetError("the saved model differs")


def _iteration(config: PruneConfig, ctx: RunContext, index: int, plan: dict[str, Any]) -> None:
    folder = ctx.run_dir / "iterations" / str(index)
    if (folder / "metrics.json").exists():
        return
    for stage in (Stage.IMPORTANCE, Stage.PRUNING, Stage.EVALUATION_BEFORE):
        ctx.emit(StageRecord(stage=stage, iteration=index))
        ctx.check_stop()
    _finetune(config, ctx, index, plan)
    ctx.emit(StageRecord(stage=Stage.EVALUATION_AFTER, iteration=index))
    record = IterationRecord(
        index=index,
        macs=1_000_000 - 100_000 * index,
        params=1000,
        size_mb=0.1,
        macs_ratio=1 - 0.1 * index,
        map50_before=0.7,
        map50_95_before=0.4,
        map50_after=0.9 - 0.01 * index,
        map50_95_after=0.5,
        seconds={"importance": 1.0, "pruning": 1.0, "evaluation": 1.0, "finetuning": 1.0},
        layers=(LayerChannels(name="model.0.conv", before=16, after=8, original=16),),
    )
    write_json(folder / "metrics.json", record.model_dump(mode="json"))
    ctx.emit(record)


def _finetune(config: PruneConfig, ctx: RunContext, index: int, plan: dict[str, Any]) -> None:
    ctx.emit(StageRecord(stage=Stage.FINETUNING, iteration=index))
    state = ctx.run_dir / "iterations" / str(index) / "state.json"
    first = json.loads(state.read_text())["epoch"] if state.exists() else 0
    for epoch in range(first + 1, config.finetune.epochs + 1):
        for _batch in range(plan.get("batches", 1)):
            if not plan.get("deaf"):
                ctx.check_stop()
            time.sleep(plan.get("batch_seconds", 0.0))
        while plan.get("held") and not (ctx.run_dir / GO_FILE).exists():
            ctx.check_stop()
            time.sleep(0.02)
        write_json(state, {"epoch": epoch})
        ctx.emit(
            EpochRecord(
                iteration=index,
                phase="finetune",
                epoch=epoch,
                epochs=config.finetune.epochs,
                losses={"box": 1 / epoch},
                map50=0.8,
                seconds=0.1,
            )
        )
        ctx.emit(ProgressRecord(done=index / (config.iterations + 1), seconds_left=1.0))
        ctx.emit(MilestoneRecord(message=f"Iteration {index}, epoch {epoch}."))


def _tell_config(config: PruneConfig, ctx: RunContext) -> None:
    """What the worker made of the config."""
    write_json(
        ctx.run_dir / "followed.json",
        {
            "device": config.device,
            "parts": config.parts,
            "micro_batch": config.calibration.micro_batch,
            "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "threads": os.environ.get("OMP_NUM_THREADS"),
        },
    )


def _metrics(map50: float) -> Metrics:
    return Metrics(split="val", map50=map50, map50_95=map50 / 2, images=4)


def _plan(ctx: RunContext) -> dict[str, Any]:
    file = ctx.run_dir / "plan.json"
    config = json.loads((ctx.run_dir / "config.json").read_text())
    plan: dict[str, Any] = json.loads(file.read_text() if file.exists() else config["name"] or "{}")
    return plan


def _misbehave(plan: dict[str, Any]) -> None:
    match plan.get("fail"):
        case "bug":
            raise KeyError("channels")
        case "input":
            raise DatasetError("No labelled image in the train split of 'organoids'.")
        case "memory":
            raise MemoryError
        case "torch memory":
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        case "disk":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        case "exit":
            os._exit(7)
