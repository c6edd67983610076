"""The background thread that gives queued runs a worker, first come first served, where there is
room (`rooms`; on other computers `far`).

One supervisor per workspace, in whichever process holds `supervisor.lock` (the server, or a
command line run in the foreground); when that process goes, the next one takes over and adopts
the workers that are still alive.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy.exc import SQLAlchemyError

from msip_core.errors import IllegalTransitionError, MsipError, NotFoundError
from msip_core.messages import msg
from msip_core.runs.aside import SideTimer
from msip_core.runs.engines import chosen_executor
from msip_core.runs.events_log import EventLog
from msip_core.runs.executors import (
    HEARTBEAT_FILE,
    LOG_FILE,
    STOP_FILE,
    Elsewhere,
    Executor,
    LocalExecutor,
    Place,
)
from msip_core.runs.folding import CONFIG_FILE
from msip_core.runs.placing import LocalRooms
from msip_core.runs.settling import START_GRACE, SUPERVISOR_LOCK, state_after_loss, why_gone
from msip_core.runs.slots import room_of, slot_of
from msip_core.runs.state import WITH_WORKER, RunState
from msip_core.runs.store import RunStore
from msip_core.workspace import Workspace, write_json

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """Waiting times in seconds.

    Attributes:
        tick: pause between two looks at the runs.
        start_grace: a worker process must be seen this soon after `running` was written.
        heartbeat_timeout: a worker whose heartbeat stands still this long is ended.
        periodic: pause between two rounds of the periodic tasks.
        stumble: pause after a full disk or a busy index got in the way.
        ready: a process is made ready for the next run no sooner than this after the last start (of
            a run, or of the server, whose first page comes first).
        cancel_grace: a cancelled worker stops by itself in this time, or is asked to end
            (SIGTERM), and after as long again is killed.
    """

    tick: float = 0.5
    start_grace: float = START_GRACE
    heartbeat_timeout: float = 180.0
    cancel_grace: float = 20.0
    ready: float = 5.0
    periodic: float = 2.0
    stumble: float = 5.0


# What else is to be looked after while the runs are, such as studies that start the next run.
Periodic = Callable[[Workspace], None]


class Supervisor:
    """Watches the runs of one workspace until `close`. Start it with `start`.

    Args:
        keeps_ready: a server, to which somebody may give runs at any time: processes are kept
            ready, not only while runs wait for a place.
    """

    def __init__(
        self,
        workspace: Workspace,
        executor: Executor | None = None,
        timing: Timing | None = None,
        periodic: Sequence[Periodic] = (),
        *,
        keeps_ready: bool = False,
    ) -> None:
        self.workspace = workspace
        self._periodic, self._periodic_done = tuple(periodic), -math.inf
        self._keeps_ready, self._last_start = keeps_ready, time.monotonic()
        self.executor = executor or chosen_executor(workspace)
        self.timing = timing or Timing()
        self.store = RunStore(workspace)
        self._elsewhere = self.executor if isinstance(self.executor, Elsewhere) else None
        self.rooms = (
            self._elsewhere.rooms(self.store) if self._elsewhere else LocalRooms(self.store)
        )
        self._clocks, self._timer = _Clocks(), SideTimer(workspace)
        self._trouble: tuple[float, Exception] | None = None  # since when (monotonic), what
        self._watched: dict[str, str] = {}  # run id -> device, until the process is really gone
        self._closing = threading.Event()
        # Not thread-local: `close` may release what the thread acquired.
        self._lock = FileLock(workspace.root / SUPERVISOR_LOCK, thread_local=False)
        self._thread = threading.Thread(target=self._loop, name="msip-supervisor", daemon=True)

    def start(self) -> Supervisor:
        self._thread.start()
        return self

    def stuck_for(self) -> tuple[float, Exception] | None:
        """Seconds since when nothing could be written or read, and why; None if all is well."""
        trouble = self._trouble
        return None if trouble is None else (time.monotonic() - trouble[0], trouble[1])

    @property
    def is_in_charge(self) -> bool:
        """This process holds the lock (another one may, which is as good)."""
        return self._lock.is_locked

    def close(self) -> None:
        """Stop watching; workers go on and are adopted by the next supervisor."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        self._have_ready(0)
        if self._elsewhere:
            self._elsewhere.close()

    def tick(self) -> None:
        """One look at all runs; the caller holds the lock."""
        # Others may have read a worker's last word before us: what we once saw stays watched.
        self._watched |= self.store.slots(WITH_WORKER)
        for run_id in list(self._watched):
            try:
                if not (self.workspace.run_dir(run_id) / CONFIG_FILE).is_file():
                    logger.warning("The folder of run %s or its config was removed", run_id)
                    self._drop(run_id)
                    continue
                self.store.sync(run_id)
                self._watch(run_id)
            except (NotFoundError, PermissionError) as error:
                # Its files are being removed, are damaged or somebody else's: the others go on.
                logger.warning("The run %s cannot be watched: %s", run_id, error)
        self._start_queued()
        self._prepare()

    def _loop(self) -> None:
        while not self._closing.is_set():
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                self._closing.wait(max(1.0, self.timing.tick))
                continue
            except OSError as error:  # a full or read-only disk: it may be mended meanwhile
                self._stumble(error)
                continue
            try:
                self._serve()
            finally:
                self._have_ready(0)
                self._lock.release()

    def _serve(self) -> None:
        while not self._closing.is_set():
            try:
                self.tick()
                self._run_errands()
                self._trouble = None
            except (MsipError, OSError, ValueError, SQLAlchemyError) as error:
                # A full disk or a busy index must not end the watch: the next tick tries again.
                self._stumble(error)
            self._closing.wait(self.timing.tick)

    def _stumble(self, error: Exception) -> None:
        if self._trouble is None:  # once, not every five seconds
            logger.error("The supervisor of %s stumbled", self.workspace.root, exc_info=error)
            self._trouble = (time.monotonic(), error)
        else:
            self._trouble = (self._trouble[0], error)
        self._closing.wait(self.timing.stumble)

    def _run_errands(self) -> None:
        if time.monotonic() - self._periodic_done < self.timing.periodic:
            return
        self.store.adopt_folders()
        for task in self._periodic:
            task(self.workspace)
        self._timer.look()
        self._periodic_done = time.monotonic()

    # --- runs with a worker ---------------------------------------------------

    def _watch(self, run_id: str) -> None:
        run_dir = self.workspace.run_dir(run_id)
        state = EventLog(run_dir).state()
        if not self.executor.is_alive(run_dir):
            self._settle(run_id, run_dir)
        elif not state.has_worker:
            # It said its last word and is about to end; its device is free when it has.
            if self._clocks.since(run_id, "leaving", "") > self.timing.cancel_grace:
                self.executor.stop(run_dir, force=True)
        elif self._clocks.since(run_id, "beat", _beat(run_dir)) > self.timing.heartbeat_timeout:
            self.executor.stop(run_dir, force=True)
            self._interrupt(
                run_id,
                msg(
                    "The worker gave no sign of life for {seconds:.0f} s and was ended.",
                    seconds=self.timing.heartbeat_timeout,
                ),
            )
        elif state is RunState.CANCELLING:
            self._press(run_id, run_dir)
        elif state is RunState.PAUSING:
            request_stop(run_dir, "pause")

    def _drop(self, run_id: str) -> None:
        """A person removed the folder, or its config: end the worker, it has no run any more."""
        run_dir = self.workspace.run_dir(run_id)
        self.executor.stop(run_dir, force=True)
        self.executor.exit_code(run_dir)
        self.store.forget(run_id)
        self._leave(run_id)

    def _leave(self, run_id: str) -> None:
        """Its device is free again."""
        del self._watched[run_id]
        self.rooms.left(self._watched)
        self._clocks.forget(run_id)

    def _press(self, run_id: str, run_dir: Path) -> None:
        """A cancelled worker gets time to stop cleanly, then is ended."""
        request_stop(run_dir, "cancel")
        waited = self._clocks.since(run_id, "cancel", "")
        if waited > self.timing.cancel_grace:
            self.executor.stop(run_dir, force=waited > 2 * self.timing.cancel_grace)

    def _settle(self, run_id: str, run_dir: Path) -> None:
        """The worker is gone: believe its last word, or say that there was none."""
        started = (run_dir / "worker.json").exists()
        waited = self._clocks.since(run_id, "start", "")
        if not started and waited < self.timing.start_grace:
            return  # the server went between two steps; the worker may still be coming
        lost = self._elsewhere.lost(run_dir) if self._elsewhere else None
        code = self.executor.exit_code(run_dir)
        # Read again: the worker may have written its last word after our first look.
        state = EventLog(run_dir).state()
        if state is RunState.CANCELLING:
            self._move(run_id, RunState.CANCELLED, None)
        elif state.has_worker and lost is not None:
            self._give_back(run_id, why_gone(run_dir, code, started, lost))
        elif state.has_worker:
            self._interrupt(run_id, why_gone(run_dir, code, started))
        self.store.sync(run_id)
        self._leave(run_id)

    def _interrupt(self, run_id: str, reason: str) -> None:
        logger.warning("Run %s is interrupted: %s", run_id, reason)
        state = EventLog(self.workspace.run_dir(run_id)).state()
        self._move(run_id, state_after_loss(state), reason)

    def _give_back(self, run_id: str, reason: str) -> None:
        """Its computer was lost: once, the run is queued again by itself."""
        run_dir = self.workspace.run_dir(run_id)
        log = EventLog(run_dir)
        if log.state() is not RunState.RUNNING or log.was_given_back():
            self._interrupt(run_id, reason)
            return
        told = msg(
            "Its computer was lost: the run was queued again by itself, and goes on from the last "
            "epoch that arrived here."
        )
        logger.warning("Run %s: %s %s", run_id, reason, told)
        with (run_dir / LOG_FILE).open("ab") as file:
            file.write(f"\n=== {reason} {told} ===\n".encode())
        try:
            log.give_back(reason, told)
        except IllegalTransitionError:
            logger.info("Run %s moved on by itself", run_id)
        self.store.sync(run_id)

    def _move(self, run_id: str, target: RunState, reason: str | None) -> None:
        try:
            self.store.transition(run_id, target, expected=WITH_WORKER, reason=reason)
        except IllegalTransitionError:
            # Somebody was quicker (the worker's own last word): theirs counts.
            self.store.sync(run_id)

    # --- the queue ------------------------------------------------------------

    def _prepare(self) -> None:
        """Have processes ready where somebody may need them: runs that wait for a place, or a
        person, as long as a server is open. As many as can start at the same moment."""
        waiting = len(self.store.slots([RunState.QUEUED]).keys() - self._watched.keys())
        places = room_of(slot_of("auto"))
        wanted = places if self._keeps_ready else min(places, waiting)
        if not wanted or time.monotonic() - self._last_start > self.timing.ready:
            self._have_ready(wanted)

    def _have_ready(self, wanted: int) -> None:
        if isinstance(self.executor, LocalExecutor):
            self.executor.prepare(self.workspace, wanted=wanted)

    def _start_queued(self) -> None:
        queued = self.store.slots([RunState.QUEUED])
        # One whose last worker is about to leave is watched still.
        waiting = {run: slot for run, slot in queued.items() if run not in self._watched}
        if waiting:
            self.rooms.look()
        for run_id, slot in waiting.items():
            try:
                place = self.rooms.place(run_id, slot, self._watched)
            except MsipError as error:
                logger.warning("The run %s cannot be started: %s", run_id, error)
                continue
            if place and self._start(run_id, place):
                self._watched[run_id] = place.device

    def _start(self, run_id: str, place: Place) -> bool:
        try:
            self.store.transition(
                run_id,
                RunState.RUNNING,
                expected=[RunState.QUEUED],
                device=place.device,
                node=place.node,
            )
        except IllegalTransitionError:
            self.store.add(run_id)  # paused or cancelled in this very moment, or the index lags
            return False
        except (NotFoundError, PermissionError) as error:
            logger.warning("The run %s cannot be started: %s", run_id, error)
            return False
        self._clocks.forget(run_id)
        self._last_start = time.monotonic()
        try:
            self.executor.start(self.workspace.run_dir(run_id), self.workspace)
        except OSError as error:
            self._interrupt(run_id, msg("The worker could not be started: {error}.", error=error))
            return False
        return True


class _Clocks:
    """How long something has stood still, by our own watching.

    Counted in the monotonic clock from when we saw it first: a laptop that slept, a clock that
    was set or a server that was away never makes a healthy worker look dead.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], tuple[str, float]] = {}

    def since(self, run_id: str, what: str, value: str) -> float:
        known = self._seen.get((run_id, what))
        if known is None or known[0] != value:
            self._seen[run_id, what] = (value, time.monotonic())
            return 0.0
        return time.monotonic() - known[1]

    def forget(self, run_id: str) -> None:
        for key in [k for k in self._seen if k[0] == run_id]:
            del self._seen[key]


def request_stop(run_dir: Path, request: str) -> None:
    """Leave a note for the worker; it reads it at its next safe point."""
    file = run_dir / STOP_FILE
    if not file.exists() or f'"{request}"' not in file.read_text(encoding="utf-8"):
        write_json(file, {"request": request})


def _beat(run_dir: Path) -> str:
    try:
        return str((run_dir / HEARTBEAT_FILE).stat().st_mtime_ns)
    except FileNotFoundError:
        return ""


_SUPERVISORS: dict[Path, Supervisor] = {}
_GUARD = threading.Lock()


def ensure_supervisor(
    workspace: Workspace, periodic: Sequence[Periodic] = (), *, keeps_ready: bool = False
) -> Supervisor:
    """The supervisor of this process for the workspace, started on the first call."""
    with _GUARD:
        if workspace.root not in _SUPERVISORS:
            made = Supervisor(workspace, periodic=periodic, keeps_ready=keeps_ready)
            _SUPERVISORS[workspace.root] = made.start()
        return _SUPERVISORS[workspace.root]
