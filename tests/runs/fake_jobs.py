"""Questions for the tests of the compute process: answered quickly, without torch."""

from __future__ import annotations

import os
import time
from typing import ClassVar, Literal

from msip_core.errors import DatasetError
from msip_core.events import Record
from msip_core.questions.base import Job, Question


class Counted(Record):
    counted: int
    pid: int
    nice: int


class Count(Question[Counted]):
    """Counts slowly; says which process counted. `n` tells questions apart."""

    answered_by: ClassVar[str] = "tests.runs.fake_jobs:count"

    to: int
    pause: float = 0.0
    n: int = 0


class Nothing(Record):
    pass


class Crash(Question[Nothing]):
    answered_by: ClassVar[str] = "tests.runs.fake_jobs:crash"


class Sulk(Question[Nothing]):
    """Never looks whether it was cancelled."""

    answered_by: ClassVar[str] = "tests.runs.fake_jobs:sulk"


class Fail(Question[Nothing]):
    answered_by: ClassVar[str] = "tests.runs.fake_jobs:fail"

    how: Literal["input", "bug"]


class Noise(Question[Nothing]):
    """Prints as libraries do."""

    answered_by: ClassVar[str] = "tests.runs.fake_jobs:noise"


def count(question: Count, at: Job) -> Counted:
    for i in range(question.to):
        at.progress(i / question.to, f"{i}")
        time.sleep(question.pause)
    (at.out / "numbers.txt").write_text(str(question.to))
    return Counted(counted=question.to, pid=os.getpid(), nice=os.nice(0))


def crash(question: Crash, at: Job) -> Nothing:
    os.kill(os.getpid(), 9)
    return Nothing()


def sulk(question: Sulk, at: Job) -> Nothing:
    time.sleep(60)
    return Nothing()


def fail(question: Fail, at: Job) -> Nothing:
    (at.out / "half.txt").write_text("half")
    if question.how == "bug":
        raise KeyError("layer")
    raise DatasetError("There is no image '{image}'.", image="x")


def noise(question: Noise, at: Job) -> Nothing:
    os.write(1, b"a library says hello\n")
    return Nothing()
