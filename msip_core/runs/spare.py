"""A process that has loaded torch already and waits for the one run that it will work on.

Starting Python and loading the libraries takes a run some seconds before its first stage. A spare
does that ahead. It serves one run and ends with it, as a worker that was started for it does: a
crash, a kill or too little memory ends that process alone, and gives all that it held back.

There is one for each run that can start at the same moment, as far as memory allows (`most`). An
unused spare holds some 350 MB. It ends with whoever started it, in whatever way (its stdin closes),
so that none is ever left behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from msip_core.runs.processes import start_process
from msip_core.settings import get_settings
from msip_core.workspace import Workspace

SPARE_MODULE = "msip_core.runs.spare_process"
LOG_NAME = "spare.log"
# What libraries set for themselves when a process loads them, as the spare does too.
_OF_LIBRARIES = frozenset(
    {"NUMEXPR_MAX_THREADS", "LD_LIBRARY_PATH", "TORCHINDUCTOR_CACHE_DIR", "TF_CPP_MIN_LOG_LEVEL",
     "KINETO_LOG_LEVEL", "TORCH_CPP_LOG_LEVEL"}
)  # fmt: skip
ROOM = 4e9  # bytes of free memory below which none waits
SIZE = 3.5e8  # bytes that one holds when it has loaded the libraries
_LOADING = 20.0  # seconds until then, on a busy computer


class Spare:
    """One process, started ahead for a workspace.

    Args:
        environment: of a worker; one that is started later with another one needs a new process.
    """

    def __init__(self, workspace: Workspace, environment: dict[str, str]) -> None:
        self._workspace, self._environment = workspace, environment
        self._started = time.monotonic()
        workspace.cache.mkdir(parents=True, exist_ok=True)
        (workspace.cache / LOG_NAME).unlink(missing_ok=True)  # those before write to theirs
        with (workspace.cache / LOG_NAME).open("wb") as log:
            command = [sys.executable, "-m", SPARE_MODULE, str(workspace.root)]
            self._process = start_process(command, log, environment, stdin=subprocess.PIPE)

    @property
    def pid(self) -> int:
        return self._process.pid

    def fits(self, workspace: Workspace, environment: dict[str, str]) -> bool:
        """Whether it lives and is what a process that is started now would be."""
        same = self._workspace == workspace and _given(self._environment) == _given(environment)
        return same and self.is_alive()

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def is_loading(self) -> bool:
        """Whether it may still take more memory."""
        return time.monotonic() - self._started < _LOADING

    def take(self, arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes] | None:
        """Make it a worker, from now on as any other; None if it has died.

        Args:
            arguments: of the worker's command line.
            log: where it writes from now on.
        """
        assert self._process.stdin is not None
        order = json.dumps({"arguments": list(arguments), "log": str(log)}) + "\n"
        try:
            self._process.stdin.write(order.encode())
            self._process.stdin.close()
        except BrokenPipeError:
            self.end()
            return None
        return self._process

    def end(self) -> None:
        """Let it go, unused."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # an order that nobody read
            self._process.stdin.close()


def most(waiting: Sequence[Spare]) -> int:
    """How many may wait where these do. One more wherever more than ROOM is left free with it, and
    with those that are still loading; one less while less than ROOM is free. None where it is not
    allowed, and on Windows, where a process cannot be made anew in its place if it turns out that
    it cannot serve."""
    if not get_settings().warm or os.name != "posix":
        return 0
    free = psutil.virtual_memory().available
    if free <= ROOM:
        return max(0, len(waiting) - 1)
    taken = SIZE * (1 + sum(one.is_loading() for one in waiting))
    return len(waiting) + (free - taken > ROOM)


def may_wait() -> bool:
    """Whether one may where none does yet."""
    return most(()) > 0


def _given(environment: dict[str, str]) -> dict[str, str]:
    """What a person or the system set."""
    return {name: value for name, value in environment.items() if name not in _OF_LIBRARIES}
