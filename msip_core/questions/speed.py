"""Milliseconds per image of models on this computer."""

from __future__ import annotations

from typing import ClassVar, Literal

from msip_core.events import Record
from msip_core.messages import Telling, Words
from msip_core.questions.base import Question
from msip_core.questions.sources import ModelOf
from msip_core.ways import Latency, Way

Side = Literal["baseline", "pruned"]
SIDES: tuple[Side, Side] = ("baseline", "pruned")


class MissingWay(Record, Telling):
    """A way to run that was not asked for by name and is not there; fields as `ways.Way` has them.

    Attributes:
        why: a sentence.
    """

    device: str
    format: str
    precision: str
    batch: int
    hardware: str = ""
    why: Words

    @classmethod
    def of(cls, way: Way, why: str) -> MissingWay:
        return cls(**way.as_dict(), why=why)


class Timed(Record):
    """What was measured, and what could not be."""

    latency: tuple[Latency, ...]
    missing: tuple[MissingWay, ...] = ()


class TimeModels(Question[Timed]):
    """Milliseconds of one or two models, measured in turn.

    Attributes:
        baseline: None times the other one alone.
        latency_device: "cpu", a GPU ("cuda:0"), "auto" (a GPU where there is one) or "all".
        formats, precisions, batches: None takes all there are.
        runs: timed forwards of each model and way; none begins after `seconds` any more.
    """

    answered_by: ClassVar[str] = "msip_core.detector.speed_job:time_models"
    measures_time: ClassVar[bool] = True

    pruned: ModelOf
    baseline: ModelOf | None = None
    imgsz: int | None = None
    latency_device: str = "cpu"
    formats: tuple[str, ...] | None = None
    precisions: tuple[str, ...] | None = None
    batches: tuple[int, ...] | None = None
    runs: int = 30
    seconds: float | None = None

    @property
    def models(self) -> dict[Side, ModelOf]:
        """Those that are named."""
        alone: dict[Side, ModelOf] = {"pruned": self.pruned}
        return alone if self.baseline is None else {"baseline": self.baseline, **alone}
