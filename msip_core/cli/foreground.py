"""A run in the foreground, followed, or handed over; how it is told as it goes and at the end."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Annotated

import typer

from msip_core.cli.console import ProgressLines, say, table
from msip_core.cli.verbs import Answer
from msip_core.errors import InputError, MsipError, NotFoundError, Stopped, WorkError
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
    parse_record,
)
from msip_core.runs.aside import SideTimer
from msip_core.runs.executors import LocalExecutor
from msip_core.runs.foreground import follow as follow_events
from msip_core.runs.foreground import run_foreground
from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from msip_core.runs.summary import OneModel, Summary
from msip_core.runs.supervisor import Supervisor
from msip_core.views.wording import accuracy, duration, macs, params, percent
from msip_core.workspace import Workspace

_PAUSE = 10.0  # seconds between two lines about how far a count is
Detach = Annotated[bool, typer.Option("--detach", help="Leave it to the app and return at once.")]
PROGRAM = "python -m msip_core"
UNSUPERVISED = (
    "waits: no server or command is working on this workspace. Start one with "
    f"'make run' or '{PROGRAM} serve'."
)


def in_foreground(
    workspace: Workspace, run_id: str, *, told: int = 0, executor: LocalExecutor | None = None
) -> Answer:
    """Work on a queued run until it rests, and tell its history.

    Starts this process's supervisor; where a server is already in charge of the workspace, that
    one does the work. Ctrl-C pauses the run cleanly.

    Args:
        told: records of the history that a person has heard already (of a run that is resumed).
        executor: one that has a process ready.

    Raises:
        WorkError, InputError: the run failed or its worker is gone; the sentence is the run's own.
    """
    say(f"Run {run_id}. Ctrl-C pauses it.")
    supervisor = Supervisor(workspace) if executor is None else Supervisor(workspace, executor)
    teller = Teller(told)
    supervisor.start()
    try:
        with suppress(Stopped):  # paused by Ctrl-C: told below by the state it is in
            run_foreground(workspace, run_id, teller, supervisor=supervisor)
    except MsipError as error:
        if not workspace.run_dir(run_id).is_dir():
            raise WorkError(
                "The folder of the run {run_id} was removed: it cannot go on.", run_id=run_id
            ) from error
        kind = InputError if error.exit_code == InputError.exit_code else WorkError
        raise kind(f"{error.message} Try again with: {PROGRAM} runs resume {run_id}") from error
    finally:
        teller.finish()
        supervisor.close()
        _let_worker_leave(workspace, run_id, supervisor)
        SideTimer(workspace).look()  # its milliseconds: nobody waits for them
    answer, row = describe(workspace, run_id), RunService(workspace).get(run_id)
    if row.state is RunState.COMPLETED:
        return answer
    how = "" if row.state.is_finished else f" Go on with: {PROGRAM} runs resume {run_id}"
    return Answer(answer.document, f"{answer.text}\nThe run is {row.state}.{how}", exit_code=1)


def _let_worker_leave(workspace: Workspace, run_id: str, supervisor: Supervisor) -> None:
    """Wait for the process of a run that has said its last word, so that none outlives us."""
    run_dir = workspace.run_dir(run_id)
    try:
        if RunService(workspace).get(run_id).state.has_worker:
            return
    except NotFoundError:  # its folder was removed: the worker has nothing left to work on
        supervisor.executor.stop(run_dir, force=True)
    supervisor.executor.exit_code(run_dir)


def follow(workspace: Workspace, run_id: str) -> Answer:
    """Tell the history of a run that something else works on; Ctrl-C ends the telling only."""
    teller = Teller()
    try:
        follow_events(
            RunService(workspace),
            run_id,
            teller,
            on_waiting=lambda: say(f"{run_id} {UNSUPERVISED}"),
        )
        teller.finish()
    except KeyboardInterrupt:
        say(f"The run goes on without being watched: {PROGRAM} runs follow {run_id}")
    return describe(workspace, run_id)


def hand_over(workspace: Workspace, run_id: str) -> Answer:
    """Leave a queued run to the app's supervisor."""
    service = RunService(workspace)
    row = service.get(run_id)
    text = (
        f"{run_id} waits in the queue (place {row.queue_position or 1}); the app starts it as "
        f"soon as its device is free. Follow it with: {PROGRAM} runs follow {run_id}"
    )
    if row.state is RunState.QUEUED and not service.is_supervised():
        text += f"\nNow it {UNSUPERVISED}"
    document = {"id": run_id, "state": row.state.value, "queue_position": row.queue_position}
    return Answer(document, text)


def records_so_far(service: RunService, run_id: str) -> int:
    """How many records the history of a run holds."""
    events = (line.event for line in service.lines(run_id))
    return sum(event is not None and parse_record(event) is not None for event in events)


def describe(workspace: Workspace, run_id: str) -> Answer:
    """One run: its document as DESIGN promises it, and a few lines with a table."""
    service = RunService(workspace)
    row = service.get(run_id)
    document = service.summary_document(run_id)
    lines = [f"{row.name} ({run_id}): {row.kind}, {row.state}"]
    if row.error:
        lines.append(row.error)
    if row.state is RunState.QUEUED and not service.is_supervised():
        lines.append(f"It {UNSUPERVISED}")
    if row.damaged:
        lines.append(f"Note: damaged lines of events.jsonl that were left out: {row.damaged}.")
    lines += [_standing("baseline", document["baseline"]), _standing("final", document["final"])]
    lines += [line(record) or "" for record in service.counted(run_id)]
    lines.append(_speed(document))
    iterations = [
        (i.index, percent(i.macs_ratio, 1), i.map50_before, i.map50_after, macs(i.macs))
        for i in service.iterations(run_id)
    ]
    if iterations:
        lines.append(
            table(("iteration", "MACs left", "mAP50 cut", "fine-tuned", "MACs"), iterations)
        )
    lines += [f"{name}: {path}" for name, path in document["artifacts"].items()]
    return Answer(document, "\n".join(text for text in lines if text))


def _speed(document: Summary) -> str:
    """Milliseconds on the processor, or why they are not there."""
    speed, final = document["speed"], document["final"]
    if speed is None or final is None:
        return ""
    if final["latency_ms"] is not None:
        beside = document["baseline"] and document["baseline"]["latency_ms"]
        before = f"{beside:.1f} ms -> " if beside else ""
        place = speed["processor"] or "the processor"
        return f"time per image on {place}: {before}{final['latency_ms']:.1f} ms"
    state = f"time per image on this processor: {speed['state']}"
    return f"{state} ({speed['problem']})" if speed["problem"] else state


def _standing(name: str, values: OneModel | None) -> str:
    if not values:
        return ""
    return (
        f"{name}: mAP50 {accuracy(values['map50'])}, mAP50-95 {accuracy(values['map50_95'])}, "
        f"{macs(values['macs'])} MACs, {params(values['params'])} parameters, "
        f"{values['size_mb']:.1f} MB"
    )


@dataclass
class Teller:
    """Writes each record of a run as it comes; call it with one record at a time, then `finish`.

    Progress records are not told by themselves. The work reports progress right behind an epoch
    or an iteration, so such a line waits for the next record and takes the estimate along. A count
    has nothing else to tell for minutes: there they are told, now and then.

    Attributes:
        skip: so many records more are told already.
    """

    skip: int = 0
    _waiting: str | None = field(default=None, init=False)
    _counted: ProgressLines | None = field(default=None, init=False)

    def __call__(self, record: Record) -> None:
        if self.skip:
            self.skip -= 1
            return
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


@singledispatch
def line(record: Record) -> str | None:
    """One record in words; None for records that say nothing new to a person."""
    return None


@line.register
def _stage(record: StageRecord) -> str:
    where = f" (iteration {record.iteration})" if record.iteration else ""
    return f"- {record.stage.value}{where}"


@line.register
def _milestone(record: MilestoneRecord) -> str:
    return ("Note: " if record.level == "warning" else "") + record.message


@line.register
def _baseline(record: BaselineRecord) -> str:
    return (
        f"Baseline: mAP50 {accuracy(record.metrics.map50)}, {macs(record.cost.macs)} MACs, "
        f"{params(record.cost.params)} parameters"
    )


@line.register
def _epoch(record: EpochRecord) -> str:
    reached = "" if record.map50 is None else f"  mAP50 {accuracy(record.map50)}"
    loss = sum(record.losses.values())
    return (
        f"  epoch {record.epoch}/{record.epochs}  loss {loss:.3f}{reached}"
        f"  ({duration(record.seconds)})"
    )


@line.register
def _iteration(record: IterationRecord) -> str:
    return (
        f"Iteration {record.index}: {percent(record.macs_ratio, 1)} of the MACs, mAP50 "
        f"{accuracy(record.map50_before)} cut, {accuracy(record.map50_after)} fine-tuned"
    )


@line.register
def _counted(record: CountedRecord) -> str:
    found = ", ".join(f"{count:,} {name}" for name, count in record.counts.items())
    bad = f", {record.failed} could not be read" if record.failed else ""
    blank = f", {record.empty} blank" if record.empty else ""
    return f"Counted by {record.model}: {record.images:,} images{blank}{bad}: {found}"


@line.register
def _final(record: FinalRecord) -> str:
    on = record.test or record.metrics
    work = f"{percent(record.macs_ratio, 1)} of the MACs, " if record.iteration else ""
    sentence = f"Done: {work}mAP50 {accuracy(on.map50)} on the {on.split} images"
    if record.baseline_test and record.test:
        sentence += f" (baseline {accuracy(record.baseline_test.map50)})"
    return sentence + (f". {record.stopped_by}" if record.stopped_by else "")
