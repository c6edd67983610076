"""The story of a run: what the work reports, one JSON object a line in events.jsonl.

Rooms that do the work (pruning, detector) report through a `RunContext`; rooms that show it
(runs, views, pages, reports) read these records. No torch here, so both sides may import it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol, get_args

from pydantic import BaseModel, ConfigDict

from msip_core.messages import Telling, Words, mark
from msip_core.ways import Way
from msip_core.workspace import Workspace


class Record(BaseModel):
    """Base of every record: frozen; unknown keys are kept out so that readers can rely on it."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Stage(StrEnum):
    """What a running run does right now."""

    PREPARING = mark("preparing")
    TRAINING = mark("training")
    BASELINE = mark("baseline evaluation")
    PRETRAINING = mark("pre-training")
    SEARCHING = mark("searching the ratios")
    IMPORTANCE = mark("importance")
    PRUNING = mark("pruning")
    EVALUATION_BEFORE = mark("evaluation before fine-tuning")
    FINETUNING = mark("fine-tuning")
    EVALUATION_AFTER = mark("evaluation after")
    TESTING = mark("final test")
    SAVING = mark("saving and checking")
    MEASURING = mark("measuring for the study")
    LOOKING = mark("looking through the files")
    COUNTING = mark("counting")


class Metrics(Record):
    """Accuracy of one model on one split; `loss` is Ultralytics' validation loss sum."""

    split: Literal["train", "val", "test"]
    map50: float
    map50_95: float
    precision: float = 0.0
    recall: float = 0.0
    loss: float | None = None
    per_class: dict[str, float] = {}  # class name -> AP50
    images: int = 0


class Cost(Record):
    """What a model costs. MACs count multiply-adds at `imgsz`; they are not speed."""

    macs: int
    params: int
    size_mb: float
    imgsz: int


class LayerChannels(Record):
    """Output channels of one convolution before and after an iteration."""

    name: str
    before: int
    after: int
    original: int


class BaselineRecord(Record):
    """The unpruned model, evaluated first, on the same split and scaling."""

    kind: Literal["baseline"] = "baseline"
    metrics: Metrics
    cost: Cost
    seconds: float


class EpochRecord(Record):
    """One epoch of training or fine-tuning. `iteration` is 0 outside pruning iterations."""

    kind: Literal["epoch"] = "epoch"
    iteration: int
    phase: Literal["train", "pretrain", "finetune"]
    epoch: int
    epochs: int
    losses: dict[str, float]
    map50: float | None = None
    map50_95: float | None = None
    lr: float | None = None
    seconds: float


class IterationRecord(Record):
    """One prune/fine-tune iteration; `index` counts from 1."""

    kind: Literal["iteration"] = "iteration"
    index: int
    macs: int
    params: int
    size_mb: float
    macs_ratio: float
    map50_before: float
    map50_95_before: float
    map50_after: float
    map50_95_after: float
    loss_after: float | None = None
    bn_recalibrated: bool = False
    repair: str = ""  # what was done after the cut, as `repair_map50` calls it
    repair_map50: dict[str, float] | None = None  # what was tried -> mAP50 on validation
    seconds: dict[str, float]  # importance, pruning, evaluation, finetuning
    weights: dict[str, float] | None = None  # w_k of the four terms, MSIP only
    term_map50: dict[str, float] | None = None  # trial mAP50 per term, dynamic weights only
    alpha: float | None = None
    latency_ms: float | None = None  # measured; only where the goal is in milliseconds
    latency_way: Way | None = None  # in which way; None: on the processor (older runs)
    blocks: tuple[str, ...] = ()  # bottlenecks that went, as "model.4.m.1"; their layers keep 0
    layers: tuple[LayerChannels, ...]
    model: str = ""  # path below the run folder


class FinalRecord(Record, Telling):
    """How the run ended well.

    `stopped_by` says in words why fewer iterations ran than asked (guard rail, caps), or is None.
    """

    kind: Literal["final"] = "final"
    iteration: int
    metrics: Metrics  # validation
    test: Metrics | None = None
    baseline_test: Metrics | None = None
    cost: Cost
    macs_ratio: float
    goal_ratio: float | None = None  # what is left of what the goal counts, measured at the end
    latency_way: Way | None = None  # in which way, where that is milliseconds; None: processor
    channel_multiple: int | None = None  # of the widths; None in runs before it was recorded
    stopped_by: Words | None = None
    model_id: str
    artifacts: dict[str, str]  # name -> path below the workspace


class CountedRecord(Record):
    """How a count ended well, for each of its models.

    Attributes:
        model: as the settings name it.
        images: fields that were looked at, blank ones (`empty`) included.
        failed: fields that could not be read.
        counts: class name -> objects.
        seconds: wall time of this last stretch of the work.
        processor_seconds: of all its threads and readers, in the same time.
    """

    kind: Literal["counted"] = "counted"
    role: Literal["model", "baseline"] = "model"
    model: str
    images: int
    empty: int
    failed: int
    counts: dict[str, int]
    seconds: float = 0.0
    processor_seconds: float = 0.0


class StageRecord(Record):
    kind: Literal["stage"] = "stage"
    stage: Stage
    iteration: int = 0


class ProgressRecord(Record, Telling):
    """How far the run is: share done in [0, 1] and seconds left (None before it is known)."""

    kind: Literal["progress"] = "progress"
    done: float
    seconds_left: float | None = None
    message: Words = ""


class MilestoneRecord(Record, Telling):
    """One plain sentence for the log on the Runs page."""

    kind: Literal["milestone"] = "milestone"
    message: Words
    level: Literal["info", "warning"] = "info"


class MemoryRecord(Record):
    """How much memory of its GPU a run took, at its end or when there was too little.

    Attributes:
        device: as settings call it.
        peak_gb: largest amount that the worker held, with what CUDA itself takes.
        fits: False where it was too little. Then the run starts again, in so many `parts` of a
            batch, and on a GPU of its own if `alone`.
    """

    kind: Literal["memory"] = "memory"
    device: str
    peak_gb: float | None = None
    fits: bool = True
    parts: int = 1
    alone: bool = False


Payload = (
    BaselineRecord
    | EpochRecord
    | IterationRecord
    | FinalRecord
    | CountedRecord
    | StageRecord
    | ProgressRecord
    | MilestoneRecord
    | MemoryRecord
)
_BY_KIND: dict[str, type[Record]] = {
    one.model_fields["kind"].default: one for one in get_args(Payload)
}


class RunContext(Protocol):
    """What the work may ask of whoever runs it.

    The worker gives the real one; tests and `msip_core` as a library give a plain one.
    """

    run_id: str
    run_dir: Path
    workspace: Workspace

    def emit(self, record: Payload) -> None:
        """Append one record to the history (synced to disk for stage, iteration and final)."""

    def check_stop(self) -> None:
        """Raise `errors.Stopped` if a person asked to pause or cancel. Called at safe points,
        at least once per training batch."""


def parse_record(value: Mapping[str, object]) -> Record | None:
    """The record of one event line, or None for kinds that only the runs room knows."""
    kind = _BY_KIND.get(str(value.get("kind")))
    return kind.model_validate(value) if kind else None
