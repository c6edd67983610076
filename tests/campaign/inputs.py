"""Every hostile input, one after the other: its counts by kind, and what was wrong."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import traceback
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.campaign import archives, files_of_a_lab, forked, images, judge, labels, weights, words
from tests.campaign.case import Case
from tests.campaign.lab import Lab

_SHOWN = 300  # characters of what a command said


@dataclass(slots=True)
class Count:
    """One row of the table."""

    tried: int = 0
    wrong: int = 0
    refused: int = 0  # exit 2: one sentence
    seconds: float = 0.0  # the slowest
    megabytes: float = 0.0  # the largest


@dataclass(slots=True)
class Report:
    """What a campaign found."""

    counts: dict[str, Count] = field(default_factory=lambda: defaultdict(Count))
    wrong: list[dict[str, Any]] = field(default_factory=list)


def all_cases(lab: Lab, mutants: int) -> Iterator[Case]:
    """Every fixed case, and `mutants` random ones of each kind."""
    yield from archives.cases(mutants)
    yield from images.cases(mutants)
    yield from labels.cases(2 * mutants)
    yield from words.cases(lab, mutants)
    yield from weights.cases(lab, mutants)
    yield from files_of_a_lab.cases(lab, mutants)


def attack(lab: Lab, cases: list[Case], place: Path, seed: int) -> Report:
    """Run every case and judge it. Each is drawn from its own seed, so that one can be repeated."""
    forked.prepare(lab.root)
    report = Report()
    for number, case in enumerate(cases):
        folder = place / f"case-{number}"
        folder.mkdir(parents=True)
        _one(lab, case, folder, f"{seed}/{case.kind}/{case.name}", report)
        _remove(folder)
        if number % 100 == 99:
            wrong = sum(count.wrong for count in report.counts.values())
            sys.stderr.write(f"{number + 1} of {len(cases)} inputs, {wrong} wrong\n")
    return report


def _one(lab: Lab, case: Case, folder: Path, seed: str, report: Report) -> None:
    home = lab.copy(folder / "lab") if case.lab else lab
    arguments = _made(case, folder, seed)
    outcome = forked.run(arguments, folder, home.root)
    made = home.root / "datasets" / "hostile"
    found = judge.faults(case, outcome, kept=_kept(made), left=_left(home, folder))
    shutil.rmtree(made, ignore_errors=True)
    count = report.counts[case.kind]
    count.tried += 1
    count.wrong += bool(found)
    count.refused += outcome.exit == 2
    count.seconds = max(count.seconds, outcome.seconds)
    count.megabytes = max(count.megabytes, outcome.megabytes)
    if found:
        said = (outcome.err.strip() or outcome.out.strip())[-_SHOWN:]
        row = {"kind": case.kind, "case": case.name, "faults": found, "said": said}
        report.wrong.append(row)
        sys.stderr.write(json.dumps(row, ensure_ascii=True) + "\n")


def _made(case: Case, folder: Path, seed: str) -> list[str]:
    """Write the case's files in a process of their own: what that takes is not the product's."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            arguments = case.make(folder, random.Random(seed))
            (folder / "words.json").write_text(json.dumps(arguments), encoding="utf-8")
            code = 0
        except BaseException:  # noqa: BLE001 - a case that cannot be made ends the campaign below
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError(f"the case could not be made: {case.kind}, {case.name}")
    arguments: list[str] = json.loads((folder / "words.json").read_text(encoding="utf-8"))
    return arguments


def _kept(made: Path) -> int | None:
    summary = made / "summary.json"
    return json.loads(summary.read_text(encoding="utf-8"))["images"] if summary.exists() else None


def _left(lab: Lab, folder: Path) -> list[str]:
    """Things that lie where nothing may be after a command has ended."""
    canaries = [Path("/tmp/CANARY"), Path("/tmp/CANARY.png"), *folder.glob("CANARY*"),
                *folder.parent.glob("CANARY*"), *lab.root.glob("CANARY*")]  # fmt: skip
    found = [path for path in (*canaries, *lab.root.glob("datasets/.building-*")) if path.exists()]
    for path in found:
        _remove(path)
    return [f"left behind: {path.name}" for path in found]


def _remove(path: Path) -> None:
    """Also folders that are too deep for shutil, which calls itself for every level."""
    subprocess.run(["rm", "-rf", "--", path], check=True)
