"""What the worker hands to the work: the story it writes to, the stop request, the heartbeat."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from msip_core.errors import Stopped
from msip_core.events import Payload, ProgressRecord, Stage, StageRecord
from msip_core.runs.events_log import EventLog
from msip_core.runs.executors import HEARTBEAT_FILE, STOP_FILE
from msip_core.workspace import Workspace

if TYPE_CHECKING:
    from msip_core.runs.fresh_process import FreshProcess

logger = logging.getLogger(__name__)

_HEART_PERIOD = 2.0
# A progress line is written for a whole percent (at most one a second) or every ten seconds.
_PROGRESS_STEP, _PROGRESS_PAUSE, _PROGRESS_LATEST = 0.01, 1.0, 10.0
_NEAR_END = 20.0  # seconds of work left: a process that is started now is ready when it is needed
_STOP_LOOK = 0.2  # seconds between two looks for a stop request: batches may take milliseconds


class WorkerContext:
    """The RunContext (msip_core.events) of a worker process."""

    def __init__(self, run_dir: Path, workspace: Workspace) -> None:
        self.run_id = run_dir.name
        self.run_dir = run_dir
        self.workspace = workspace
        self.log = EventLog(run_dir)
        self._terminated = threading.Event()
        self._progress: tuple[float, float] | None = None  # (monotonic time, share done)
        self._looked = -_STOP_LOOK
        # Called once when the work is about to end; and the process that then checks what it saved.
        self.near_end: Callable[[], None] | None = None
        self.fresh: FreshProcess | None = None

    def emit(self, record: Payload) -> None:
        if self.near_end is not None and _ends_soon(record):
            get_ready, self.near_end = self.near_end, None
            get_ready()
        if isinstance(record, ProgressRecord) and not self._is_news(record):
            return
        self.log.emit(record)

    def check_stop(self) -> None:
        if self._terminated.is_set():
            raise Stopped("interrupt")
        now = time.monotonic()
        if now - self._looked >= _STOP_LOOK:
            self._looked = now
            if request := read_request(self.run_dir):
                raise Stopped(request)

    def terminate(self) -> None:
        """Stop at the next safe point because the system asks for it (SIGTERM)."""
        self._terminated.set()

    def _is_news(self, record: ProgressRecord) -> bool:
        now = time.monotonic()
        if self._progress is not None and record.done < 1:
            waited, moved = now - self._progress[0], abs(record.done - self._progress[1])
            if waited < _PROGRESS_PAUSE or (moved < _PROGRESS_STEP and waited < _PROGRESS_LATEST):
                return False
        self._progress = (now, record.done)
        return True


def _ends_soon(record: Payload) -> bool:
    """Whether the work says that it is nearly done."""
    if isinstance(record, StageRecord):
        return record.stage in (Stage.TESTING, Stage.SAVING)
    left = record.seconds_left if isinstance(record, ProgressRecord) else None
    return left is not None and left < _NEAR_END


class Heart:
    """Touches the heartbeat file from its own thread while the block runs."""

    def __init__(self, run_dir: Path) -> None:
        self._file = run_dir / HEARTBEAT_FILE
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def __enter__(self) -> Heart:
        self._file.touch()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(_HEART_PERIOD):
            try:
                self._file.touch()
            except OSError as error:
                # A disk that was away for a moment must not make a living worker look dead.
                logger.warning("The heartbeat could not be written: %s", error)


def read_request(run_dir: Path) -> str | None:
    """ "pause" or "cancel" where a person asked for it. A note that is damaged asks for a pause:
    something was asked for, and of a pause nothing is lost."""
    try:
        text = (run_dir / STOP_FILE).read_bytes()
    except FileNotFoundError:
        return None
    with suppress(ValueError, TypeError, KeyError):
        if json.loads(text)["request"] == "cancel":
            return "cancel"
    return "pause"
