"""A file that ends its reader is named, and the work goes on; the caller never notices more."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from msip_core import confined
from msip_core.errors import DatasetError, NotFoundError, Stopped, WorkError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

Task = Callable[[], object]


def _go_through(tasks: dict[str, Task]) -> list[str]:
    """Work on named tasks one by one, as an import does; what was said of each."""

    def work(tell: confined.Progress) -> str:
        said = []
        for name in confined.one_by_one(list(tasks)):
            tell(0.5, name)
            try:
                confined.at_hand(name)
                tasks[name]()
            except DatasetError as error:
                said.append(error.message)
            else:
                said.append(f"{name} fine")
        return "\n".join(said)

    return confined.run(work).splitlines()


def _fine() -> None:
    return None


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _abort() -> None:
    os.abort()


def _loop() -> None:
    while True:
        pass


def _hoard() -> None:
    np.ones(2 * confined.MEMORY_BYTES, np.uint8)


def _odd() -> None:
    raise TypeError("unhashable type: 'list'")


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (_crash, "bad is damaged in a way that ended its reader (SIGSEGV)"),
        (_abort, "bad is damaged in a way that ended its reader (SIGABRT)"),
        (_loop, "bad took more than 0.2 seconds to read: left out"),
        (_hoard, "bad needs more memory than one file may take (256 MB): left out"),
        (_odd, "bad could not be read (TypeError: unhashable type: 'list')"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_file_that_ends_its_reader_is_named_and_the_others_are_read(
    task: Task, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confined, "CPU_SECONDS", 0.2)
    monkeypatch.setattr(confined, "MEMORY_BYTES", 256 * 1024**2)
    assert _go_through({"first": _fine, "bad": task, "last": _fine}) == [
        "first fine",
        reason,
        "last fine",
    ]


def test_what_was_done_before_a_stand_in_is_not_done_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(confined, "_STAND_IN_SECONDS", 0.0)
    monkeypatch.setattr(confined, "_STAND_IN_SHARE", 0.0)
    log = tmp_path / "log"

    def note(name: str) -> Task:
        def task() -> None:
            with log.open("a") as file:
                file.write(name)

        return task

    said = _go_through({"a": note("a"), "b": note("b"), "c": _crash, "d": note("d")})
    assert log.read_text() == "abd"
    assert len(said) == 4


def test_several_bad_files_are_each_named() -> None:
    said = _go_through({"a": _crash, "b": _odd, "c": _fine, "d": _abort})
    assert [line.split()[0] for line in said] == ["a", "b", "c", "d"]
    assert said[2] == "c fine"


def test_nothing_to_blame_is_an_error_and_no_endless_try() -> None:
    def work(tell: confined.Progress) -> str:
        confined.on_the_whole()
        os.abort()

    with pytest.raises(WorkError, match="Reading the files ended"):
        confined.run(work)


def test_a_fault_of_ours_comes_with_its_place() -> None:
    def work(tell: confined.Progress) -> str:
        confined.on_the_whole()
        return str(dict[str, int]()["nothing"])

    with pytest.raises(RuntimeError, match="KeyError") as caught:
        confined.run(work)
    assert "in work" in "".join(caught.value.__notes__)


def test_errors_of_the_work_are_the_callers() -> None:
    def fail(error: Exception) -> Callable[[confined.Progress], str]:
        def work(tell: confined.Progress) -> str:
            raise error

        return work

    with pytest.raises(NotFoundError, match="no such"):
        confined.run(fail(NotFoundError("no such")))
    with pytest.raises(OSError, match="No space left") as caught:
        confined.run(fail(OSError(28, "No space left on device", "/x")))
    assert (caught.value.errno, caught.value.filename) == (28, "/x")


def test_progress_arrives_and_a_stop_ends_all_processes() -> None:
    told: list[tuple[float, str]] = []

    def tell(done: float, message: str) -> None:
        told.append((done, message))
        if message == "halt":
            raise Stopped("cancel")

    def work(say: confined.Progress) -> str:
        say(0.25, str(os.getpid()))
        say(0.5, "halt")
        time.sleep(60)
        return "never"

    began = time.monotonic()
    with pytest.raises(Stopped):
        confined.run(work, tell)
    assert time.monotonic() - began < 10
    assert told[0][0] == 0.25
    worker = int(told[0][1])
    assert worker != os.getpid()
    deadline = time.monotonic() + 5
    while _lives(worker) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _lives(worker)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_an_answer_of_any_length_arrives() -> None:
    assert confined.run(lambda _: "µ" * 3_000_000) == "µ" * 3_000_000
