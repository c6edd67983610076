"""A workspace with drawn data and a thin baseline, and contexts that listen, stop and break."""

from __future__ import annotations

from pathlib import Path

from msip_core.config import CalibrationConfig, PruneConfig, TrainingRecipe
from msip_core.errors import Stopped
from msip_core.events import (
    IterationRecord,
    MilestoneRecord,
    Payload,
    ProgressRecord,
    Stage,
    StageRecord,
)
from msip_core.workspace import Workspace

DATASET, BASELINE, IMGSZ = "drawn", "thin", 64


class Listener:
    """A plain RunContext that keeps what it is told."""

    def __init__(self, workspace: Workspace, run_id: str) -> None:
        self.workspace, self.run_id = workspace, run_id
        self.run_dir: Path = workspace.run_dir(run_id)
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.records: list[Payload] = []

    def emit(self, record: Payload) -> None:
        self.records.append(record)

    def check_stop(self) -> None: ...

    def beat(self) -> None: ...

    def of(self, kind: type) -> list:
        return [r for r in self.records if isinstance(r, kind)]

    @property
    def stages(self) -> list[tuple[str, int]]:
        return [(r.stage.value, r.iteration) for r in self.of(StageRecord)]

    @property
    def iterations(self) -> list[IterationRecord]:
        return self.of(IterationRecord)

    @property
    def sentences(self) -> list[str]:
        return [r.message for r in self.of(MilestoneRecord)]

    @property
    def progress(self) -> list[ProgressRecord]:
        return self.of(ProgressRecord)


class Breaker(Listener):
    """Raises Stopped at the n-th safe point after a stage has begun: as a kill would, everything
    that was not written is lost."""

    def __init__(self, workspace: Workspace, run_id: str, stage: Stage, iteration: int,
                 points: int = 1) -> None:  # fmt: skip
        super().__init__(workspace, run_id)
        self.stage, self.iteration, self.points = stage, iteration, points
        self.armed = False

    def emit(self, record: Payload) -> None:
        super().emit(record)
        if isinstance(record, StageRecord):
            self.armed = record.stage is self.stage and record.iteration == self.iteration
            if self.armed and not self.points:
                raise Stopped("pause")

    def check_stop(self) -> None:
        if self.armed:
            self.points -= 1
            if self.points <= 0:
                raise Stopped("pause")


def config(**changes) -> PruneConfig:
    """A run of seconds."""
    settings = {
        "dataset": DATASET, "model": BASELINE, "imgsz": IMGSZ, "batch": 4, "device": "cpu",
        "iterations": 2, "keep_macs": 0.5, "max_map50_drop": None,
        "finetune": TrainingRecipe(epochs=2, mixup=0, close_mosaic=1, nbs=4),
        "calibration": CalibrationConfig(batches=2, batch=4, micro_batch=2),
        "limits": {"round_to": 1},
    }  # fmt: skip
    return PruneConfig.model_validate(settings | changes)
