"""What is done beside the runs, and never in their way: models are timed on the processor.

A measurement is a process of its own (`msip_core.runs.timing`), started when something is wanted
and no run works on the processor or waits for it. Like a worker it outlives the server: it ends by
itself within minutes, and what it did not get to stays wanted.
"""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time

from msip_core.runs.executors import worker_environment
from msip_core.runs.processes import open_log, start_process
from msip_core.runs.state import ALIVE
from msip_core.runs.store import RunStore
from msip_core.speeds import wanted
from msip_core.workspace import Workspace

TIMING_MODULE = "msip_core.runs.timing"
LOG_NAME = "timing.log"
_PAUSE = 30.0  # seconds between two starts: what ends at once must not be started for ever


def is_in_the_way(workspace: Workspace) -> bool:
    """Whether a run works on the processor, or waits for it."""
    return "cpu" in RunStore(workspace).slots(ALIVE).values()


class SideTimer:
    """Sees that models are timed; one per supervisor."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._process: subprocess.Popen[bytes] | None = None
        self._began = -math.inf
        self._guard = threading.Lock()

    def look(self) -> None:
        """Start a process if something is to be measured and nothing is in the way."""
        with self._guard:
            if self._process is not None and self._process.poll() is None:
                return
            if time.monotonic() - self._began < _PAUSE or not wanted(self._workspace):
                return
            if not is_in_the_way(self._workspace):
                self._process, self._began = self._started(), time.monotonic()

    def _started(self) -> subprocess.Popen[bytes]:
        with open_log(self._workspace.cache / LOG_NAME) as log:
            command = [sys.executable, "-m", TIMING_MODULE, str(self._workspace.root)]
            return start_process(command, log, worker_environment())
