"""Runs whose worker died together with whoever watched it (power cut, both killed): the next one
who looks says so in their story.

A supervisor settles its own runs. Only where none is in charge of the workspace does a looker do
it, holding the supervisor's lock meanwhile, so that two can never judge at once and a live
server's worker is never judged by others.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from msip_core.errors import IllegalTransitionError
from msip_core.messages import msg
from msip_core.runs.events_log import EventLog
from msip_core.runs.executors import HEARTBEAT_FILE, LOG_FILE, WORKER_FILE
from msip_core.runs.lease import is_held_elsewhere
from msip_core.runs.processes import ProcessIdentity, describe_exit
from msip_core.runs.state import RunState
from msip_core.runs.tail import last_lines
from msip_core.workspace import Workspace

logger = logging.getLogger(__name__)

SUPERVISOR_LOCK = "supervisor.lock"
WORKER_LOCK = ".worker.lock"
# A worker process must be seen this soon after `running` was written.
START_GRACE = 15.0
# On another computer only the heartbeat can be seen; it beats every two seconds.
FAR_HEARTBEAT = 600.0
# How long a process that is being killed may take to give back its memory and its locks.
_ENDING_WAIT = 2.0


def is_supervised(workspace: Workspace) -> bool:
    """Some process, here or on another computer, takes up the queued runs of the workspace."""
    if not workspace.is_writable:
        return False  # nobody can work in it
    with _in_charge(workspace) as alone:
        return not alone


def settle(workspace: Workspace, run_ids: list[str]) -> list[str]:
    """Of the runs that should have a worker, settle those that have none; their ids.

    Args:
        run_ids: runs whose history says running, pausing or cancelling.
    """
    if not run_ids or not workspace.is_writable:
        return []
    with _in_charge(workspace) as alone:
        if not alone:
            return []
        return [run_id for run_id in run_ids if _settle_one(workspace.run_dir(run_id))]


def state_after_loss(state: RunState) -> RunState:
    """What a run becomes whose worker died: who asked to cancel it has what they wanted."""
    return RunState.CANCELLED if state is RunState.CANCELLING else RunState.INTERRUPTED


def why_gone(run_dir: Path, code: int | None, started: bool, lost: str | None = None) -> str:
    """The reason of a run whose worker left no word, with the last lines of its log.

    Args:
        lost: why the computer that it was on is gone, where that is so.
    """
    if lost is not None:
        return lost
    if not started:
        return msg("The server stopped before the worker had started.")
    how = msg("how it ended is not known") if code is None else describe_exit(code)
    said = last_lines(run_dir / LOG_FILE, 3).strip().replace("\n", " | ")
    if said:
        return msg("The worker is gone: {how}. Its last words: {said}", how=how, said=said[-400:])
    return msg("The worker is gone: {how}.", how=how)


def _settle_one(run_dir: Path) -> bool:
    log = EventLog(run_dir)
    state = log.state()
    if not state.has_worker:
        return True  # only the index lags
    if not _is_dead(run_dir):
        return False
    target = state_after_loss(state)
    started = (run_dir / WORKER_FILE).exists()
    reason = why_gone(run_dir, None, started) if target is RunState.INTERRUPTED else None
    try:
        log.transition(target, expected=[state], reason=reason)
    except IllegalTransitionError:
        logger.info("%s said its last word meanwhile", run_dir.name)
    return True


def _is_dead(run_dir: Path) -> bool:
    if is_held_elsewhere(run_dir):
        return False
    identity = ProcessIdentity.read(run_dir / WORKER_FILE)
    if identity is None:
        started = _seconds_since(EventLog(run_dir).path)
        # Below 0 the clock was set back since: then the lock alone can tell.
        if started is not None and 0 <= started < START_GRACE:
            return False
        return _lock_is_free(run_dir, 0.0)
    if not identity.is_here:
        beat = _seconds_since(run_dir / HEARTBEAT_FILE)
        if beat is None:
            beat = _seconds_since(run_dir / WORKER_FILE)
        if beat is None or beat < FAR_HEARTBEAT:
            return False
    elif identity.is_alive() and not identity.is_ending():
        return False
    # Held by a worker as long as it lives: the last word on whether one does.
    return _lock_is_free(run_dir, _ENDING_WAIT)


def _lock_is_free(run_dir: Path, wait: float) -> bool:
    try:
        with FileLock(run_dir / WORKER_LOCK, timeout=wait):
            return True
    except Timeout:
        return False


def _seconds_since(path: Path) -> float | None:
    """Age of a file by the clock of its own disk, which all computers that share it agree on; below
    0 where that was set back."""
    probe = path.with_name(f".probe.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        probe.touch()
        try:
            return probe.stat().st_mtime - path.stat().st_mtime
        finally:
            probe.unlink()
    except FileNotFoundError:
        return None


@contextmanager
def _in_charge(workspace: Workspace) -> Iterator[bool]:
    """Hold the supervisor's lock, or yield False where somebody else does, or alone may."""
    lock = FileLock(workspace.root / SUPERVISOR_LOCK, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except (Timeout, PermissionError):
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
