"""Where a worker runs. Here: this machine. Other computers are another Executor (runs/far)."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import msip_core
from msip_core.runs.processes import ProcessIdentity, start_process
from msip_core.runs.spare import Spare, most
from msip_core.workspace import Workspace

logger = logging.getLogger(__name__)
if TYPE_CHECKING:
    from msip_core.runs.store import RunStore

WORKER_MODULE = "msip_core.runs.worker"
WORKER_FILE = "worker.json"
STOP_FILE = "stop.json"
HEARTBEAT_FILE = "heartbeat"
PLACE_FILE = "place.json"  # which other computer holds the worker (runs/far)
LOG_FILE = "log.txt"
_AGAIN = 60.0  # seconds after which a spare is tried again that could not be kept


class Executor(Protocol):
    """Start, watch and stop the worker of a run, which is named by its folder."""

    def start(self, run_dir: Path, workspace: Workspace) -> None:
        """Start a worker that outlives this process."""

    def is_alive(self, run_dir: Path) -> bool:
        """The worker runs, whoever started it."""

    def stop(self, run_dir: Path, *, force: bool) -> None:
        """Ask the worker to end; with `force`, kill it and its children."""

    def exit_code(self, run_dir: Path) -> int | None:
        """How a worker ended (negative: signal), waiting for it if it is about to; None if that
        is unknown."""


class Place(NamedTuple):
    """What a run is given: a device, and the computer that it belongs to (None: this one)."""

    device: str
    node: str | None = None


class Rooms(Protocol):
    """Says which queued run may start now, and where."""

    def look(self) -> None:
        """Before the first of several questions: see what there is now.

        Raises:
            MsipError: nothing can be started anywhere, with the reason.
        """

    def place(self, run_id: str, slot: str, watched: Mapping[str, str]) -> Place | None:
        """Where a queued run starts now; None while it has to wait, and those behind it that want
        the same.

        Args:
            slot: the device that it waits for (`runs.slots`).
            watched: run id -> device, of the runs that have a worker.
        """

    def left(self, watched: Mapping[str, str]) -> None:
        """A worker is gone; these are still there."""


@runtime_checkable
class Elsewhere(Protocol):
    """What an executor has besides, whose workers are on other computers."""

    def rooms(self, store: RunStore) -> Rooms:
        """The places that it has."""

    def lost(self, run_dir: Path) -> str | None:
        """Why the computer of a worker is gone, as a sentence; None where it is the worker alone
        that ended."""

    def close(self) -> None:
        """This process looks after the runs no more; workers go on."""


class LocalExecutor:
    """A worker is a process of its own session: it survives a crash or restart of the server.

    Attributes:
        arguments: more arguments for each worker (another work module, for instance).
    """

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        self.arguments = tuple(arguments)
        self._children: dict[Path, subprocess.Popen[bytes]] = {}
        self._spares: list[Spare] = []  # the oldest first
        self._refused = -math.inf  # when a spare could not be started or died last (monotonic)
        self._lock = threading.Lock()

    def prepare(self, workspace: Workspace, *, wanted: int) -> None:
        """Keep so many processes that have loaded torch for the next runs, while there is memory,
        and let others go. Called often: at most one more a call, so that they do not all load at
        once."""
        environment = worker_environment()
        with self._lock:
            wanted = min(wanted, most(self._spares)) if wanted else 0
            fit = [one for one in self._spares if one.fits(workspace, environment)]
            if not all(one.is_alive() for one in self._spares):
                logger.warning("A process that was kept ready has died")
                self._refused = time.monotonic()
            for one in self._spares:
                if one not in fit[:wanted]:
                    one.end()
            self._spares = fit[:wanted]
            if len(self._spares) < wanted and time.monotonic() - self._refused > _AGAIN:
                try:
                    self._spares.append(Spare(workspace, environment))
                except OSError as error:  # runs do without: each starts a process of its own
                    logger.warning("No process can be kept ready: %s", error)
                    self._refused = time.monotonic()

    def start(self, run_dir: Path, workspace: Workspace) -> None:
        for name in (WORKER_FILE, STOP_FILE, HEARTBEAT_FILE, PLACE_FILE):
            (run_dir / name).unlink(missing_ok=True)
        command = worker_command(run_dir, workspace.root, self.arguments)
        announce(run_dir)
        with (run_dir / LOG_FILE).open("ab") as log:
            child = self._take_spare(workspace, command[3:], run_dir / LOG_FILE)
            if child is None:
                child = start_process(command, log, worker_environment())
        with self._lock:
            self._children[run_dir] = child
        if identity := ProcessIdentity.of(child.pid):
            identity.write(run_dir / WORKER_FILE)

    def _take_spare(
        self, workspace: Workspace, arguments: Sequence[str], log: Path
    ) -> subprocess.Popen[bytes] | None:
        """The process that waits longest, as the worker of this run; None where none does."""
        environment = worker_environment()
        with self._lock:
            while self._spares:
                spare = self._spares.pop(0)
                if not spare.fits(workspace, environment):
                    spare.end()
                elif child := spare.take(arguments, log):
                    return child
        return None

    def is_alive(self, run_dir: Path) -> bool:
        identity = ProcessIdentity.read(run_dir / WORKER_FILE)
        return identity is not None and identity.is_alive()

    def stop(self, run_dir: Path, *, force: bool) -> None:
        identity = ProcessIdentity.read(run_dir / WORKER_FILE)
        with self._lock:
            child = self._children.get(run_dir)
        if identity is None and child is not None and child.poll() is None:
            identity = ProcessIdentity.of(child.pid)  # its folder was removed by a person
        if identity is not None:
            identity.stop(force=force)

    def exit_code(self, run_dir: Path) -> int | None:
        with self._lock:
            child = self._children.pop(run_dir, None)
        if child is None:
            return None  # started by a server that is gone
        end_leftovers(child.pid)
        return child.wait()


def announce(run_dir: Path, node: str | None = None) -> int:
    """Begin a new part of the log; returns the size of the file."""
    where = f" on {node}" if node else ""
    with (run_dir / LOG_FILE).open("ab") as log:
        when = time.strftime("%Y-%m-%d %H:%M:%S")
        log.write(f"\n=== worker started {when}{where} ===\n".encode())
        return log.tell()


def worker_command(run_dir: Path, root: Path, arguments: Sequence[str]) -> list[str]:
    """The command line of a worker."""
    return [sys.executable, "-m", WORKER_MODULE, str(run_dir), "--workspace", str(root), *arguments]


def end_leftovers(session: int) -> None:
    """Wait for a worker's end, then end what it left behind (data-loading processes)."""
    if not hasattr(os, "waitid"):
        return  # Windows; macOS before Python 3.13
    # Seen but not yet collected: until then its number cannot go to a stranger.
    os.waitid(os.P_PID, session, os.WEXITED | os.WNOWAIT)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(session, signal.SIGKILL)


def has_ended(child: subprocess.Popen[bytes]) -> bool:
    """Whether a worker has ended; its number stays its own until it is waited for."""
    if not hasattr(os, "waitid"):
        return child.poll() is not None
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


# Read by GNU's libc at the start of a process: what one image needed and freed is kept for the next
# one. Else it goes back to the system and is asked for again, page by page, which takes a detector
# on a processor up to a fifth of its time.
_KEPT_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024**2),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 1024**2),
}


def worker_environment() -> dict[str, str]:
    """The environment of a process of ours: it finds this package wherever the server runs."""
    home = str(Path(msip_core.__file__).resolve().parent.parent)
    path = [home, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **_KEPT_MEMORY,
        **os.environ,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(path)),
        "PYTHONUNBUFFERED": "1",
    }
