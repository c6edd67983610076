"""The compute process: does one job after another, keeps libraries and models warm.

`python -m msip_core.runs.compute_process ROOT`. Orders come as JSON lines on stdin, reports go
out as JSON lines on stdout; the end of stdin (the server is gone) ends the process.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import msip_core
from msip_core.errors import Stopped
from msip_core.runs.failures import explain_failure
from msip_core.workspace import Workspace, write_json

logger = logging.getLogger("msip_core.compute")

RESULT_FILE = "result.json"
LOG_NAME = "compute.log"
_REPORT_PAUSE = 0.1  # seconds between two progress reports
_NICENESS = 10  # a run on the same processor comes first


class Desk:
    """Takes orders in, gives reports out; a thread listens while a job is being done."""

    def __init__(self, orders: IO[str], reports: IO[str]) -> None:
        self._orders, self._reports = orders, reports
        self._waiting: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._cancelled: set[str] = set()
        threading.Thread(target=self._listen, name="desk", daemon=True).start()

    def orders(self) -> Iterator[dict[str, Any]]:
        """Jobs to do, one after another, for ever."""
        while True:
            yield self._waiting.get()

    def is_cancelled(self, key: str) -> bool:
        return key in self._cancelled

    def report(self, **message: Any) -> None:
        self._reports.write(json.dumps(message) + "\n")
        self._reports.flush()

    def _listen(self) -> None:
        for line in self._orders:
            order = json.loads(line)
            if "cancel" in order:
                self._cancelled.add(order["cancel"])
            else:
                self._cancelled.discard(order["key"])
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
            self._desk.report(key=self._key, done=done, message=message)


def do_job(workspace: Workspace, order: dict[str, Any], desk: Desk) -> None:
    """Do one job, tidy up, and report how it ended."""
    draft = draft_folder(workspace, order["key"], os.getpid())
    try:
        outcome = _attempt(workspace, order, draft, desk)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        _give_gpu_memory_back()
    desk.report(key=order["key"], **outcome)


def draft_folder(workspace: Workspace, key: str, pid: int) -> Path:
    """Where a job's files lie until the job is whole."""
    return workspace.cache / f".{key}.{pid}"


def _attempt(
    workspace: Workspace, order: dict[str, Any], draft: Path, desk: Desk
) -> dict[str, Any]:
    """The last report of a job; its folder appears under its key only when whole."""
    try:
        _limit_threads(order["threads"])
        draft.mkdir(parents=True, exist_ok=True)
        _work(workspace, order, draft, _Reporter(desk, order["key"]))
        _publish(draft, workspace.cache / order["key"])
    except Stopped:
        return {"state": "cancelled"}
    # This process serves all pages: a job that fails in any way must not end it.
    except Exception as error:
        logger.error("Job %s failed: %s", order["job"], order["params"], exc_info=error)
        reason = explain_failure(error, log=str(workspace.cache / LOG_NAME))
        return {"state": "failed", "error": reason.message}
    return {"state": "done"}


def _work(workspace: Workspace, order: dict[str, Any], out: Path, progress: _Reporter) -> None:
    module, _, name = order["target"].partition(":")
    began = time.monotonic()
    progress(0.0, "")
    result = getattr(import_module(module), name)(workspace, order["params"], out, progress)
    write_json(out / RESULT_FILE, result)
    facts = {"job": order["job"], "params": order["params"], "version": msip_core.__version__,
             "seconds": round(time.monotonic() - began, 3)}  # fmt: skip
    write_json(out / "job.json", facts)


def _publish(draft: Path, target: Path) -> None:
    if target.exists():
        shutil.rmtree(target)  # the same question, asked again on purpose
    draft.rename(target)


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
