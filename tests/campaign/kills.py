"""Workers, servers and commands killed at random; every run must end as an unbroken one.

The unbroken run has the same seed and one thread, so that equal means equal bit for bit.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from msip_core.config import PruneConfig, parse_run_config
from msip_core.runs.events_log import EventLog
from msip_core.runs.processes import ProcessIdentity
from msip_core.runs.service import RunService
from msip_core.runs.state import Action, RunState
from msip_core.workspace import Workspace
from tests.campaign.lab import Lab
from tests.fresh import ROOT

_PATIENCE = 120.0  # seconds until a run that does nothing counts as stuck
_SETTLE = 40.0  # seconds until a death must be noticed
_ENDED = (RunState.COMPLETED, RunState.FAILED)
# What is killed; stopped means held for three seconds and let go, which must harm nothing.
ACTS = ("worker", "worker", "group", "server", "both", "both, then a terminal", "at the start",
        "worker, then server", "worker stopped", "server stopped")  # fmt: skip


@dataclass(slots=True)
class Kills:
    """What a campaign of kills found."""

    kills: dict[str, int] = field(default_factory=dict)
    runs: int = 0
    completed: int = 0
    lost: list[str] = field(default_factory=list)  # a run that does not equal the unbroken one
    stuck: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)  # a state that is not so

    @property
    def total(self) -> int:
        return sum(self.kills.values())


def kill_at_random(
    lab: Lab, place: Path, count: int, each: int, seed: int, minutes: float
) -> Kills:
    """`count` kills, `each` per run, in a copy of the lab; no new run begins after `minutes`."""
    end = time.monotonic() + 60 * minutes
    found = Kills()
    home = lab.copy(place / "kills")
    text = (lab.run / "config.json").read_text(encoding="utf-8")
    config = parse_run_config(json.loads(text))
    assert isinstance(config, PruneConfig)
    chance = random.Random(seed)
    while found.total < count and time.monotonic() < end:
        left = min(each, count - found.total)
        _Run(home, lab, config, chance, found).go(left)
        sys.stderr.write(f"{found.total} of {count} kills, {found.runs} runs\n")
    return found


class _Run:
    """One run that is killed again and again."""

    def __init__(
        self, home: Lab, unbroken: Lab, config: PruneConfig, chance: random.Random, found: Kills
    ) -> None:
        self.service = RunService(Workspace.open(home.root))
        self.unbroken, self.chance, self.found, self.home = unbroken, chance, found, home
        self.id = self.service.submit(config)
        self.folder = self.service.run_dir(self.id)
        self.server = self._serve()

    def go(self, kills: int) -> None:
        self.found.runs += 1
        try:
            for _ in range(kills):
                if not self._wait(RunState.RUNNING, *_ENDED) or self._state() in _ENDED:
                    break
                self._kill(self.chance.choice(ACTS))
            self._end()
        finally:
            self.server.kill()
            self.server.wait()
        # A spare is still loading its libraries, and sees then that nobody is there any more.
        if not _until(lambda: not _processes_in(self.home.root), _SETTLE):
            left = _processes_in(self.home.root)
            self.found.stuck.append(f"{self.id}: left behind by a killed server: {left}")

    def _end(self) -> None:
        end = time.monotonic() + 4 * _PATIENCE
        while self._state() not in _ENDED and time.monotonic() < end:
            self._go_on()
            time.sleep(0.2)
        if self._state() is not RunState.COMPLETED:
            reason = self.service.get(self.id).error
            self.found.stuck.append(f"{self.id} ended as {self._state()}: {reason}")
            return
        self.found.completed += 1
        self.found.lost += [f"{self.id}: {what}" for what in self._differences()]

    # --- killing ----------------------------------------------------------------------------

    def _kill(self, act: str) -> None:
        if act != "at the start":
            time.sleep(self.chance.uniform(0.3, 6.0))
        if self._state() is not RunState.RUNNING:
            return
        worker = ProcessIdentity.read(self.folder / "worker.json")
        if worker is None or not worker.is_alive():
            return
        self.found.kills[act] = self.found.kills.get(act, 0) + 1
        {
            "worker": self._kill_worker,
            "at the start": self._kill_worker,
            "group": self._kill_group,
            "server": self._kill_server,
            "both": self._kill_both,
            "both, then a terminal": self._go_on_from_a_terminal,
            "worker, then server": self._kill_one_after_the_other,
            "worker stopped": self._hold_worker,
            "server stopped": self._hold_server,
        }[act](worker)
        self._go_on()

    def _kill_worker(self, worker: ProcessIdentity) -> None:
        _signal(worker.pid, signal.SIGKILL)
        self._settled("worker")

    def _kill_group(self, worker: ProcessIdentity) -> None:
        try:
            os.killpg(worker.pid, signal.SIGKILL)
        except ProcessLookupError:
            _signal(worker.pid, signal.SIGKILL)  # it leads no group of its own
        self._settled("group")

    def _kill_server(self, worker: ProcessIdentity) -> None:
        self.server.kill()
        self.server.wait()
        time.sleep(self.chance.random())
        self.server = self._serve()
        time.sleep(2.0)
        now = ProcessIdentity.read(self.folder / "worker.json")
        if self._state() is RunState.RUNNING and now != worker:
            self.found.wrong.append(f"{self.id}: the new server did not adopt the worker")

    def _kill_both(self, worker: ProcessIdentity) -> None:
        self._power_cut(worker)
        # Nobody supervises now: who looks must not be told that it runs.
        if self.service.get(self.id).state is RunState.RUNNING:
            self.found.wrong.append(f"{self.id}: shown as running after a power cut")
        self.server = self._serve()
        self._settled("both")

    def _go_on_from_a_terminal(self, worker: ProcessIdentity) -> None:
        self._power_cut(worker)
        words = [sys.executable, "-m", "msip_core", "runs", "resume", self.id, "--detach",
                 "--workspace", str(self.home.root)]  # fmt: skip
        done = subprocess.run(words, cwd=ROOT, env=_env(), capture_output=True, text=True,
                              timeout=_PATIENCE, check=False)  # fmt: skip
        if done.returncode and self._state() is not RunState.COMPLETED:
            self.found.wrong.append(f"{self.id}: resume after a power cut: {done.stderr.strip()}")
        self.server = self._serve()

    def _power_cut(self, worker: ProcessIdentity) -> None:
        self.server.kill()
        self.server.wait()
        _signal(worker.pid, signal.SIGKILL)
        time.sleep(0.2)

    def _kill_one_after_the_other(self, worker: ProcessIdentity) -> None:
        _signal(worker.pid, signal.SIGKILL)
        time.sleep(self.chance.random())
        self.server.kill()
        self.server.wait()
        self.server = self._serve()
        self._settled("worker, then server")

    def _hold_worker(self, worker: ProcessIdentity) -> None:
        _signal(worker.pid, signal.SIGSTOP)
        time.sleep(3.0)
        _signal(worker.pid, signal.SIGCONT)

    def _hold_server(self, worker: ProcessIdentity) -> None:
        self.server.send_signal(signal.SIGSTOP)
        time.sleep(3.0)
        self.server.send_signal(signal.SIGCONT)

    # --- watching ---------------------------------------------------------------------------

    def _serve(self) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "tests.runs.lab_server", str(self.home.root)]
        return subprocess.Popen(words, cwd=ROOT, env=_env(), stderr=subprocess.DEVNULL)

    def _state(self) -> RunState:
        return EventLog(self.folder).state()

    def _settled(self, act: str) -> None:
        if not _until(lambda: self._state() in (RunState.INTERRUPTED, *_ENDED), _SETTLE):
            self.found.stuck.append(f"{self.id} is {self._state()} {_SETTLE:.0f} s after: {act}")
        elif (shown := self.service.get(self.id).state) is not self._state():
            self.found.wrong.append(f"{self.id}: the index says {shown}, the log {self._state()}")

    def _go_on(self) -> None:
        if self._state() is RunState.INTERRUPTED:
            self.service.act(self.id, Action.RESUME)

    def _wait(self, *states: RunState) -> bool:
        if _until(lambda: self._state() in states, _PATIENCE):
            return True
        self.found.stuck.append(f"{self.id} is {self._state()} after {_PATIENCE:.0f} s")
        return False

    # --- comparing --------------------------------------------------------------------------

    def _differences(self) -> list[str]:
        """Where this run is not the unbroken one: records, order of the history, weights."""
        reference = RunService(self.unbroken.workspace)
        other = self.unbroken.run.name
        ours, theirs = _records(self.service, self.id), _records(reference, other)
        found = [f"{part} differ" for part in ours if ours[part] != theirs[part]]
        numbers = [event["seq"] for event in EventLog(self.folder).read()]
        if numbers != list(range(1, len(numbers) + 1)):
            found.append("events are missing or twice")
        finals = [self.service.final(self.id), reference.final(other)]
        homes = [self.home, self.unbroken]
        states = [_weights(h, f.model_id) for h, f in zip(homes, finals, strict=True) if f]
        if (
            len(states) != 2
            or states[0].keys() != states[1].keys()
            or not all(value.equal(states[1][name]) for name, value in states[0].items())
        ):
            found.append("weights differ")
        return found


def _records(service: RunService, run_id: str) -> dict[str, Any]:
    """What a run says of itself, without its seconds and milliseconds."""
    untold = {"seconds", "latency_ms"}
    return {
        "iterations": [r.model_dump(exclude=untold) for r in service.iterations(run_id)],
        "epochs": [r.model_dump(exclude=untold) for r in service.epochs(run_id)],
    }


def _weights(lab: Lab, model_id: str) -> dict[str, Any]:
    from msip_core.detector.checkpoints import load_model

    return dict(load_model(lab.root / "models" / model_id / "model.pt").state_dict())


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it ended by itself a moment before


def _processes_in(root: Path) -> list[str]:
    """Command lines of the living processes that were started for this workspace."""
    lines = [" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(root) in line]


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def _env() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}
