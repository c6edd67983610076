"""Carries a study on: looks at its runs, and gives the queue those that can be started now.

Nothing is kept in memory. Each run's id follows from study, row and seed, so whoever looks (the
server's watch, a command line, after a crash another of them) finds what is done and goes on.
"""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from filelock import Timeout

from msip_core.errors import IllegalTransitionError, MsipError, NotFoundError, first_line
from msip_core.messages import msg
from msip_core.runs.service import RunService
from msip_core.runs.state import Action, RunState
from msip_core.runs.store import RunRow
from msip_core.studies.library import changed, list_studies, lock, open_study, plan_of, set_paused
from msip_core.studies.plan import BASELINE, StudyPlan
from msip_core.studies.tasks import Task, config_of, epochs_of, run_id, tasks
from msip_core.workspace import Workspace

logger = logging.getLogger(__name__)

RESUMES = 3  # a run that was interrupted more often stays a row with its reason


@dataclass(frozen=True, slots=True)
class TaskState:
    """One run of a study as it is now.

    Attributes:
        row: None before it is in the queue.
        given_up: its worker was lost too often; only a person starts it again.
    """

    task: Task
    run_id: str
    row: RunRow | None
    given_up: bool = False

    @property
    def is_over(self) -> bool:
        """Nothing more will come of it by itself."""
        return self.given_up or (self.row is not None and self.row.state.is_finished)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a study is.

    Attributes:
        done: share of all training epochs that are done, in [0, 1].
        seconds_left: by the pace so far; None before the first run is done.
        reason: why nothing goes on, or "".
    """

    states: tuple[TaskState, ...]
    done: float
    seconds_left: float | None
    paused: bool
    reason: str = ""

    @property
    def is_over(self) -> bool:
        """Every run has ended, well or not."""
        return all(state.is_over for state in self.states) or bool(self.reason)

    def count(self, *states: RunState) -> int:
        """How many runs are in one of these states."""
        return sum(s.row is not None and s.row.state in states for s in self.states)


def standing(service: RunService, study_id: str) -> Standing:
    """Every run of the study as it is now."""
    workspace = service.workspace
    study, plan = open_study(workspace, study_id), plan_of(workspace, study_id)
    states = _states(service, {run_id(study_id, task): task for task in tasks(plan)})
    done, left = _progress(plan, states)
    return Standing(states, done, left, study.paused, _blocked(states))


def advance(service: RunService, study_id: str) -> Standing:
    """Start what can be started. Called again and again; does nothing where nothing is to do."""
    workspace = service.workspace
    try:
        with lock(workspace, study_id).acquire(timeout=0):
            now = standing(service, study_id)
            if now.paused or now.is_over:
                return now
            if not _start(service, plan_of(workspace, study_id), now.states):
                return now
    except Timeout:
        pass  # somebody else is at it
    return standing(service, study_id)


class Watch:
    """Looks at every study of a workspace, again and again: a periodic task of the supervisor.

    One that is over is left alone until a person changes it (`resume` and a new row write its
    files).
    """

    def __init__(self) -> None:
        self._service: RunService | None = None
        self._over: dict[str, tuple[int, ...]] = {}

    def __call__(self, workspace: Workspace) -> None:
        service = self._service = self._service or RunService(workspace)
        for study in list_studies(workspace):
            try:
                stamp = changed(workspace, study.id)
                if study.paused or self._over.get(study.id) == stamp:
                    continue
                if advance(service, study.id).is_over:
                    self._over[study.id] = stamp
            except (MsipError, OSError) as error:
                # One study whose dataset was removed must not stop the others.
                logger.warning("Study %s does not go on: %s", study.id, first_line(error))


def pause(service: RunService, study_id: str) -> Standing:
    """Start nothing more, and pause what runs or waits; all that is done is kept."""
    set_paused(service.workspace, study_id, True)
    _ask_all(service, study_id, Action.PAUSE)
    return standing(service, study_id)


def resume(service: RunService, study_id: str) -> Standing:
    """Go on with what was paused, interrupted or failed."""
    set_paused(service.workspace, study_id, False)
    _ask_all(service, study_id, Action.RESUME)
    return advance(service, study_id)


def cancel(service: RunService, study_id: str) -> Standing:
    """End what runs or waits, and start nothing more."""
    set_paused(service.workspace, study_id, True)
    _ask_all(service, study_id, Action.CANCEL)
    return standing(service, study_id)


# --- pieces --------------------------------------------------------------------


def _start(service: RunService, plan: StudyPlan, states: tuple[TaskState, ...]) -> bool:
    """Ask for what can be started; whether there was anything."""
    first, asked = states[0].row, False
    baseline = first.model_id if first and first.state is RunState.COMPLETED else None
    for state in states:
        if state.row is None:
            if state.task.row == BASELINE or baseline is not None:
                config = config_of(plan, state.task, baseline)
                service.submit(config, run_id=state.run_id)
                asked = True
        elif state.row.state is RunState.INTERRUPTED and not state.given_up:
            _act(service, state.run_id, Action.RESUME)
            asked = True
    return asked


def _states(service: RunService, asked: dict[str, Task]) -> tuple[TaskState, ...]:
    known = service.several(set(asked))
    return tuple(_state(service, task, run, known.get(run)) for run, task in asked.items())


def _state(service: RunService, task: Task, run: str, row: RunRow | None) -> TaskState:
    if row is None:
        with suppress(NotFoundError):
            service.run_dir(run)
            row = service.get(run)  # it is there: why it is not shown is said
    lost = (
        row is not None
        and row.state is RunState.INTERRUPTED
        and _interruptions(service, run) > RESUMES
    )
    return TaskState(task, run, row, lost)


def _interruptions(service: RunService, run: str) -> int:
    states = service.store.records(run, "state")
    return sum(e["state"] == RunState.INTERRUPTED.value for e in states)


def _ask_all(service: RunService, study_id: str, action: Action) -> None:
    for state in standing(service, study_id).states:
        if state.row and action in service.actions(state.run_id):
            _act(service, state.run_id, action)


def _act(service: RunService, run: str, action: Action) -> None:
    try:
        service.act(run, action)
    except IllegalTransitionError:
        logger.info("Run %s moved on by itself before it could %s", run, action)


def _blocked(states: tuple[TaskState, ...]) -> str:
    """Without a baseline there is nothing to prune."""
    first = states[0].row
    if first is None or first.state not in (RunState.FAILED, RunState.CANCELLED):
        return ""
    return msg(
        "The baseline {state}: {error}",
        state=first.state,
        error=first.error or msg("nothing could be started from it"),
    )


def _progress(plan: StudyPlan, states: tuple[TaskState, ...]) -> tuple[float, float | None]:
    weights = {task.key: epochs + 1 for task, epochs in epochs_of(plan)}
    whole = sum(weights.values())
    done, spent, measured = 0.0, 0.0, 0
    for state in states:
        if state.row is None:
            continue
        weight = weights[state.task.key]
        done += weight * (1.0 if state.is_over else state.row.done)
        if state.row.state is RunState.COMPLETED and state.row.started and state.row.finished:
            spent += state.row.finished - state.row.started
            measured += weight
    left = (whole - done) * spent / measured if spent else None
    return min(1.0, done / whole), left


def summary(now: Standing) -> dict[str, int]:
    """How many runs are in which state; those not in the queue yet are "waiting"."""
    return dict(Counter(s.row.state.value if s.row else "waiting" for s in now.states))
