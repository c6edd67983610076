"""The process that checks a saved model (`runs.verify`), as the worker holds it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from pathlib import Path

from msip_core.runs.executors import worker_environment
from msip_core.workspace import Workspace

GO_ON = "go on\n"


class FreshProcess:
    """The process that opens the saved model; it goes on step by step as it is told, and ends by
    itself with whoever holds it (its stdin closes)."""

    def __init__(self, run_dir: Path, workspace: Workspace) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "msip_core.runs.verify", str(run_dir),
             "--workspace", str(workspace.root), "--step-by-step"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            # What it compares is computed on the processor: no GPU lends it memory.
            text=True, env={**worker_environment(), "CUDA_VISIBLE_DEVICES": ""},
        )  # fmt: skip
        # Read as it comes: a full pipe would stop it.
        self._said: list[str] = []
        self._reader = threading.Thread(target=self._read, name="fresh", daemon=True)
        self._reader.start()

    def go_on(self) -> None:
        """Tell it to take the next step; one that is gone is told of by `end`."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(GO_ON)
            self._process.stdin.flush()

    def end(self) -> tuple[int, str]:
        """Wait for its end: exit code, and the last line that it said."""
        code = self._process.wait()
        self._reader.join()
        return code, self._said[-1] if self._said else ""

    def kill(self) -> None:
        """End it, if it still is there."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # what it did not read goes with it
            self._process.stdin.close()

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            self._said.extend(line.strip() for line in lines if line.strip())
