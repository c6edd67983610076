"""Work on strangers' files in a process of its own, with limits of memory and time.

A file can make its reader crash, loop, or ask for all memory. `run` forks, and the fork does the
work; where a file ends it, a *stand-in* that was forked shortly before, and that has waited since,
takes its place with all that was done by then. To the stand-in that file cannot be read, and the
reason is a row of the report like any other.

    caller ── run ── stand-in ── stand-in ── … ── worker
      ▲                                             │
      └──── progress, then one answer (a pipe) ─────┘

A fork starts nothing: no program, no second import of the caller. Where there is no fork
(Windows) the work is done in the caller's own process, with the bounds of the readers alone.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import mmap
import os
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import psutil

from msip_core import errors
from msip_core.errors import DatasetError, MsipError, WorkError, first_line
from msip_core.messages import msg, restored, stored

Progress = Callable[[float, str], None]

# What one process may hold beyond what its caller held: the largest image that is read, a few
# times over. Together with the libraries it stays below 1.5 GB.
MEMORY_BYTES = 1280 * 1024**2
# For one file. Processor time, since a busy computer makes no file worse; the other for a disk or
# network that does not answer.
CPU_SECONDS = 15.0
WALL_SECONDS = 180.0

_BLAME = 77  # exit code: the file at hand could not be read
_LOST = 78  # exit code: no file is to blame
_MOST_LOST = 200  # files; then something else is wrong
# A stand-in costs some hundredths of a second, so work of this length, or of this share of all
# that was done, is what an end can lose.
_STAND_IN_SECONDS = 20.0
_STAND_IN_SHARE = 1 / 8
_NOTE_BYTES = 16 * 1024
_SLOW = (signal.SIGALRM, signal.SIGPROF) if hasattr(signal, "SIGPROF") else ()


class _Worker:
    """The forked side: what is at hand, what was lost, where to report to."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        # Shared with all stand-ins: they read what the worker noted last.
        self._file_note = mmap.mmap(-1, _NOTE_BYTES)
        self._error_note = mmap.mmap(-1, _NOTE_BYTES)
        self._trace_note = mmap.mmap(-1, _NOTE_BYTES)
        self.lost: dict[str, str] = {}
        self._began = self._stood_by = time.monotonic()

    def at_hand(self, name: str) -> None:
        """Note the file and start its time anew; "" is for work that no file is to blame for."""
        _note(self._file_note, name)
        _note(self._error_note, "")
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS if name else 0)
        signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS if name else 0)

    def stand_by(self) -> None:
        """Fork; the fork returns and goes on, this process waits and, if need be, follows it."""
        while True:
            self.at_hand("")
            pid = _fork()
            if pid == 0:
                self._stood_by = time.monotonic()
                return
            _, status = os.waitpid(pid, 0)
            code = os.waitstatus_to_exitcode(status)
            name = _noted(self._file_note)
            if code in (0, _LOST):
                os._exit(code)
            if not name or name in self.lost or len(self.lost) >= _MOST_LOST:
                self._give_up(code, name)
            self.lost[name] = self._reason(code)

    def stand_by_if_due(self) -> None:
        now = time.monotonic()
        pause = max(_STAND_IN_SECONDS, _STAND_IN_SHARE * (now - self._began))
        if now - self._stood_by >= pause:
            self.stand_by()

    def blame(self, error: BaseException) -> NoReturn:
        """End here: the file at hand raised what no reader expects."""
        _note(self._error_note, f"{type(error).__name__}: {first_line(error)}")
        _note(self._trace_note, "".join(traceback.format_exception(error))[-8000:])
        os._exit(_BLAME)

    def say(self, **message: Any) -> None:
        data = (json.dumps(stored(message)) + "\n").encode()
        try:
            while data:
                data = data[os.write(self._pipe, data) :]
        except BrokenPipeError:  # the caller is gone, and nobody waits for the answer
            os._exit(_LOST)

    def _reason(self, code: int) -> str:
        error = _noted(self._error_note)
        if -code in _SLOW:
            return msg(
                "took more than {cpu_seconds:g} seconds to read: left out", cpu_seconds=CPU_SECONDS
            )
        if code == -signal.SIGKILL or error.startswith("MemoryError"):
            return msg(
                "needs more memory than one file may take ({memory_bytes} MB): left out",
                memory_bytes=MEMORY_BYTES // 1024**2,
            )
        if code < 0:
            return msg(
                "is damaged in a way that ended its reader ({name})",
                name=signal.Signals(-code).name,
            )
        return msg("could not be read ({error})", error=error)

    def _give_up(self, code: int, name: str) -> NoReturn:
        if trace := _noted(self._trace_note):
            self.say(unexpected=_noted(self._error_note), trace=trace)
        else:
            lost = msg("Reading the files ended (code {code}).", code=code)
            if name:
                lost = msg("Reading the files ended at {name} (code {code}).", name=name, code=code)
            self.say(error="WorkError", message=lost)
        os._exit(_LOST)


_worker: _Worker | None = None
_forking = threading.Lock()


def run(work: Callable[[Progress], str], progress: Progress | None = None) -> str:
    """Do `work` in a confined process and return its text.

    Args:
        work: gets a progress to report to; what it changes in memory is not seen by the caller.
        progress: called in the caller's process; may raise, then the work is ended.

    Raises:
        MsipError, OSError: what `work` raised.
        WorkError: the process ended and no file can be blamed for it.
    """
    tell = progress or (lambda done, message: None)
    if _worker is not None or not hasattr(os, "fork"):
        return work(tell)
    # One at a time: a fork that began meanwhile would hold this pipe open.
    with _forking:
        reading, writing = os.pipe()
        pid = _fork()
        if pid == 0:
            os.close(reading)
            _serve(work, writing)
        os.close(writing)
    with suppress(OSError):  # it may have done so itself, or be over
        os.setpgid(pid, pid)
    try:
        message = _last_message(reading, tell)
    except BaseException:  # asked to stop: end all of them at once
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        raise
    finally:
        os.waitpid(pid, 0)
    return _answer(message)


def at_hand(name: str) -> None:
    """Say which file is being read, before it is.

    Raises:
        DatasetError: this file ended the worker before.
    """
    if _worker is not None:
        if name in _worker.lost:
            raise DatasetError("{name} {why}", name=name, why=_worker.lost[name])
        _worker.at_hand(name)


def on_the_whole() -> None:
    """Say that what follows is no single file's doing."""
    if _worker is not None:
        _worker.at_hand("")


def one_by_one(names: Sequence[str]) -> Iterator[str]:
    """Files to go through; where one ends the worker, what was done before is not done again."""
    for name in names:
        if _worker is not None:
            _worker.stand_by_if_due()
            _worker.at_hand(name)
        yield name
    on_the_whole()


# --- the forked side ----------------------------------------------------------


def _serve(work: Callable[[Progress], str], pipe: int) -> NoReturn:
    """Be the first stand-in, then the worker; never come back into the caller's code."""
    global _worker  # noqa: PLW0603 - one worker a process, that readers anywhere report to
    try:
        os.setpgid(0, 0)
        for number in (*_SLOW, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        faulthandler.disable()  # an end is told in the report, not as a dump of the stack
        gc.freeze()  # a collection would touch, and so copy, what is shared with the caller
        _limit_memory()
        worker = _worker = _Worker(pipe)
        worker.stand_by()
        _work(work, worker)
    except BaseException:  # noqa: BLE001 - a fork that returned would be the caller a second time
        os.write(2, traceback.format_exc().encode())
    os._exit(_LOST)


def _work(work: Callable[[Progress], str], worker: _Worker) -> NoReturn:
    try:
        text = work(lambda done, message: worker.say(done=done, message=message))
        worker.at_hand("")
        worker.say(answer=text)
    except MsipError as error:
        kind = next(k.__name__ for k in type(error).__mro__ if k.__module__ == errors.__name__)
        worker.say(error=kind, message=error.message)
    except Exception as error:  # noqa: BLE001 - a file of any make may raise anything
        if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
            worker.say(errno=error.errno, message=error.strerror, file=str(error.filename))
        elif isinstance(error, OSError) and error.errno is not None:
            worker.say(errno=error.errno, message=error.strerror, file=None)
        else:
            worker.blame(error)
    os._exit(0)


def _limit_memory() -> None:
    """Bound what is allocated from here on; pages shared with the caller are counted already."""
    import resource  # not on Windows

    held = getattr(psutil.Process().memory_info(), "data", 0)  # on Linux
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = held + MEMORY_BYTES
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def _fork() -> int:
    with warnings.catch_warnings():
        # Python warns where other threads live. The fork never touches what they may hold: it
        # reads files, computes, and writes to its own pipe.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


# --- the caller's side --------------------------------------------------------


def _last_message(pipe: int, tell: Progress) -> dict[str, object]:
    """Hand progress on until all processes have closed the pipe; what was said at the end."""
    last: dict[str, object] = {}
    with os.fdopen(pipe, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                message = restored(json.loads(line))
            except ValueError:  # cut short by the end of a worker; its stand-in goes on
                continue
            if "done" in message:
                tell(message["done"], message["message"])
            else:
                last = message
    return last


def _answer(message: Mapping[str, object]) -> str:
    match message:
        case {"answer": str(text)}:
            return text
        case {"errno": number, "message": text, "file": file}:
            raise OSError(number, text, file)
        case {"error": str(kind), "message": text}:
            raise getattr(errors, kind)(text)
        case {"unexpected": text, "trace": str(trace)}:
            failure = RuntimeError(text)
            failure.add_note(trace)
            raise failure
    raise WorkError("Reading the files ended without an answer: try again with fewer files.")


def _note(place: mmap.mmap, text: str) -> None:
    data = text.encode("utf-8", "surrogateescape")[: _NOTE_BYTES - 4]
    place[:4] = len(data).to_bytes(4, "little")
    place[4 : 4 + len(data)] = data


def _noted(place: mmap.mmap) -> str:
    size = int.from_bytes(place[:4], "little")
    return place[4 : 4 + size].decode("utf-8", "surrogateescape")
