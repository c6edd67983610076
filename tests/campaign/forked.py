"""One command line in a forked process: what it said, took, wrote and started.

The libraries are imported once, before the fork, so that an input costs a fraction of a second.
The process has one thread (see `prepare`), so that a fork is a whole copy.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.campaign.case import Outcome

SECONDS = 60.0  # a command is ended after that; the limit that is judged is lower
_STARTS = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "pty.spawn")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.link")
_NO_FILES = ("/dev/", "/proc")  # nothing can be written there: trying it does no harm
_OWN = ("uname",)  # asked by Python's own `platform`, for the report of `doctor`


def prepare(root: Path) -> None:
    """Import what the verbs import, once, with one thread."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    from msip_core.workspace import Workspace

    Workspace.open(root).isolate_libraries()
    import cv2
    import matplotlib.font_manager  # noqa: F401 - asks the system for its fonts, once
    import torch

    import msip_core.data.importing
    import msip_core.detector.checkpoints
    import msip_core.detector.jobs  # noqa: F401
    from msip_core.cli.main import make_app

    make_app()

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def run(words: Sequence[str], folder: Path, lab: Path) -> Outcome:
    """Run one command in a fork and wait for it."""
    begun = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _child(list(words), folder, lab)
    status, usage = _wait(pid, begun + SECONDS)
    events = _read(folder / "audit").splitlines()
    return Outcome(
        exit=None if status is None else os.waitstatus_to_exitcode(status),
        out=_read(folder / "stdout"),
        err=_read(folder / "stderr"),
        seconds=time.monotonic() - begun,
        megabytes=usage.ru_maxrss / 1024,
        code=[e for e in events if e.startswith("starts")],
        outside=[e for e in events if e.startswith("writes")],
    )


def _wait(pid: int, end: float) -> tuple[int | None, Any]:
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            return status, usage
        if time.monotonic() > end:
            os.killpg(pid, signal.SIGKILL)
            _, _, usage = os.wait4(pid, 0)
            return None, usage
        time.sleep(0.01)


def _child(words: list[str], folder: Path, lab: Path) -> None:
    code = 98
    sys.dont_write_bytecode = True  # what Python would write beside our own sources, once
    try:
        os.setsid()
        for name, number in (("stdout", 1), ("stderr", 2)):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
        log = os.open(folder / "audit", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.chdir(folder)
        _watch(log, (str(folder), str(lab)))
        from msip_core.cli.main import main

        code = main([*words, "--workspace", str(lab)])
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else 97
    except BaseException:  # noqa: BLE001 - a traceback is what the judge looks for
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _watch(log: int, allowed: tuple[str, ...]) -> None:
    """Write down every process that is started and every file changed elsewhere."""
    allowed = tuple(os.path.realpath(path) for path in allowed)

    def elsewhere(path: object) -> str | None:
        if not isinstance(path, str | bytes) or not path:
            return None
        real = os.path.realpath(os.fsdecode(path))
        return None if real.startswith((*allowed, *_NO_FILES)) else real

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        line = None
        if event == "subprocess.Popen" and arguments[0] in _OWN:
            return
        if event.startswith(_STARTS):
            line = f"starts {event} {str(arguments)[:200]}"
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES:
            path = elsewhere(arguments[0])
            line = path and f"writes {path}"
        elif event in _CHANGES:
            paths = [p for p in map(elsewhere, arguments[:2]) if p]
            line = paths and f"writes {event} {paths}"
        if line:
            os.write(log, (line + "\n").encode(errors="backslashreplace"))

    sys.addaudithook(hook)


def _read(path: Path) -> str:
    return path.read_bytes().decode(errors="replace") if path.exists() else ""
