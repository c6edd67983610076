"""Interactive work beside the server: asked for by pages, done in two long-lived processes.

Short looks have a lane of their own, so that a heat map does not wait for a comparison of hundreds
of images (`questions.base.Lane`).

A plain child process that talks JSON lines over pipes. Python's own process pools were not
taken: their `spawn` would import the Streamlit script again as its main module, and they cannot
end one job without breaking the pool.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from msip_core.cache import ContentStore, is_kept, key_of, trim
from msip_core.errors import NotFoundError
from msip_core.messages import msg
from msip_core.questions.base import Answer, Lane, Question, form_of, go_together, lane_of, name_of
from msip_core.runs.compute_child import Cancel, Child, End, Order, State
from msip_core.runs.state import WITH_WORKER
from msip_core.runs.store import RunStore
from msip_core.workspace import Workspace

logger = logging.getLogger(__name__)

_CANCEL_GRACE = 5.0  # seconds a cancelled job has to stop before its process is ended

Kind = TypeVar("Kind", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class JobStatus:
    """How far a job is.

    Attributes:
        done: share in [0, 1].
        seconds_left: None before it can be told.
        error: one sentence for a person, when it failed.
        ahead: of a job that waits, the questions before it by their class: first what is at work.
    """

    state: State
    done: float = 0.0
    message: str = ""
    seconds_left: float | None = None
    error: str | None = None
    ahead: tuple[str, ...] = ()

    @property
    def is_over(self) -> bool:
        return self.state in ("done", "failed", "cancelled")


@dataclass(slots=True)
class _Entry:
    """A job of this server's life."""

    key: str
    question: Question[Any]
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


@dataclass(slots=True)
class _Lane:
    """Jobs that are done one after another, by a process and a thread of their own."""

    queue: deque[_Entry] = field(default_factory=deque)
    at_work: _Entry | None = None
    child: Child | None = None
    thread: threading.Thread | None = None


class Compute:
    """Jobs of one workspace; in each lane one at a time, first come first served. Safe for many
    threads."""

    def __init__(self, workspace: Workspace, cancel_grace: float = _CANCEL_GRACE) -> None:
        self.workspace = workspace
        self._grace = cancel_grace
        self._entries: dict[str, _Entry] = {}
        self._lanes: dict[Lane, _Lane] = {"look": _Lane(), "work": _Lane()}
        self._changed = threading.Condition()
        self._runs: RunStore | None = None
        self._closed = False

    def key(self, question: Question[Any]) -> str:
        """The name under which the answer is kept; starts nothing."""
        return question.key(self.workspace)

    def submit(self, question: Question[Any], ticket: str = "") -> str:
        """Ask a question, and return its key. A finished answer is there at once; a job that is
        waiting or running is not started twice; one that failed or was cancelled is tried again.

        Args:
            ticket: makes it a question of its own, that is answered anew.
        """
        key = self.key(question)
        key = key_of("ticket", key, ticket) if ticket else key
        with self._changed:
            known = self._entries.get(key)
            if known and known.state in ("queued", "running"):
                return key
            if self._is_kept(key):
                return key
            entry = _Entry(key, question)
            self._entries[key] = entry
            lane = self._lane(entry)
            lane.queue.append(entry)
            self._start_thread(lane)
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
            status = entry.status()
            return replace(status, ahead=self._ahead(entry)) if entry.state == "queued" else status
        if self._is_kept(key):
            return JobStatus("done", 1.0)
        raise NotFoundError("This work is not known any more: ask for it again.")

    def result(self, question: Question[Answer]) -> Answer:
        """The answer to a question.

        Raises:
            NotFoundError: it is not there yet.
        """
        return self.result_of(self.key(question), question.answer_type())

    def result_of(self, key: str, kind: type[Kind]) -> Kind:
        """The same by its key, for those who know no more of the question than its answer."""
        value = ContentStore(self.workspace.cache, form_of(kind)).get(key)
        if value is None:
            raise NotFoundError("This result is not there: ask for it again.")
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
            lane = self._lane(entry)
            if entry.state == "queued":
                lane.queue.remove(entry)
                entry.state = "cancelled"
                self._changed.notify_all()
                return
            child = lane.child
        if child is not None:
            child.send(Cancel(cancel=key))
            threading.Timer(self._grace, self._end_if_running, (child, entry)).start()

    def pending(self, like: Question[Any] | None = None) -> int:
        """How many jobs wait or run: what is not urgent is asked for when it is 0.

        Args:
            like: count only the lane of this one.
        """
        names = self._lanes if like is None else (lane_of(like),)
        with self._changed:
            lanes = [self._lanes[name] for name in names]
            return sum(len(lane.queue) + (lane.at_work is not None) for lane in lanes)

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
            lanes = list(self._lanes.values())
            self._changed.notify_all()
        for lane in lanes:
            if lane.child is not None:
                lane.child.end()
            if lane.thread is not None:
                lane.thread.join()

    # --- the manager threads, one a lane ---------------------------------------

    def _lane(self, entry: _Entry) -> _Lane:
        return self._lanes[lane_of(entry.question)]

    def _start_thread(self, lane: _Lane) -> None:
        if lane.thread is None:
            lane.thread = threading.Thread(
                target=self._loop, args=(lane,), name="msip-compute", daemon=True
            )
            lane.thread.start()

    def _loop(self, lane: _Lane) -> None:
        trim(self.workspace.cache)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._may_begin(lane))
                if self._closed:
                    break
                entry = lane.at_work = lane.queue.popleft()
                entry.state, entry.began = "running", time.monotonic()
            self._finish(lane, entry, *self._outcome(lane, entry))
        if lane.child is not None:
            lane.child.close()

    def _beside(self, lane: _Lane) -> list[Question[Any]]:
        """What the other lanes work on."""
        others = (other.at_work for other in self._lanes.values() if other is not lane)
        return [entry.question for entry in others if entry is not None]

    def _may_begin(self, lane: _Lane) -> bool:
        if not lane.queue:
            return False
        return all(go_together(lane.queue[0].question, other) for other in self._beside(lane))

    def _ahead(self, entry: _Entry) -> tuple[str, ...]:
        """What a waiting job waits for: in its own lane, and beside it what it cannot go with."""
        with self._changed:
            lane = self._lane(entry)
            beside = self._beside(lane)
            held = [other for other in beside if not go_together(entry.question, other)]
            own = [] if lane.at_work is None else [lane.at_work.question]
            before = list(lane.queue)[: lane.queue.index(entry)] if entry in lane.queue else []
            ahead = (*own, *held, *(other.question for other in before))
            return tuple(type(question).__name__ for question in ahead)

    def _outcome(self, lane: _Lane, entry: _Entry) -> tuple[State, str | None]:
        """What became of the job. The thread outlives whatever happens to one."""
        try:
            return self._do(lane, entry)
        except Exception as error:
            logger.exception("%s could not be answered", name_of(entry.question))
            return "failed", msg(
                "This work could not be done ({name}: {error}).",
                name=type(error).__name__,
                error=error,
            )

    def _do(self, lane: _Lane, entry: _Entry) -> tuple[State, str | None]:
        """Hand the job to the process and listen until it is over."""
        child = self._ready_child(lane)
        order = Order.of(entry.key, entry.question, self._threads(lane))
        if not child.send(order):
            if self._closed:
                return "cancelled", None
            child.end()  # it had died while nobody was listening
            child = self._ready_child(lane)
            child.send(order)
        if entry.is_cancelled:  # in the moment between queue and process
            child.send(Cancel(cancel=entry.key))
        for report in child.reports():
            if report.key != entry.key:
                continue
            if isinstance(report, End):
                return report.state, report.error
            with self._changed:
                entry.done, entry.message = report.done, report.message
        code = child.end()
        trim(self.workspace.cache)  # what it was writing
        return "failed", (
            msg(
                "The compute process ended in the middle of this work ({code}). Try again; the "
                "details are in {log}.",
                code=code,
                log=child.log,
            )
        )

    def _finish(self, lane: _Lane, entry: _Entry, state: State, error: str | None) -> None:
        with self._changed:
            cancelled = entry.is_cancelled and state != "done"
            entry.state = "cancelled" if cancelled else state
            entry.error = None if cancelled else error
            entry.done = 1.0 if state == "done" else entry.done
            lane.at_work = None
            self._changed.notify_all()

    def _ready_child(self, lane: _Lane) -> Child:
        if lane.child is not None and not lane.child.is_alive():
            lane.child.close()
            lane.child = None
        if lane.child is None:
            lane.child = Child(self.workspace)
        return lane.child

    def _end_if_running(self, child: Child, entry: _Entry) -> None:
        if entry.state == "running" and self._lane(entry).child is child:
            child.end()

    def _threads(self, lane: _Lane) -> int:
        """Processor threads for a job: half of them while a run is at work, and half of these
        while the other lane is."""
        limit = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
        if self._runs is None:
            self._runs = RunStore(self.workspace)
        working = self._runs.count(WITH_WORKER) > 0
        beside = bool(self._beside(lane))
        return max(1, limit // 2 ** (working + beside))

    def _is_kept(self, key: str) -> bool:
        return is_kept(self.workspace.cache, key)


_COMPUTES: dict[Path, Compute] = {}
_GUARD = threading.Lock()


def get_compute(workspace: Workspace) -> Compute:
    """The compute of this server process for the workspace."""
    with _GUARD:
        return _COMPUTES.setdefault(workspace.root, Compute(workspace))
