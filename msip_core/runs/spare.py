"""A process that has loaded torch already and waits for the one run that it will work on.

Starting Python and loading the libraries takes a run some seconds before its first stage. A spare
does that ahead. It serves one run and ends with it, as a worker that was started for it does: a
crash, a kill or too little memory ends that process alone, and gives all that it held back.

An unused spare holds some 350 MB. It ends with whoever started it, in whatever way (its stdin
closes), so that none is ever left behind.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from msip_core.settings import get_settings
from msip_core.workspace import Workspace

logger = logging.getLogger(__name__)

SPARE_MODULE = "msip_core.runs.spare_process"
LOG_NAME = "spare.log"
# What libraries set for themselves when a process loads them, as the spare does too.
_OF_LIBRARIES = frozenset(
    {"NUMEXPR_MAX_THREADS", "LD_LIBRARY_PATH", "TORCHINDUCTOR_CACHE_DIR", "TF_CPP_MIN_LOG_LEVEL",
     "KINETO_LOG_LEVEL", "TORCH_CPP_LOG_LEVEL"}
)  # fmt: skip
ROOM = 4e9  # bytes of free memory below which none waits


def may_wait() -> bool:
    """Whether a spare is allowed and there is memory for it. Not on Windows, where a process cannot
    be made anew in its place if it turns out that it cannot serve."""
    return get_settings().warm and os.name == "posix" and psutil.virtual_memory().available > ROOM


class Spare:
    """One process, started ahead for a workspace.

    Args:
        environment: of a worker; one that is started later with another one needs a new process.
    """

    def __init__(self, workspace: Workspace, environment: dict[str, str]) -> None:
        self._workspace, self._environment = workspace, environment
        workspace.cache.mkdir(parents=True, exist_ok=True)
        with (workspace.cache / LOG_NAME).open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", SPARE_MODULE, str(workspace.root)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def fits(self, workspace: Workspace, environment: dict[str, str]) -> bool:
        """Whether it lives and is what a process that is started now would be."""
        same = self._workspace == workspace and _given(self._environment) == _given(environment)
        return same and self.is_alive()

    def is_alive(self) -> bool:
        return self._process.poll() is None

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


def _given(environment: dict[str, str]) -> dict[str, str]:
    """What a person or the system set."""
    return {name: value for name, value in environment.items() if name not in _OF_LIBRARIES}
