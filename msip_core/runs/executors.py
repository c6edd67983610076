"""Where a worker runs. Here: this machine. Another place (Ray, SLURM) is another Executor."""

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
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import msip_core
from msip_core.runs.processes import ProcessIdentity
from msip_core.runs.spare import Spare, may_wait
from msip_core.workspace import Workspace

logger = logging.getLogger(__name__)

WORKER_MODULE = "msip_core.runs.worker"
WORKER_FILE = "worker.json"
STOP_FILE = "stop.json"
HEARTBEAT_FILE = "heartbeat"
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


@runtime_checkable
class StartsAhead(Protocol):
    """What an executor has besides that can make the next start quick."""

    def prepare(self, workspace: Workspace, *, wanted: bool) -> None:
        """Have a process ready for the next run, or let it go; called often."""


class LocalExecutor:
    """A worker is a process of its own session: it survives a crash or restart of the server.

    Attributes:
        arguments: more arguments for each worker (another work module, for instance).
    """

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        self.arguments = tuple(arguments)
        self._children: dict[Path, subprocess.Popen[bytes]] = {}
        self._spare: Spare | None = None
        self._refused = -math.inf  # when a spare could not be started or died last (monotonic)
        self._lock = threading.Lock()

    def prepare(self, workspace: Workspace, *, wanted: bool) -> None:
        """Keep one process that has loaded torch for the next run, while there is memory."""
        wanted, environment = wanted and may_wait(), worker_environment()
        with self._lock:
            if self._spare is not None and not (
                wanted and self._spare.fits(workspace, environment)
            ):
                if not self._spare.is_alive():
                    logger.warning("The process that was kept ready has died")
                    self._refused = time.monotonic()
                self._spare.end()
                self._spare = None
            if wanted and self._spare is None and time.monotonic() - self._refused > _AGAIN:
                try:
                    self._spare = Spare(workspace, environment)
                except OSError as error:  # runs do without: each starts a process of its own
                    logger.warning("No process can be kept ready: %s", error)
                    self._refused = time.monotonic()

    def start(self, run_dir: Path, workspace: Workspace) -> None:
        for name in (WORKER_FILE, STOP_FILE, HEARTBEAT_FILE):
            (run_dir / name).unlink(missing_ok=True)
        arguments = [str(run_dir), "--workspace", str(workspace.root), *self.arguments]
        with (run_dir / LOG_FILE).open("ab") as log:
            log.write(f"\n=== worker started {time.strftime('%Y-%m-%d %H:%M:%S')} ===\n".encode())
            log.flush()
            child = self._take_spare(workspace, arguments, run_dir / LOG_FILE)
            if child is None:
                child = subprocess.Popen(
                    [sys.executable, "-m", WORKER_MODULE, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=worker_environment(),
                    start_new_session=True,
                )
        with self._lock:
            self._children[run_dir] = child
        if identity := ProcessIdentity.of(child.pid):
            identity.write(run_dir / WORKER_FILE)

    def _take_spare(
        self, workspace: Workspace, arguments: Sequence[str], log: Path
    ) -> subprocess.Popen[bytes] | None:
        """The process that waits, as the worker of this run; None where none does."""
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is None:
            return None
        if not spare.fits(workspace, worker_environment()):
            spare.end()
            return None
        return spare.take(arguments, log)

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
        _end_leftovers(child.pid)
        return child.wait()


def _end_leftovers(session: int) -> None:
    """Wait for a worker's end, then end what it left behind (data-loading processes)."""
    if not hasattr(os, "waitid"):
        return  # Windows; macOS before Python 3.13
    # Seen but not yet collected: until then its number cannot go to a stranger.
    os.waitid(os.P_PID, session, os.WEXITED | os.WNOWAIT)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(session, signal.SIGKILL)


def worker_environment() -> dict[str, str]:
    """The environment of a process of ours: it finds this package wherever the server runs."""
    home = str(Path(msip_core.__file__).resolve().parent.parent)
    path = [home, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(path)),
            "PYTHONUNBUFFERED": "1"}  # fmt: skip
