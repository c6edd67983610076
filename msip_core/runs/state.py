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


class RunState(StrEnum):
    """Where a run is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def is_finished(self) -> bool:
        """The work is over (a failed run may still be tried again)."""
        return self in (RunState.COMPLETED, RunState.CANCELLED, RunState.FAILED)

    @property
    def has_worker(self) -> bool:
        """A worker process should be alive."""
        return self in (RunState.RUNNING, RunState.PAUSING, RunState.CANCELLING)


class Action(StrEnum):
    """What a person may ask of a run; each names the state it leads to first."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"


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
        allowed = ", ".join(sorted(TRANSITIONS[current])) or "nothing: it is finished"
        raise IllegalTransitionError(
            f"A run that is {current} cannot become {target}; it can become {allowed}."
        )


def target_of(current: RunState, action: Action) -> RunState:
    """The state that `action` leads to from `current`, or IllegalTransitionError."""
    try:
        return ACTIONS[current][action]
    except KeyError:
        possible = ", ".join(ACTIONS.get(current, {})) or "nothing more"
        raise IllegalTransitionError(
            f"This run is {current}: it cannot {action} now (possible: {possible})."
        ) from None
