"""The compute process: does one job after another, keeps libraries and models warm.

`python -m msip_core.runs.compute_process ROOT`. Orders come as JSON lines on stdin, reports go
out as JSON lines on stdout; the end of stdin (the server is gone) ends the process.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msip_core
from msip_core.cache import draft
from msip_core.errors import Stopped
from msip_core.questions.base import Job, form_of
from msip_core.runs.compute_child import LOG_NAME, ORDERS, Cancel, End, Order, Progress
from msip_core.runs.failures import explain_failure
from msip_core.workspace import Workspace, write_json

logger = logging.getLogger("msip_core.compute")

_REPORT_PAUSE = 0.1  # seconds between two progress reports
_NICENESS = 10  # a run on the same processor comes first


class Desk:
    """Takes orders in, gives reports out; a thread listens while a job is being done."""

    def __init__(self, orders: IO[str], reports: IO[str]) -> None:
        self._orders, self._reports = orders, reports
        self._waiting: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._cancelled: set[str] = set()
        threading.Thread(target=self._listen, name="desk", daemon=True).start()

    def orders(self) -> Iterator[Order]:
        """Jobs to do, one after another, for ever."""
        while True:
            yield self._waiting.get()

    def is_cancelled(self, key: str) -> bool:
        return key in self._cancelled

    def report(self, message: Progress | End) -> None:
        self._reports.write(message.model_dump_json() + "\n")
        self._reports.flush()

    def _listen(self) -> None:
        for line in self._orders:
            order = ORDERS.validate_json(line)
            if isinstance(order, Cancel):
                self._cancelled.add(order.cancel)
            else:
                self._cancelled.discard(order.key)
                self._waiting.put(order)
        # The server is gone. A job in the middle is of no use to anybody.
        os._exit(0)


class _Reporter:
    """The `progress` of one job."""

    def __init__(self, desk: Desk, key: str) -> None:
        self._desk, self._key, self._last = desk, key, 0.0

    def __call__(self, done: float, message: str) -> None:
        if self._desk.is_cancelled(self._key):
            raise Stopped("cancel")
        now = time.monotonic()
        if now - self._last >= _REPORT_PAUSE:
            self._last = now
            self._desk.report(Progress(key=self._key, done=done, message=message))


def do_job(workspace: Workspace, order: Order, desk: Desk) -> None:
    """Do one job, tidy up, and report how it ended."""
    try:
        end = _attempt(workspace, order, desk)
    finally:
        _give_gpu_memory_back()
    desk.report(end)


def _attempt(workspace: Workspace, order: Order, desk: Desk) -> End:
    """The last report of a job; its folder appears under its key only when whole."""
    try:
        _limit_threads(order.threads)
        with draft(workspace.cache, order.key) as out:
            _work(workspace, order, out, _Reporter(desk, order.key))
    except Stopped:
        return End(key=order.key, state="cancelled")
    # This process serves all pages: a job that fails in any way must not end it.
    except Exception as error:
        logger.error("%s failed: %s", order.question, order.fields, exc_info=error)
        reason = explain_failure(error, log=str(workspace.cache / LOG_NAME))
        return End(key=order.key, state="failed", error=reason.message)
    return End(key=order.key, state="done")


def _work(workspace: Workspace, order: Order, out: Path, progress: _Reporter) -> None:
    began = time.monotonic()
    progress(0.0, "")
    question = order.asked()
    answer = question.answer(Job(workspace, out, progress))
    form_of(question.answer_type()).write(out, answer)
    facts = {
        "question": order.question,
        "fields": order.fields,
        "version": msip_core.__version__,
        "seconds": round(time.monotonic() - began, 3),
    }
    write_json(out / "job.json", facts)


def _limit_threads(threads: int) -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)
    else:  # read once, when a job imports torch
        os.environ["OMP_NUM_THREADS"] = str(threads)


def _give_gpu_memory_back() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _private_stdout() -> IO[str]:
    """The report line, out of the libraries' reach: what they print goes to the log."""
    reports = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return reports


def main() -> None:
    """Serve until stdin ends."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    workspace = Workspace.open(sys.argv[1])
    workspace.isolate_libraries()
    desk = Desk(sys.stdin, _private_stdout())
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    for order in desk.orders():
        do_job(workspace, order, desk)


if __name__ == "__main__":
    main()
