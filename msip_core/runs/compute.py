"""Interactive work beside the server: asked for by pages, done in one long-lived process.

A plain child process that talks JSON lines over pipes. Python's own process pools were not
taken: their `spawn` would import the Streamlit script again as its main module, and they cannot
end one job without breaking the pool.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from msip_core.errors import ConfigError, NotFoundError
from msip_core.runs.cache import trim_cache
from msip_core.runs.compute_child import Child
from msip_core.runs.compute_process import RESULT_FILE, draft_folder
from msip_core.runs.content_key import content_key
from msip_core.runs.jobs import JOBS
from msip_core.runs.state import RunState
from msip_core.runs.store import RunStore
from msip_core.workspace import Workspace

logger = logging.getLogger(__name__)

State = Literal["queued", "running", "done", "failed", "cancelled"]
# In params it makes a question new; the job itself never sees it.
TICKET = "ticket"
_CANCEL_GRACE = 5.0  # seconds a cancelled job has to stop before its process is ended


@dataclass(frozen=True, slots=True)
class JobStatus:
    """How far a job is.

    Attributes:
        done: share in [0, 1].
        seconds_left: None before it can be told.
        error: one sentence for a person, when it failed.
    """

    state: State
    done: float = 0.0
    message: str = ""
    seconds_left: float | None = None
    error: str | None = None

    @property
    def is_over(self) -> bool:
        return self.state in ("done", "failed", "cancelled")


@dataclass(slots=True)
class _Entry:
    """A job of this server's life."""

    key: str
    job: str
    params: dict[str, Any]
    state: State = "queued"
    done: float = 0.0
    message: str = ""
    error: str | None = None
    began: float = 0.0
    is_cancelled: bool = False

    def status(self) -> JobStatus:
        left = None
        if self.state == "running" and self.done > 0.02:
            left = (time.monotonic() - self.began) * (1 - self.done) / self.done
        return JobStatus(self.state, self.done, self.message, left, self.error)


class Compute:
    """Jobs of one workspace, one at a time, first come first served. Safe for many threads."""

    def __init__(
        self,
        workspace: Workspace,
        jobs: Mapping[str, str] = JOBS,
        cancel_grace: float = _CANCEL_GRACE,
    ) -> None:
        self.workspace = workspace
        self._jobs = jobs
        self._grace = cancel_grace
        self._entries: dict[str, _Entry] = {}
        self._queue: deque[_Entry] = deque()
        self._changed = threading.Condition()
        self._child: Child | None = None
        self._runs: RunStore | None = None
        self._closed = False
        self._thread: threading.Thread | None = None

    def key(self, job: str, params: dict[str, Any]) -> str:
        """The name under which the result of this question is kept; starts nothing.

        Raises:
            ConfigError: there is no such job.
        """
        if job not in self._jobs:
            raise ConfigError(f"There is no job '{job}'; known: {', '.join(self._jobs)}.")
        return content_key(self.workspace, job, params)

    def submit(self, job: str, params: dict[str, Any]) -> str:
        """Ask a question, and return its key. A finished answer is there at once; a job that is
        waiting or running is not started twice; one that failed or was cancelled is tried again.
        """
        key = self.key(job, params)
        with self._changed:
            known = self._entries.get(key)
            if known and known.state in ("queued", "running"):
                return key
            if self._is_kept(key):
                return key
            entry = _Entry(key, job, {k: v for k, v in params.items() if k != TICKET})
            self._entries[key] = entry
            self._queue.append(entry)
            self._start_thread()
            self._changed.notify_all()
        return key

    def knows(self, key: str) -> bool:
        """Whether this job was asked for, or its result is kept."""
        entry = self._entries.get(key)
        return (entry is not None and entry.state != "done") or self._is_kept(key)

    def status(self, key: str) -> JobStatus:
        """How far the job is; never waits.

        Raises:
            NotFoundError: nobody asked for it since the server started, and no result is kept.
        """
        entry = self._entries.get(key)
        if entry is not None and entry.state != "done":
            return entry.status()
        if self._is_kept(key):
            return JobStatus("done", 1.0)
        raise NotFoundError("This work is not known any more: ask for it again.")

    def result(self, key: str) -> dict[str, Any]:
        """The JSON result of a finished job.

        Raises:
            NotFoundError: it is not finished.
        """
        file = self.folder(key) / RESULT_FILE
        try:
            value: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise NotFoundError("This result is not there: ask for it again.") from None
        os.utime(file)  # results that are looked at are the last to be cleared away
        return value

    def folder(self, key: str) -> Path:
        """Where the files of a finished job lie."""
        return self.workspace.cache / key

    def cancel(self, key: str) -> None:
        """Stop a job: in the queue at once, while running at its next report of progress, or
        after a grace period by ending the process (the next job gets a new one)."""
        with self._changed:
            entry = self._entries.get(key)
            if entry is None or entry.status().is_over:
                return
            entry.is_cancelled = True
            if entry.state == "queued":
                self._queue.remove(entry)
                entry.state = "cancelled"
                self._changed.notify_all()
                return
            child = self._child
        if child is not None:
            child.send({"cancel": key})
            threading.Timer(self._grace, self._end_if_running, (child, entry)).start()

    def pending(self) -> int:
        """How many jobs wait or run: what is not urgent is asked for when it is 0."""
        with self._changed:
            return sum(e.state in ("queued", "running") for e in self._entries.values())

    def wait(self, key: str, timeout: float | None = None) -> JobStatus:
        """Wait until the job is over, or `timeout` seconds; return how far it is then."""
        with self._changed:
            self._changed.wait_for(lambda: self.status(key).is_over, timeout)
        return self.status(key)

    def close(self) -> None:
        """End the process; running and queued jobs are cancelled."""
        with self._changed:
            self._closed = True
            for entry in self._entries.values():
                entry.is_cancelled = True
            child, thread = self._child, self._thread
            self._changed.notify_all()
        if child is not None:
            child.end()
        if thread is not None:
            thread.join()

    # --- the manager thread ---------------------------------------------------

    def _start_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name="msip-compute", daemon=True)
            self._thread.start()

    def _loop(self) -> None:
        trim_cache(self.workspace.cache)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._queue) or self._closed)
                if self._closed:
                    break
                entry = self._queue.popleft()
                entry.state, entry.began = "running", time.monotonic()
            self._finish(entry, *self._outcome(entry))
        if self._child is not None:
            self._child.close()

    def _outcome(self, entry: _Entry) -> tuple[State, str | None]:
        """What became of the job. The thread outlives whatever happens to one."""
        try:
            return self._do(entry)
        except Exception as error:
            logger.exception("The job %s could not be done", entry.job)
            return "failed", f"This work could not be done ({type(error).__name__}: {error})."

    def _do(self, entry: _Entry) -> tuple[State, str | None]:
        """Hand the job to the process and listen until it is over."""
        child = self._ready_child()
        order = {"key": entry.key, "job": entry.job, "target": self._jobs[entry.job],
                 "params": entry.params, "threads": self._threads()}  # fmt: skip
        if not child.send(order):
            if self._closed:
                return "cancelled", None
            child.end()  # it had died while nobody was listening
            child = self._ready_child()
            child.send(order)
        if entry.is_cancelled:  # in the moment between queue and process
            child.send({"cancel": entry.key})
        for report in child.reports():
            if report["key"] != entry.key:
                continue
            if "state" in report:
                return report["state"], report.get("error")
            with self._changed:
                entry.done, entry.message = report["done"], report["message"]
        code = child.end()
        shutil.rmtree(draft_folder(self.workspace, entry.key, child.pid), ignore_errors=True)
        return "failed", (
            f"The compute process ended in the middle of this work ({code}). Try again; the "
            f"details are in {child.log}."
        )

    def _finish(self, entry: _Entry, state: State, error: str | None) -> None:
        with self._changed:
            cancelled = entry.is_cancelled and state != "done"
            entry.state = "cancelled" if cancelled else state
            entry.error = None if cancelled else error
            entry.done = 1.0 if state == "done" else entry.done
            self._changed.notify_all()

    def _ready_child(self) -> Child:
        if self._child is not None and not self._child.is_alive():
            self._child.close()
            self._child = None
        if self._child is None:
            self._child = Child(self.workspace)
        return self._child

    def _end_if_running(self, child: Child, entry: _Entry) -> None:
        if entry.state == "running" and self._child is child:
            child.end()

    def _threads(self) -> int:
        """Processor threads for a job: half of them while a run is at work."""
        limit = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
        if self._runs is None:
            self._runs = RunStore(self.workspace)
        working = self._runs.count([s for s in RunState if s.has_worker])
        return max(1, limit // 2) if working else limit

    def _is_kept(self, key: str) -> bool:
        return (self.folder(key) / RESULT_FILE).is_file()


_COMPUTES: dict[Path, Compute] = {}
_GUARD = threading.Lock()


def get_compute(workspace: Workspace) -> Compute:
    """The compute of this server process for the workspace."""
    with _GUARD:
        return _COMPUTES.setdefault(workspace.root, Compute(workspace))
