"""The story of a run as lines for a person: one per milestone and epoch, with the time left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from msip_core.cli.console import ProgressLines, say
from msip_core.events import (
    BaselineRecord,
    CountedRecord,
    EpochRecord,
    FinalRecord,
    IterationRecord,
    MilestoneRecord,
    ProgressRecord,
    Record,
    Stage,
    StageRecord,
)
from msip_core.views.wording import accuracy, duration, macs, params, percent

_PAUSE = 10.0  # seconds between two lines about how far a count is


@dataclass
class Teller:
    """Writes each record of a run as it comes; call it with one record at a time, then `finish`.

    Progress records are not told by themselves. The work reports progress right behind an epoch
    or an iteration, so such a line waits for the next record and takes the estimate along. A count
    has nothing else to tell for minutes: there they are told, now and then.
    """

    _waiting: str | None = field(default=None, init=False)
    _counted: ProgressLines | None = field(default=None, init=False)

    def __call__(self, record: Record) -> None:
        left = record.seconds_left if isinstance(record, ProgressRecord) else None
        self._tell_waiting(left)
        text = line(record)
        if isinstance(record, StageRecord):
            self._counted = ProgressLines(_PAUSE) if record.stage is Stage.COUNTING else None
        if isinstance(record, ProgressRecord) and self._counted is not None:
            self._counted(record.done, record.message + _left(record.seconds_left))
        if isinstance(record, EpochRecord | IterationRecord):
            self._waiting = text
        elif text is not None:
            say(text)

    def finish(self) -> None:
        """Tell what still waits; there is no more to come."""
        self._tell_waiting(None)

    def _tell_waiting(self, seconds_left: float | None) -> None:
        if self._waiting is not None:
            say(self._waiting + _left(seconds_left))
            self._waiting = None


def _left(seconds: float | None) -> str:
    return f"  ·  about {duration(seconds)} left" if seconds else ""


def line(record: Record) -> str | None:
    """One record in words; None for records that say nothing new to a person."""
    tell = _WORDS.get(type(record))
    return None if tell is None else tell(record)


def _stage(record: StageRecord) -> str:
    where = f" (iteration {record.iteration})" if record.iteration else ""
    return f"- {record.stage.value}{where}"


def _milestone(record: MilestoneRecord) -> str:
    return ("Note: " if record.level == "warning" else "") + record.message


def _baseline(record: BaselineRecord) -> str:
    return (
        f"Baseline: mAP50 {accuracy(record.metrics.map50)}, {macs(record.cost.macs)} MACs, "
        f"{params(record.cost.params)} parameters"
    )


def _epoch(record: EpochRecord) -> str:
    reached = "" if record.map50 is None else f"  mAP50 {accuracy(record.map50)}"
    loss = sum(record.losses.values())
    return (
        f"  epoch {record.epoch}/{record.epochs}  loss {loss:.3f}{reached}"
        f"  ({duration(record.seconds)})"
    )


def _iteration(record: IterationRecord) -> str:
    return (
        f"Iteration {record.index}: {percent(record.macs_ratio, 1)} of the MACs, mAP50 "
        f"{accuracy(record.map50_before)} cut, {accuracy(record.map50_after)} fine-tuned"
    )


def _counted(record: CountedRecord) -> str:
    found = ", ".join(f"{count:,} {name}" for name, count in record.counts.items())
    bad = f", {record.failed} could not be read" if record.failed else ""
    blank = f", {record.empty} blank" if record.empty else ""
    return f"Counted by {record.model}: {record.images:,} images{blank}{bad}: {found}"


def _final(record: FinalRecord) -> str:
    on = record.test or record.metrics
    work = f"{percent(record.macs_ratio, 1)} of the MACs, " if record.iteration else ""
    sentence = f"Done: {work}mAP50 {accuracy(on.map50)} on the {on.split} images"
    if record.baseline_test and record.test:
        sentence += f" (baseline {accuracy(record.baseline_test.map50)})"
    return sentence + (f". {record.stopped_by}" if record.stopped_by else "")


_WORDS: dict[type[Record], Callable[[Any], str]] = {
    StageRecord: _stage,
    MilestoneRecord: _milestone,
    BaselineRecord: _baseline,
    EpochRecord: _epoch,
    IterationRecord: _iteration,
    FinalRecord: _final,
    CountedRecord: _counted,
}
