"""The life of a run; the table below is the whole specification.

queued ─► running ─► completed
            │   └──► failed
            │      (a failed run may be queued again: retry)
            ├─► queued (too little memory on its GPU: it starts again by itself)
            ├─► pausing ─► paused ─► queued
            ├─► cancelling ─► cancelled
            └─► interrupted (worker gone) ─► queued
"""

from __future__ import annotations

from enum import StrEnum

from msip_core.errors import IllegalTransitionError
from msip_core.messages import mark, msg


class RunState(StrEnum):
    """Where a run is in its life."""

    QUEUED = mark("queued")
    RUNNING = mark("running")
    PAUSING = mark("pausing")
    PAUSED = mark("paused")
    CANCELLING = mark("cancelling")
    CANCELLED = mark("cancelled")
    COMPLETED = mark("completed")
    FAILED = mark("failed")
    INTERRUPTED = mark("interrupted")

    @property
    def is_finished(self) -> bool:
        """The work is over (a failed run may still be tried again)."""
        return self in (RunState.COMPLETED, RunState.CANCELLED, RunState.FAILED)

    @property
    def has_worker(self) -> bool:
        """A worker process should be alive."""
        return self in WITH_WORKER


WITH_WORKER = (RunState.RUNNING, RunState.PAUSING, RunState.CANCELLING)
ALIVE = (*WITH_WORKER, RunState.QUEUED)  # those that run or wait


class Action(StrEnum):
    """What a person may ask of a run; each names the state it leads to first."""

    PAUSE = mark("pause")
    RESUME = mark("resume")
    CANCEL = mark("cancel")


S = RunState
TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    S.QUEUED: frozenset({S.RUNNING, S.PAUSED, S.CANCELLED}),
    S.RUNNING: frozenset({S.COMPLETED, S.FAILED, S.PAUSING, S.CANCELLING, S.INTERRUPTED, S.QUEUED}),
    # A worker that was asked to stop may finish, fail or die before it reads the request.
    S.PAUSING: frozenset({S.PAUSED, S.CANCELLING, S.COMPLETED, S.FAILED, S.INTERRUPTED}),
    S.PAUSED: frozenset({S.QUEUED, S.CANCELLED}),
    S.CANCELLING: frozenset({S.CANCELLED, S.COMPLETED, S.FAILED}),
    S.INTERRUPTED: frozenset({S.QUEUED, S.CANCELLED}),
    S.CANCELLED: frozenset(),
    S.COMPLETED: frozenset(),
    S.FAILED: frozenset({S.QUEUED}),
}

ACTIONS: dict[RunState, dict[Action, RunState]] = {
    S.QUEUED: {Action.PAUSE: S.PAUSED, Action.CANCEL: S.CANCELLED},
    S.RUNNING: {Action.PAUSE: S.PAUSING, Action.CANCEL: S.CANCELLING},
    S.PAUSING: {Action.CANCEL: S.CANCELLING},
    S.PAUSED: {Action.RESUME: S.QUEUED, Action.CANCEL: S.CANCELLED},
    S.INTERRUPTED: {Action.RESUME: S.QUEUED, Action.CANCEL: S.CANCELLED},
    S.FAILED: {Action.RESUME: S.QUEUED},
}


def check_transition(current: RunState, target: RunState) -> None:
    """Raise IllegalTransitionError unless `current` may become `target`."""
    if target not in TRANSITIONS[current]:
        allowed = sorted(TRANSITIONS[current]) or msg("nothing: it is finished")
        raise IllegalTransitionError(
            "A run that is {current} cannot become {target}; it can become {allowed}.",
            current=current,
            target=target,
            allowed=allowed,
        )


def target_of(current: RunState, action: Action) -> RunState:
    """The state that `action` leads to from `current`, or IllegalTransitionError."""
    try:
        return ACTIONS[current][action]
    except KeyError:
        possible = list(ACTIONS.get(current, {})) or msg("nothing more")
        raise IllegalTransitionError(
            "This run is {current}: it cannot {action} now (possible: {possible}).",
            current=current,
            action=action,
            possible=possible,
        ) from None
