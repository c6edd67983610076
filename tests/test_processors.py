"""Threads are chosen from what of the processor is free, with made-up loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from msip_core import processors
from msip_core.processors import Processors, Sample, quota
from msip_core.runs.computers import _this_one


@pytest.mark.parametrize(
    ("found", "runs", "most", "threads"),
    [
        (Processors(8), 1, None, 8),
        (Processors(8), 3, None, 2),
        (Processors(8), 20, None, 1),
        (Processors(8), 1, 3, 3),
        (Processors(8, busy=5.2), 1, None, 3),
        (Processors(8, busy=30.0), 1, None, 1),
        (Processors(8, quota=2.5), 1, None, 2),
        (Processors(64, quota=2.0, busy=40.0), 1, None, 2),  # other containers, not ours
        (Processors(2, quota=0.5), 1, None, 1),
        (Processors(2, busy=0.3), 1, None, 2),
        (Processors(2, busy=1.0), 1, None, 1),
    ],
)
def test_a_run_takes_what_is_free_and_at_least_one_thread(
    found: Processors, runs: int, most: int | None, threads: int
) -> None:
    assert found.threads(most=most, runs=runs) == threads


def test_a_busy_computer_is_told_in_a_sentence_and_a_free_one_is_not() -> None:
    assert Processors(2, busy=0.2).sentence() is None
    assert Processors(2, quota=1.0).sentence() is None
    assert Processors(2, busy=1.8).sentence() == (
        "The computer is busy: other work takes 1.8 of its 2 processor cores, so a run would get "
        "1 thread instead of 2 and take longer."
    )


def _machine(
    monkeypatch: pytest.MonkeyPatch, *, spent: float, own: float, load: float, cores: int = 4
) -> Processors:
    """What is found where `spent` core-seconds pass in one second, `own` of them by us."""
    used, ours, clock = iter((100.0, 100.0 + spent)), iter((7.0, 7.0 + own)), iter((0.0, 1.0))
    monkeypatch.setattr(processors, "_used", lambda: next(used))
    monkeypatch.setattr(processors, "_own", lambda: next(ours))
    monkeypatch.setattr(processors.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(processors, "_load", lambda: load)
    monkeypatch.setattr(processors, "cores", lambda: cores)
    monkeypatch.setattr(processors, "quota", lambda: None)
    return Sample().look()


def test_cores_are_free_that_nobody_keeps_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    used, clock = iter((100.0, 100.14)), iter((0.0, 0.1))
    monkeypatch.setattr(processors, "_used", lambda: next(used))
    monkeypatch.setattr(processors, "cores", lambda: 2)
    monkeypatch.setattr(processors, "quota", lambda: None)
    monkeypatch.setattr(
        processors, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None)
    )
    assert _this_one([]).free_cores == 0.6


def test_our_own_work_is_not_taken_for_that_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _machine(monkeypatch, spent=2.5, own=1.0, load=9.0).busy == pytest.approx(1.5)


def test_neither_a_load_that_has_ended_nor_a_moments_work_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert _machine(monkeypatch, spent=0.1, own=0.0, load=4.0).busy == pytest.approx(0.1)
    assert _machine(monkeypatch, spent=4.0, own=0.0, load=0.2).busy == pytest.approx(0.2)


def test_where_all_cores_are_busy_those_that_wait_for_one_count_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crowded = _machine(monkeypatch, spent=4.0, own=0.2, load=9.2)
    assert (crowded.busy, crowded.wanted) == (pytest.approx(3.8), pytest.approx(9.0))
    assert crowded.slowdown == pytest.approx((1 + 9) / 4)  # one of ten programs on four cores
    free = _machine(monkeypatch, spent=1.0, own=0.0, load=9.2)  # a load that has ended
    assert (free.wanted, free.slowdown) == (pytest.approx(1.0), 1.0)
    # Two programs wanted both cores of two, and the one that measures took one of them itself.
    pushed = _machine(monkeypatch, spent=2.0, own=1.0, load=3.0, cores=2)
    assert (pushed.busy, pushed.wanted) == (pytest.approx(1.0), pytest.approx(2.0))
    assert pushed.slowdown == pytest.approx((1 + 2) / 2)


def test_the_work_of_runs_does_not_count_for_what_comes_after_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Worker:
        spent = iter((3.0, 5.0))

        def cpu_times(self) -> SimpleNamespace:
            return SimpleNamespace(user=next(self.spent), system=0.0)

    used, clock = iter((100.0, 103.0)), iter((0.0, 1.0))
    monkeypatch.setattr(processors, "_used", lambda: next(used))
    monkeypatch.setattr(processors, "_own", lambda: 0.0)
    monkeypatch.setattr(processors, "_workers", lambda: [Worker()])
    monkeypatch.setattr(processors.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(processors, "_load", lambda: 4.0)
    assert Sample(without_runs=True).look().busy == pytest.approx(1.0)


def test_workers_of_runs_are_known_by_their_command_line() -> None:
    code = "import sys; print('ready', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, "-m", "msip_core.runs.worker"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout
        process.stdout.readline()
        # It is a child of the tests, and children are left out already: so only its kind is asked.
        assert processors._is_worker(psutil.Process(process.pid))
        assert not processors._is_worker(psutil.Process())
        process.stdin.close()  # type: ignore[union-attr]


def test_only_the_cores_that_we_may_use_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    class Times(SimpleNamespace):
        def __iter__(self):
            return iter((self.user, self.system, self.idle, self.iowait, self.guest))

    times = [Times(user=n, system=1, idle=50, iowait=9, guest=0) for n in (10, 20, 40)]
    monkeypatch.setattr(processors.psutil, "cpu_times", lambda percpu: times)
    monkeypatch.setattr(processors, "_allowed", lambda: {0, 2})
    assert processors._used() == 52


def _group(root: Path, proc: Path, lines: str, **files: str) -> None:
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(lines)
    for name, text in files.items():
        file = root / name.replace("__", "/").replace("_DOT_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_a_containers_limit_counts_and_so_does_that_of_its_parents(tmp_path: Path) -> None:
    root, proc = tmp_path / "cgroup", tmp_path / "proc"
    _group(
        root,
        proc,
        "0::/lab/job\n",
        lab__cpu_DOT_max="150000 100000\n",
        lab__job__cpu_DOT_max="max 100000\n",
    )
    assert quota(root, proc) == 1.5


def test_the_older_kind_of_groups_is_read_too(tmp_path: Path) -> None:
    root, proc = tmp_path / "cgroup", tmp_path / "proc"
    _group(
        root,
        proc,
        "9:memory:/x\n4:cpu,cpuacct:/docker/1f\n0::/\n",
        **{
            "cpu,cpuacct__cpu_DOT_cfs_quota_us": "300000\n",
            "cpu,cpuacct__cpu_DOT_cfs_period_us": "100000\n",
        },
    )
    assert quota(root, proc) == 3.0


def test_without_groups_or_limits_there_is_no_quota(tmp_path: Path) -> None:
    assert quota(tmp_path, tmp_path) is None
    _group(tmp_path / "cgroup", tmp_path / "proc", "0::/\n", cpu_DOT_max="max 100000\n")
    assert quota(tmp_path / "cgroup", tmp_path / "proc") is None
