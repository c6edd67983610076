"""A pruning run before it runs: what it would take away, and what it needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Generic, Self

from msip_core.config import PruneConfig
from msip_core.events import LayerChannels, Record
from msip_core.messages import Telling, Words
from msip_core.questions.base import Answer_co, Question
from msip_core.questions.sources import dataset_files, model_named
from msip_core.ways import Way
from msip_core.workspace import Workspace

# What decides the cut: any other setting would make it a new question.
_DECIDES = {
    "kind", "model", "dataset", "dataset_version", "tiles", "tile_overlap", "imgsz", "seed",
    "device", "method", "allocation", "limits",
    "keep_macs", "keep_params", "keep_latency", "iterations",
    "latency_device", "latency_format", "latency_precision", "latency_batch",
    "adaptive_threshold", "msip",
    "granularity", "modules", "blocks", "block_score", "layerdrop_rule", "prox",
}  # fmt: skip
# What decides the time.
_COSTS = (_DECIDES - {"seed"}) | {
    "batch", "parts", "finetune", "finetune_after", "pretrain", "calibration", "recovery",
    "distill", "repair", "search",
}  # fmt: skip


class Outlook(Record):
    """Milliseconds per image of all convolutions, each timed alone, before and after the cut; None
    where they were not timed and that would take too long."""

    way: Way
    before_ms: float | None = None
    after_ms: float | None = None

    @property
    def share(self) -> float | None:
        known = self.before_ms and self.after_ms is not None
        return self.after_ms / self.before_ms if known else None  # type: ignore[operator]


class PlannedCut(Record, Telling):
    """One cut to the goal, and what the run will need.

    Attributes:
        macs, params, size_mb: (before, after) the cut; MACs at the run's image size.
        refused: why the run cannot come to its goal even in steps, else None.
        blocks: bottlenecks that go whole.
        note: what the run does otherwise than this preview, or "".
        least: smallest share that the run's limits allow, of what its goal counts.
        images: calibration images that were looked at; 0 where only weights count.
        outlook: what the cut does to milliseconds on the GPU, where the goal does not count them.
        other_than_gradient: share of the removed channels that would stay if the gradient alone
            decided (MSIP with weights on other terms), else None.
        memory_gb: batch size -> peak of a training step.
        disk_gb: what the run will keep.
    """

    macs: tuple[float, float]
    params: tuple[float, float]
    size_mb: tuple[float, float]
    layers: tuple[LayerChannels, ...]
    refused: Words | None
    blocks: tuple[str, ...] = ()
    note: Words = ""
    least: float
    images: int
    memory_gb: dict[int, float]
    disk_gb: float
    outlook: Outlook | None = None
    other_than_gradient: float | None = None


class Effort(Record, Telling):
    """What a run takes.

    Attributes:
        note: says in a sentence what it rests on.
        pace: of the processor at that moment (`Processors.pace`), None on a GPU: kept estimates are
            brought up to date with it.
        speed: what the goal does to milliseconds where it does not count them, or "".
    """

    seconds: float
    memory_gb: float
    disk_gb: float
    note: Words
    speed: Words = ""
    pace: float | None = None


class _OfOneRun(Question[Answer_co], Generic[Answer_co]):
    config: PruneConfig

    def files(self, workspace: Workspace) -> Sequence[Path]:
        model = model_named(self.config.model).files(workspace)
        return [*model, *dataset_files(workspace, self.config.dataset)]


class Preview(_OfOneRun[PlannedCut]):
    """Which layers would shrink, without training."""

    answered_by: ClassVar[str] = "msip_core.pruning.preview:answer"

    @classmethod
    def of(cls, config: PruneConfig) -> Self:
        """Of the settings that decide the cut; the others are those that they are by default."""
        value = config.model_dump(mode="json", include=_DECIDES)
        value["msip"].pop("dynamic_weights")
        return cls(config=PruneConfig.model_validate(value))


class Estimate(_OfOneRun[Effort]):
    """Time, memory and disk, from a few measured steps on this computer."""

    answered_by: ClassVar[str] = "msip_core.pruning.estimate:answer"

    @classmethod
    def of(cls, config: PruneConfig) -> Self:
        """Of the settings that decide the time; the others are those that they are by default."""
        value = config.model_dump(mode="json", include=_COSTS)
        value["msip"] = {"dynamic_weights": config.msip.dynamic_weights}
        return cls(config=PruneConfig.model_validate(value))
