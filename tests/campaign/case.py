"""What one hostile input is: the words of a command, what lies beside them, what may come out."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

# A case writes its files into an empty folder and returns the words of the command line.
Make = Callable[[Path, random.Random], list[str]]


@dataclass(frozen=True, slots=True)
class Case:
    """One input.

    Attributes:
        kind: what is attacked; the table of counts has one row per kind.
        keeps: for an import: that many good images lie beside the bad file and must come in.
        exits: exit codes that are right. 0 done, 2 the input was wrong, 1 the work failed.
        lab: works on a copy of the lab of its own, since it damages it.
    """

    kind: str
    name: str
    make: Make
    keeps: int | None = None
    exits: tuple[int, ...] = (0, 2)
    lab: bool = False


@dataclass(slots=True)
class Outcome:
    """What one command did."""

    exit: int | None  # None: it did not end in time
    out: str
    err: str
    seconds: float
    megabytes: float
    code: list[str] = field(default_factory=list)  # foreign code, or a process that was started
    outside: list[str] = field(default_factory=list)  # files written outside lab and folder
