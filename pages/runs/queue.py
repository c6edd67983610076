"""How long a waiting run still waits: the work before it on its device, as far as it is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msip_core.config import AnyRun, CountConfig, TrainConfig
from msip_core.language import t
from msip_core.runs.slots import compete, room_of
from msip_core.runs.state import ALIVE, RunState
from msip_core.runs.store import RunRow
from msip_core.views.wording import duration
from pages.kit.lab import lab

_LOOKED_AT = 200  # newest runs that tell how long a run like this took


@dataclass(frozen=True, slots=True)
class Wait:
    """Seconds of known work before a run; `is_complete` if nothing before it is unknown."""

    runs: int
    seconds: float
    is_complete: bool


def queue_sentence(run: RunRow) -> str:
    """'Place 2 in the queue of cpu: starts in about 14 min.'"""
    runs = lab().runs
    wait = waiting_time(
        run,
        runs.list(limit=_LOOKED_AT, states=ALIVE),
        runs.list(limit=_LOOKED_AT, states=(RunState.COMPLETED,)),
    )
    place = {"n": run.queue_position or 1, "device": run.slot}
    if not wait.runs:
        return t("Place {n} in the queue of {device}: starts in a moment.", **place)
    if not wait.seconds:
        return t("Place {n} in the queue of {device}.", **place)
    place["time"] = duration(wait.seconds)
    if wait.is_complete:
        return t("Place {n} in the queue of {device}: starts in about {time}.", **place)
    return t("Place {n} in the queue of {device}: starts in more than {time}.", **place)


def waiting_time(run: RunRow, alive: Sequence[RunRow], done: Sequence[RunRow]) -> Wait:
    """What is known of the work before `run` on its device.

    A running run says itself how long it takes; a waiting one takes as long as the newest
    finished run of the same size, if there is one.
    """
    before = [
        other
        for other in alive
        if compete(run.slot, other.slot)
        and other.id != run.id
        and (other.state.has_worker or (other.queue_position or 0) < (run.queue_position or 0))
    ]
    known = [_seconds_of(other, done) for other in before]
    told = [seconds for seconds in known if seconds is not None]
    room = room_of(run.slot)
    if len(before) < room:
        return Wait(0, 0.0, True)
    return Wait(len(before), sum(told) / room, len(told) == len(known))


def _seconds_of(run: RunRow, done: Sequence[RunRow]) -> float | None:
    if run.state.has_worker:
        return run.seconds_left
    for other in done:
        same = compete(run.slot, other.slot) and _size(run.config) == _size(other.config)
        if same and other.started and other.finished:
            return (other.finished - other.started) * (1 - run.done)
    return None


def _size(config: AnyRun) -> tuple[object, ...]:
    """What a run's duration hangs on; two equal ones take about as long on one device."""
    shared = (config.kind, config.dataset, config.imgsz, config.batch)
    if isinstance(config, TrainConfig):
        return (*shared, config.weights, config.recipe.epochs)
    if isinstance(config, CountConfig):
        return (*shared, config.source, config.model, config.baseline)
    return (
        *shared,
        config.model,
        config.iterations,
        config.finetune.epochs,
        *config.goal,
        config.pretrain.epochs if config.pretrain else 0,
    )
