"""The table of a study as far as it has come: read from the runs' folders, paired.

Differences are corrected over the rows of the table (Holm), for each measure by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from msip_core.arrays import read_arrays
from msip_core.documents import damaged, read_record
from msip_core.intervals import mean_defined
from msip_core.measures import DRAWS_FILE, MEASURE_FILE, MEASURE_FOLDER
from msip_core.messages import Message, mark, msg
from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from msip_core.studies.engine import Standing, TaskState, standing
from msip_core.studies.library import plan_of
from msip_core.studies.measured import Measurement
from msip_core.studies.plan import BASELINE, HONEST, StudyPlan
from msip_core.studies.published import PUBLISHED, Published
from msip_core.studies.statistics import (
    Floats,
    Interval,
    Sample,
    difference,
    holm,
    mean_over_seeds,
    ratio_of_medians,
)
from msip_core.studies.tasks import labels
from msip_core.ways import Way
from msip_core.workspace import Workspace

Json = dict[str, Any]
MAIN = ("msip", "dynamic")  # the row that the others are compared with: the first of these


@dataclass(frozen=True, slots=True)
class Measured:
    """What one finished run measured.

    Attributes:
        numbers: measure.json.
        draws: resampled (mAP50, mAP50-95) of each evaluation: (resamples, 2).
        seed: of the training; None where all rows share the one model (baseline, its int8 twin).
    """

    numbers: Json
    draws: Mapping[str, Floats]
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table. What was not measured (yet) is None.

    Attributes:
        seeds: runs that are done; `asked` were planned.
        reason: why runs are missing, one sentence, or "".
        macs_ratio: share of the baseline's MACs.
        map50, map50_95: mean over seeds, interval over seeds and images.
        spread: lowest and highest mAP50 of the seeds.
        ms: milliseconds per image, median, mean over seeds; speedup: the baseline's, measured in
            turn with it, over that.
        speedup_interval: over seeds and timed rounds; None where the rounds were not kept.
        change: mAP50 minus the baseline's, paired over images.
        against_main, against_main_95: mAP50 and mAP50-95 of MSIP minus this row's, paired over
            seeds and images.
        published: what the paper prints for this row.
    """

    key: str
    label: str
    differs: str
    seeds: int
    asked: int
    reason: str
    macs: float | None = None
    macs_ratio: float | None = None
    params: float | None = None
    size_mb: float | None = None
    map50: Interval | None = None
    map50_95: Interval | None = None
    spread: tuple[float, float] | None = None
    ms: float | None = None
    speedup: float | None = None
    speedup_interval: Interval | None = None
    change: Interval | None = None
    against_main: Interval | None = None
    against_main_95: Interval | None = None
    published: Published | None = None

    @property
    def is_honest(self) -> bool:
        """One of the rows that published tables leave out."""
        return self.key in HONEST


@dataclass(frozen=True, slots=True)
class StudyTable:
    """All rows, and what they say.

    Attributes:
        main: key of the row that the others are compared with, None in a table without it.
        test_images: on how many images everything was measured.
        coco_gap: largest difference of mAP50 between the two programs, None before any is known.
        test_groups: how many wells, fields or series those images come from; None where the runs
            were measured before that was kept, and images were resampled one by one.
        way: in which milliseconds were measured (int8: the same in its own numbers), None before
            any were.
    """

    plan: StudyPlan
    lines: tuple[Line, ...]
    standing: Standing
    main: str | None
    test_images: int | None
    coco_gap: float | None
    test_groups: int | None = None
    way: Way | None = None

    def line(self, key: str) -> Line:
        """One row by its key."""
        return next(line for line in self.lines if line.key == key)


def read_table(workspace: Workspace, study_id: str, now: Standing | None = None) -> StudyTable:
    """The table as it is now; rows that are not done have their reason in place of numbers.

    Args:
        now: the state of its runs, where the caller has just read it.
    """
    plan = plan_of(workspace, study_id)
    now = now or standing(RunService(workspace), study_id)
    done = measured_rows(workspace, now)
    main = next((key for key in MAIN if any(row.key == key for row in plan.rows)), None)
    lines = _corrected(
        [
            _line(plan, key, [s for s in now.states if s.task.row == key], done, main)
            for key in labels(plan)
        ]
    )
    known = [measured for runs in done.values() for measured in runs]
    gaps = [
        abs(m.numbers["coco"]["map50"] - m.numbers["test"]["map50"])
        for m in known
        if m.numbers["coco"]
    ]
    return StudyTable(
        plan,
        lines,
        now,
        main,
        test_images=known[0].numbers["test"]["images"] if known else None,
        coco_gap=max(gaps) if gaps else None,
        test_groups=known[0].numbers["test"].get("groups") if known else None,
        way=next((way for one in known if (way := _way(one.numbers))), None),
    )


def _corrected(lines: Sequence[Line]) -> tuple[Line, ...]:
    """With Holm's correction over the rows, for each comparison by itself."""
    found = list(lines)
    for name in ("change", "against_main", "against_main_95"):
        corrected = holm([getattr(line, name) for line in found])
        found = [_with(line, **{name: gap}) for line, gap in zip(found, corrected)]
    return tuple(found)


def read_measured(workspace: Workspace, run_id: str) -> Measured | None:
    """What a run measured; None before that."""
    path = workspace.run_dir(run_id) / MEASURE_FOLDER / MEASURE_FILE
    return _read(path, path.stat().st_mtime_ns) if path.is_file() else None


@lru_cache(maxsize=512)
def _read(path: Path, changed: int) -> Measured:
    # `changed` makes a file that was written again a new entry.
    found, file = read_record(path, Measurement), path.with_name(DRAWS_FILE)
    if found is None:
        raise damaged(path)
    draws = read_arrays(file) if file.is_file() else {}
    parts = {f"{kind} {name}" for kind, where in _KINDS.items() for name in getattr(found, where)}
    shape = (len(draws.get("test", ())), 2)
    if {"test", *parts} != set(draws) or any(one.shape != shape for one in draws.values()):
        raise damaged(file)
    return Measured(found.model_dump(), draws)


def measured_rows(workspace: Workspace, now: Standing) -> dict[str, list[Measured]]:
    """Row key -> what its finished runs measured, seed by seed.

    Runs whose resamples drew other units (images in place of groups, before groups were kept) than
    the baseline's, or not as often, would be paired with the wrong images: they are left out.
    """
    rows: dict[str, list[Measured]] = {}
    for state in now.states:
        if state.row is None or state.row.state is not RunState.COMPLETED:
            continue
        if measured := read_measured(workspace, state.run_id):
            shared = state.task.row in _ONE_MODEL
            one = measured if shared else replace(measured, seed=state.task.seed)
            rows.setdefault(state.task.row, []).append(one)
    units = {row: [_unit(one) for one in runs] for row, runs in rows.items()}
    common = units.get(BASELINE, next(iter(units.values()), [None]))[0]
    kept = {row: [o for o in runs if _unit(o) == common] for row, runs in rows.items()}
    return {row: runs for row, runs in kept.items() if runs}


_ONE_MODEL = (BASELINE, "int8")  # measured once, whatever the seeds


def _unit(measured: Measured) -> tuple[int | None, int]:
    """How many groups its resamples drew from (None: images), and how often."""
    return measured.numbers["test"]["groups"], len(measured.draws["test"])


def sample(runs: Sequence[Measured], part: str = "test", column: int = 0) -> Sample:
    """mAP50 (column 0) or mAP50-95 (1) of one evaluation: every training, with resamples."""
    name = ("map50", "map50_95")[column]
    found = [_numbers_of(m.numbers, part) for m in runs]
    values = [float(numbers[name]) for numbers in found]
    draws = [m.draws[part][:, column] for m in runs]
    return mean_over_seeds(values, draws, seeds_of(runs), found[0].get("groups"))


def seeds_of(runs: Sequence[Measured]) -> list[int] | None:
    """The seed of each training; None where there is one model that all rows share."""
    known = [run.seed for run in runs if run.seed is not None]
    return known if len(known) == len(runs) else None


def _numbers_of(numbers: Json, part: str) -> Json:
    kind, _, name = part.partition(" ")
    found: Json = numbers["test"] if kind == "test" else numbers[_KINDS[kind]][name]
    return found


_KINDS = {"dataset": "datasets", "noise": "noise"}


def _line(
    plan: StudyPlan,
    key: str,
    states: Sequence[TaskState],
    done: Mapping[str, list[Measured]],
    main: str | None,
) -> Line:
    runs, label = done.get(key, []), labels(plan)[key]
    differs = next((row.differs for row in plan.rows if row.key == key), "")
    if key == "smaller-model":
        differs = plan.smaller_differs
    reason = "" if len(runs) == len(states) else _reason(states)
    empty = Line(key, label, differs, len(runs), len(states), reason)
    printed = PUBLISHED.get(plan.published, {}).get(key)
    if not runs:
        return _with(empty, published=printed)
    whole = done.get(BASELINE)
    here, numbers = sample(runs), [m.numbers for m in runs]
    single = [float(n["test"]["map50"]) for n in numbers]
    macs = float(np.mean([n["macs"] for n in numbers]))
    return _with(
        empty,
        macs=macs,
        macs_ratio=macs / whole[0].numbers["macs"] if whole else None,
        params=float(np.mean([n["params"] for n in numbers])),
        size_mb=float(np.mean([n["size_mb"] for n in numbers])),
        map50=here.interval,
        map50_95=sample(runs, column=1).interval,
        spread=(min(single), max(single)),
        ms=mean_defined([_ms(n, "model") for n in numbers]),
        speedup=mean_defined([_speedup(n) for n in numbers]),
        speedup_interval=_timed(runs),
        change=difference(sample(whole), here) if whole and key != BASELINE else None,
        against_main=_against(done, main, key, 0),
        against_main_95=_against(done, main, key, 1),
        published=printed,
    )


def _against(
    done: Mapping[str, list[Measured]], main: str | None, key: str, column: int
) -> Interval | None:
    if main is None or main not in done or key in (main, BASELINE):
        return None
    this, that = sample(done[key], column=column), sample(done[main], column=column)
    if this.seeds is not None and that.seeds is not None and not {*this.seeds} & {*that.seeds}:
        return None  # no seed is done in both yet
    return difference(this, that)


def _with(line: Line, **values: Any) -> Line:
    return replace(line, **values)


def _reason(states: Sequence[TaskState]) -> str:
    """What the missing runs of a row are doing, or why they failed."""
    for state in states:
        row = state.row
        if row and row.state in _LOST:
            return Message(_LOST[row.state], {"why": row.error or msg("by hand")})
    for state in states:
        if state.row and state.row.state is not RunState.COMPLETED:
            return state.row.state.value
    if any(state.row for state in states):
        return msg("measured by an earlier version, whose resamples do not pair with these")
    return msg("not started")


_LOST = {
    RunState.FAILED: mark("failed: {why}"),
    RunState.INTERRUPTED: mark("interrupted: {why}"),
    RunState.CANCELLED: mark("cancelled: {why}"),
}


def _way(numbers: Json) -> Way | None:
    timed = (numbers.get("latency") or {}).get("model")
    way = Way.of(timed) if timed else None
    return None if way is None or way.precision == "int8" else way


def _ms(numbers: Json, side: str) -> float | None:
    timed = (numbers.get("latency") or {}).get(side)
    return float(timed["median_ms"]) if timed else None


def _speedup(numbers: Json) -> float | None:
    own, other = _ms(numbers, "model"), _ms(numbers, "beside")
    return other / own if own and other else None


def _timed(runs: Sequence[Measured]) -> Interval | None:
    """The speed-up over seeds and timed rounds, which both models went through in turn."""
    values, draws = [], []
    for place, run in enumerate(runs):
        timed = run.numbers.get("latency") or {}
        own, other = ((timed.get(side) or {}).get("rounds") for side in ("model", "beside"))
        if not own or not other or len(own) != len(other):
            return None
        values.append(float(np.median(other) / np.median(own)))
        draws.append(ratio_of_medians(other, own, seed=place))
    return mean_over_seeds(values, draws).interval
