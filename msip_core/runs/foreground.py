"""Follow a run to its end from a terminal: the same queue, the same worker, told as it happens."""

from __future__ import annotations

import time
from collections.abc import Callable

from msip_core.errors import IllegalTransitionError, InputError, Stopped, WorkError
from msip_core.events import Record, parse_record
from msip_core.messages import msg
from msip_core.runs.failures import explain_failure
from msip_core.runs.service import RunService
from msip_core.runs.state import Action, RunState
from msip_core.runs.store import RunRow
from msip_core.runs.supervisor import Supervisor, ensure_supervisor
from msip_core.workspace import Workspace

_RESTING = frozenset(
    {RunState.COMPLETED, RunState.CANCELLED, RunState.FAILED, RunState.PAUSED, RunState.INTERRUPTED}
)
_LOOK = 0.2
_STUCK = 10.0  # seconds


def run_foreground(
    workspace: Workspace,
    run_id: str,
    on_event: Callable[[Record], None],
    *,
    supervisor: Supervisor | None = None,
) -> RunRow:
    """See that the run is worked on, and report each of its records, until it rests.

    A server that is up does the work; else this process holds the queue meanwhile. Ctrl-C pauses
    the run, so that nothing is lost.

    Returns:
        The run as it ended: completed, paused or cancelled.

    Raises:
        WorkError: it failed, or its worker is gone; the reason is the message.
        InputError: it failed because of what was given.
        Stopped: Ctrl-C; the run is paused.
    """
    service = RunService(workspace)
    supervisor = supervisor or ensure_supervisor(workspace)
    try:
        row = follow(service, run_id, on_event, on_look=lambda: _check(supervisor, run_id))
    except KeyboardInterrupt:
        _pause(service, run_id)
        raise Stopped("pause") from None
    if row.state in (RunState.FAILED, RunState.INTERRUPTED):
        kind = InputError if row.exit_code == InputError.exit_code else WorkError
        raise kind(row.error or msg("The run {run_id} is {state}.", run_id=run_id, state=row.state))
    return row


def follow(
    service: RunService,
    run_id: str,
    on_event: Callable[[Record], None],
    *,
    on_waiting: Callable[[], None] | None = None,
    on_look: Callable[[], None] | None = None,
) -> RunRow:
    """Report each record from now on (those so far included) until the run rests.

    Args:
        on_waiting: called once if the run is queued and nothing works on the workspace.
        on_look: called at every look; what it raises ends the following.
    """
    log = service.run_dir(run_id)
    offset = 0
    while True:
        # The state is read first: what the run said before it came to rest is then complete.
        row = service.get(run_id)
        for line in service.lines(run_id, offset):
            offset = line.end
            if line.event and (record := parse_record(line.event)):
                on_event(record)
        if row.state in _RESTING:
            return row
        if on_waiting and row.state is RunState.QUEUED and not service.is_supervised():
            on_waiting()
            on_waiting = None
        if on_look:
            on_look()
        if not log.is_dir():
            raise WorkError("The folder {log} of the run was removed.", log=log)
        time.sleep(_LOOK)


def _check(supervisor: Supervisor, run_id: str) -> None:
    """End a wait that cannot end by itself: the worker is gone, and nothing can be written.

    The next one who looks when there is room again settles the run, and it can be resumed.
    """
    stuck = supervisor.stuck_for()
    if stuck is None or stuck[0] < _STUCK:
        return
    if supervisor.executor.is_alive(supervisor.workspace.run_dir(run_id)):
        return
    raise explain_failure(stuck[1], log=msg("the messages above"))


def _pause(service: RunService, run_id: str) -> None:
    try:
        service.act(run_id, Action.PAUSE)
    except IllegalTransitionError:
        return  # it came to rest by itself, or is being stopped already
    while service.get(run_id).state not in _RESTING:
        time.sleep(_LOOK)
