"""What of this computer's processors is free: how many threads a run gets.

Threads of one operation wait for each other. Where another program holds a core, the thread that
should run there comes late and all others wait: two threads on a busy computer of two cores train
ten times slower than one. So a run takes

    threads = max(1, min(most, quota, cores / runs, cores - busy))

with `runs` those of ours that share the processor, and `busy` the cores that others keep busy: the
smaller of the load average of the last minute (which still counts what has just ended) and of what
is measured at the start (which may have met a moment's work). Threads that wait for others sleep
(`PASSIVE`); spinning, they would take the core from the one that is waited for.
"""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from msip_core.messages import msg

# Read by OpenMP (GNU's and Intel's) once, when torch is imported.
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
_CGROUPS, _PROC = Path("/sys/fs/cgroup"), Path("/proc")
# Modules of ours that work on runs, as their command lines name them.
_WORKERS = frozenset({"msip_core.runs.worker", "msip_core.runs.spare_process"})
EFFICIENCY = 0.8  # of several threads in a convolution: they wait for each other
_LITTLE = 0.5  # of a core: changes the number of threads nowhere
_SAMPLE = 0.1  # seconds that are measured at least: ten ticks of the system's clock


@dataclass(frozen=True, slots=True)
class Processors:
    """What there is, and what others take of it; all in cores.

    Attributes:
        cores: that this process may use, without their second threads.
        quota: processor time that a container is given, None without a limit.
        busy: kept busy by others, by our other runs too.
        wanted: by others at once. Where all cores are busy, more than `busy`: they wait for each
            other, and a run would wait with them.
    """

    cores: int
    quota: float | None = None
    busy: float = 0.0
    wanted: float = 0.0

    @property
    def usable(self) -> int:
        """Cores that this process may fill if nobody else is there; at least one."""
        return self.cores if self.quota is None else max(1, min(self.cores, int(self.quota)))

    def threads(self, *, most: int | None = None, runs: int = 1) -> int:
        """How many threads a run takes: see above.

        Args:
            most: an engineer's limit.
            runs: of ours that share the processor, this one included.
        """
        free = math.floor(self.cores - self.busy + 0.5)
        limits = [self.usable, self.usable // max(1, runs), free]
        return max(1, min([*limits, most] if most else limits))

    @property
    def slowdown(self) -> float:
        """How many times longer a run takes beside what others do, at least 1: each that wants a
        core gets the same share of them."""
        return max(1.0, (self.threads() + max(self.busy, self.wanted)) / self.cores)

    @property
    def pace(self) -> float:
        """What a run gets done, in threads that would each have a core to themselves."""
        threads = self.threads()
        return threads * (EFFICIENCY if threads > 1 else 1.0) / self.slowdown

    def sentence(self) -> str | None:
        """What a person should know before a long run: None while enough is free."""
        threads = self.threads()
        if threads >= self.usable:
            return None
        facts = {
            "busy": min(self.busy, self.cores),
            "cores": self.cores,
            "threads": threads,
            "usable": self.usable,
        }
        if threads == 1:
            return msg(
                "The computer is busy: other work takes {busy:.1f} of its {cores} processor cores, "
                "so a run would get {threads} thread instead of {usable} and take longer.",
                **facts,
            )
        return msg(
            "The computer is busy: other work takes {busy:.1f} of its {cores} processor cores, so "
            "a run would get {threads} threads instead of {usable} and take longer.",
            **facts,
        )


class Sample:
    """How busy the computer is from now until `look`, without this process and its children.

    Args:
        without_runs: leave out the workers of runs too, for whoever comes after them.
    """

    def __init__(self, *, without_runs: bool = False) -> None:
        self._workers = _workers() if without_runs else []
        self._began, self._times, self._own = time.monotonic(), _used(), self._ours()

    def look(self) -> Processors:
        """What was found; waits until enough time has passed to tell, unless little is done
        anyway."""
        load = _load()
        seconds = time.monotonic() - self._began
        if seconds < _SAMPLE and load < _LITTLE:
            return Processors(cores(), quota(), load)
        if seconds < _SAMPLE:
            time.sleep(_SAMPLE - seconds)
            seconds = time.monotonic() - self._began
        ours = max(0.0, self._ours() - self._own) / seconds
        used = (_used() - self._times) / seconds - ours
        busy = min(max(0.0, used), load)
        # What this process takes itself counts too: it may be what keeps others waiting.
        full = busy + ours > cores() - _LITTLE and math.isfinite(load)
        return Processors(cores(), quota(), busy, max(busy, load - ours) if full else busy)

    def _ours(self) -> float:
        return _own() + _spent(self._workers)


def usable_cores() -> int:
    """Cores that this process may fill, if nobody else is there."""
    return Processors(cores(), quota()).usable


def free_cores() -> float:
    """Cores that this process may fill and that nobody keeps busy now, itself included."""
    began, before = time.monotonic(), _used()
    time.sleep(_SAMPLE)
    busy = (_used() - before) / (time.monotonic() - began)
    return max(0.0, min(usable_cores(), cores() - busy))


def cores() -> int:
    """Processor cores that this process may use, without their second threads."""
    found = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    allowed = _allowed()
    return found if allowed is None else min(found, len(allowed))


def quota(root: Path | None = None, proc: Path | None = None) -> float | None:
    """Processor time, in cores, that a container (control group) gives this process and its
    parents; None without a limit."""
    root, proc = root or _CGROUPS, proc or _PROC
    try:
        lines = (proc / "self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None  # no Linux
    limits = []
    for line in lines:
        _, controllers, place = line.split(":", 2)
        names = controllers.split(",")
        # Version 2 has one tree for all; version 1 one for each controller. Inside a container the
        # path may be the one outside: then the limit stands at the root.
        if not controllers or "cpu" in names:
            tree = root / controllers if controllers else root
            tree = tree if tree.is_dir() else root / "cpu"
            limits += [_limit(folder) for folder in _upwards(tree, place)]
    return min((limit for limit in limits if limit is not None), default=None)


def _upwards(tree: Path, place: str) -> list[Path]:
    folder = tree / place.lstrip("/")
    parents = [folder, *folder.parents]
    return [one for one in parents if one == tree or tree in one.parents]


def _limit(folder: Path) -> float | None:
    """Cores that one group is given, by either version's files."""
    try:
        quota_, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        return None if quota_ == "max" else int(quota_) / int(period)
    except (OSError, ValueError):
        pass  # not of version 2, or no limit can be set here
    try:
        given = int((folder / "cpu.cfs_quota_us").read_text(encoding="utf-8"))
        return None if given < 0 else given / int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _allowed() -> set[int] | None:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return None if affinity is None else set(affinity(0))


def _used() -> float:
    """Processor seconds that were spent so far, by all, on the cores that we may use."""
    allowed, total = _allowed(), 0.0
    for number, times in enumerate(psutil.cpu_times(percpu=True)):
        if allowed is None or number in allowed:
            total += sum(times) - times.idle - getattr(times, "iowait", 0.0)
            # Linux counts the time of guests twice.
            total -= getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return total


def _own() -> float:
    """Processor seconds of this process and of its children that are alive."""
    return time.process_time() + _spent(psutil.Process().children(recursive=True))


def _spent(processes: Sequence[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        with suppress(psutil.Error):  # it ended meanwhile
            spent = process.cpu_times()
            total += spent.user + spent.system
    return total


def _workers() -> list[psutil.Process]:
    """Processes that work on runs, of any workspace, and what they have started; without those
    that `_own` counts."""
    ours = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        if _is_worker(process):
            with suppress(psutil.Error):  # it ended meanwhile
                found |= {p.pid: p for p in (process, *process.children(recursive=True))}
    return [process for pid, process in found.items() if pid not in ours]


def _is_worker(process: psutil.Process) -> bool:
    try:
        return not _WORKERS.isdisjoint(process.cmdline())
    except psutil.Error:
        return False


def processor_name() -> str:
    """What the system calls the processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _load() -> float:
    """Programs that wanted a core, averaged over the last minute; infinite where unknown."""
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return math.inf
