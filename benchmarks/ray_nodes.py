"""A study on two computers of a Ray cluster, one of which dies in the middle; all on this machine.

    python benchmarks/ray_nodes.py [--epochs 3] [--keep DIR] [--json FILE]

Starts `ray start --head` without cores for runs and two more with a core and a folder of their own,
runs a study of eight rows (drawn micrographs at 64 px, YOLOv8n, one cut) there, kills one node with
all its processes (SIGKILL) while it trains, and the same study on this computer alone. Prints both
tables, what was told twice, and how long the loss took. Needs Ray: pip install -r
requirements-ray.txt.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from msip_core.data.synthetic import import_example  # noqa: E402
from msip_core.runs.events_log import EventLog  # noqa: E402
from msip_core.runs.executors import Executor, LocalExecutor  # noqa: E402
from msip_core.runs.far.executor import FarExecutor  # noqa: E402
from msip_core.runs.far.ray_cluster import RayCluster  # noqa: E402
from msip_core.runs.service import RunService  # noqa: E402
from msip_core.runs.state import RunState  # noqa: E402
from msip_core.runs.supervisor import Supervisor, Timing  # noqa: E402
from msip_core.studies import engine, library  # noqa: E402
from msip_core.studies.plan import StudyPlan, parse_plan  # noqa: E402
from msip_core.studies.table import read_measured  # noqa: E402
from msip_core.workspace import Workspace  # noqa: E402

METHODS = ("l1", "l2", "lamp", "bnscale", "fpgm", "taylor")
PATIENCE = 1500.0
_SLACK = 0.3  # seconds; less than an epoch
# A dead node is noticed in seconds, not in half a minute as Ray has it.
QUICK_TO_NOTICE = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "3",
}


@dataclass
class Nodes:
    """`ray start`, several times on this machine.

    Attributes:
        folder: each node keeps its data in one below it.
    """

    folder: Path
    address: str = ""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, names: tuple[str, ...] = ("one", "two")) -> Nodes:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        # Its sockets have long names, and a name of a socket must be short.
        self._ray = tempfile.mkdtemp(prefix="ray-")
        self.address = f"127.0.0.1:{port}"
        self._start("head", "--head", f"--port={port}", "--num-cpus=0", "--num-gpus=0",
                    "--include-dashboard=false", f"--temp-dir={self._ray}")  # fmt: skip
        for name in names:
            self._start(name, f"--address={self.address}", "--num-cpus=1", "--num-gpus=0")
        return self

    def _start(self, name: str, *arguments: str) -> None:
        own = self.folder / name
        own.mkdir(parents=True)
        with (own / "ray.txt").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [str(Path(sys.executable).with_name("ray")), "start", "--block",
                 "--object-store-memory=80000000", "--disable-usage-stats", *arguments],
                stdout=log, stderr=subprocess.STDOUT, cwd=own,
                env={**os.environ, **QUICK_TO_NOTICE, "PYTHONPATH": str(ROOT),
                     "OMP_NUM_THREADS": "1", "MSIP_NODE_FOLDER": str(own),
                     "RAY_USAGE_STATS_ENABLED": "0"},
                start_new_session=True,
            )  # fmt: skip
        # One after the other: on one machine they would take each other's sockets.
        _wait(lambda: b"Ray runtime started" in (own / "ray.txt").read_bytes(), name, 120)

    def kill(self, name: str) -> int:
        """SIGKILL for a node and all that it started, as when its power goes; how many."""
        process = self.processes.pop(name)
        try:
            found = [psutil.Process(process.pid)]
            found += found[0].children(recursive=True)
        except psutil.NoSuchProcess:
            found = []
        for one in found:
            try:
                one.kill()
            except psutil.NoSuchProcess:
                continue
        process.wait()
        return len(found)

    def node_of(self, run_id: str) -> str | None:
        """The node that has a run, by its folder."""
        for name in self.processes:
            if any((self.folder / name / "runs").glob(f"*/workspace/runs/{run_id}/worker.json")):
                return name
        return None

    def end(self) -> None:
        for name in list(self.processes):
            self.kill(name)
        shutil.rmtree(self._ray, ignore_errors=True)


def make_template(folder: Path) -> tuple[Workspace, str]:
    """A workspace with drawn micrographs and an untrained network; its id."""
    from msip_core.detector.build import build_model, register_model

    workspace = Workspace.open(folder)
    workspace.isolate_libraries()
    dataset = import_example(workspace, "drawn", images=24, size=64)
    model = build_model("yolov8n.yaml", dataset.classes, seed=0)
    card = register_model(
        workspace, model, name="small", kind="baseline", imgsz=64, dataset=dataset
    )
    return workspace, card.id


def make_plan(model: str, epochs: int) -> StudyPlan:
    """Eight rows beside the baseline."""
    return parse_plan(
        {
            "name": "two computers", "dataset": "drawn", "imgsz": 64, "batch": 8, "device": "cpu",
            "seeds": [0], "baseline": {"model": model}, "honest": ["more-epochs", "random"],
            "measure": {"latency_runs": 0, "resamples": 100},
            "budget": {
                "iterations": 1, "keep_macs": 0.6, "finetune": {"epochs": epochs},
                "calibration": {"batches": 1, "batch": 8, "micro_batch": 4},
                "repair": "recalibrate",
            },
            "rows": [{"key": m, "label": m, "settings": {"method": m}} for m in METHODS],
        }
    )  # fmt: skip


@contextmanager
def working(workspace: Workspace, executor: Executor) -> Iterator[None]:
    """A server's supervisor, which carries studies on."""
    timing = Timing(tick=0.2, periodic=0.5)
    supervisor = Supervisor(workspace, executor, timing, periodic=[engine.Watch()]).start()
    try:
        yield
    finally:
        supervisor.close()


def run_study(
    workspace: Workspace, plan: StudyPlan, executor: Executor, meanwhile: Callable[[str], bool]
) -> str:
    """Run the study to its end; `meanwhile` is called again and again until it says True."""
    study, service = library.create(workspace, plan).id, RunService(workspace)
    with working(workspace, executor):
        done, end = False, time.monotonic() + PATIENCE
        while not (now := engine.standing(service, study)).is_over:
            done = done or meanwhile(study)
            if time.monotonic() > end:
                raise SystemExit(f"not over after {PATIENCE:.0f} s: {engine.summary(now)}")
            time.sleep(0.1)
    if executor is not None and isinstance(executor, FarExecutor):
        for state in now.states:
            executor.exit_code(workspace.run_dir(state.run_id))
    return study


def table_of(workspace: Workspace, study: str) -> dict[str, dict[str, Any]]:
    """Row -> what does not depend on the time that it took."""
    service, found = RunService(workspace), {}
    for state in engine.standing(service, study).states:
        measured = read_measured(workspace, state.run_id)
        numbers = measured.numbers if measured else {}
        found[state.task.row] = {
            "state": state.row.state.value if state.row else "waiting",
            "map50": numbers.get("test", {}).get("map50"),
            "map50_95": numbers.get("test", {}).get("map50_95"),
            "macs": numbers.get("macs"),
            "params": numbers.get("params"),
            # To the last digit: accuracy alone may be 0 after so little training.
            "losses": _losses(workspace, state.run_id),
        }
    return found


def _losses(workspace: Workspace, run_id: str) -> list[Any]:
    """Of the last epoch in training, and of the final model on validation."""
    log = EventLog(workspace.run_dir(run_id))
    epoch, final = log.last("epoch"), log.last("final")
    return [epoch and epoch["losses"], final and final["metrics"]["loss"]]


def epochs_of(workspace: Workspace, run_id: str) -> list[tuple[int, str, int]]:
    """Every epoch that the history of a run tells, in its order."""
    events = EventLog(workspace.run_dir(run_id)).read()
    return [(e["iteration"], e["phase"], e["epoch"]) for e in events if e["kind"] == "epoch"]


class Blow:
    """Kills the node of the first run of the study that has just finished an epoch but not its
    last one, as soon as that epoch's state has come back.

    (An epoch is told just before its state is written: one that was told but not kept is broken,
    and done again, wherever a run is killed.)
    """

    def __init__(self, nodes: Nodes, workspace: Workspace, epochs: int) -> None:
        self._nodes, self._workspace, self._epochs = nodes, workspace, epochs
        self.run = self.node = ""
        self.told: list[tuple[int, str, int]] = []
        self.processes, self.when = 0, 0.0

    def __call__(self, study: str) -> bool:
        for folder in sorted(self._workspace.runs.glob(f"{study}-*")):
            log = EventLog(folder)
            epochs = epochs_of(self._workspace, folder.name)
            if not epochs or epochs[-1][2] >= self._epochs or not log.state().has_worker:
                continue
            told = (log.last("epoch") or {}).get("time", 0.0)
            if not any(file.stat().st_mtime > told - _SLACK for file in folder.rglob("state.*")):
                continue
            if (node := self._nodes.node_of(folder.name)) is None:
                continue
            self.processes, self.when = self._nodes.kill(node), time.time()
            self.run, self.node, self.told = folder.name, node, epochs
            return True
        return False


def prove(
    folder: Path,
    plan: Callable[[str], StudyPlan],
    template: tuple[Workspace, str],
    epochs: int,
    arguments: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Both studies, and what is to be said of them.

    Args:
        plan: for the id of the baseline's model.
        arguments: more of them for each worker.
    """
    alone, spread = Workspace.open(folder / "alone"), Workspace.open(folder / "spread")
    for workspace in (alone, spread):
        for part in ("datasets", "models"):
            shutil.copytree(template[0].root / part, workspace.root / part, dirs_exist_ok=True)
    asked = plan(template[1])
    seconds: dict[str, float] = {}
    nodes = Nodes(folder / "nodes").start()
    cluster = RayCluster(nodes.address, spread)
    blow = Blow(nodes, spread, epochs)
    try:
        executor = FarExecutor(cluster, spread, arguments=arguments, pace=0.3)
        _wait(lambda: len([n for n in cluster.nodes() if n.is_known]) == 3, "three nodes", 120)
        began = time.monotonic()
        study = run_study(spread, asked, executor, blow)
        seconds["spread"] = time.monotonic() - began
        left = cluster.names()
    finally:
        cluster.leave()
        nodes.end()
    began = time.monotonic()
    other = run_study(alone, asked, LocalExecutor(arguments), lambda _: True)
    seconds["alone"] = time.monotonic() - began
    return _report(alone, other, spread, study, blow) | {
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "keepers_left": list(left),
    }


def _report(
    alone: Workspace, other: str, spread: Workspace, study: str, blow: Blow
) -> dict[str, Any]:
    runs = [folder.name for folder in sorted(spread.runs.glob(f"{study}-*"))]
    twice = {
        run: sum(n - 1 for n in Counter(told).values())
        for run in runs
        if len(set(told := epochs_of(spread, run))) < len(told)
    }
    of_blow = EventLog(spread.run_dir(blow.run)).read() if blow.run else []
    after = epochs_of(spread, blow.run)[len(blow.told) :] if blow.run else []
    states = [event for event in of_blow if event["kind"] == "state"]
    starts = [event.get("node") for event in states if event["state"] == "running"]
    back = next((e["time"] for e in states if e.get("given_back")), None)
    lost = Counter(
        run
        for run in runs
        for event in EventLog(spread.run_dir(run)).read()
        if event.get("state") == RunState.INTERRUPTED.value
    )
    first, second = table_of(alone, other), table_of(spread, study)
    return {
        "alone": first,
        "spread": second,
        "same_table": first == second,
        "killed_node": blow.node,
        "processes_killed": blow.processes,
        "run_on_it": blow.run,
        "epochs_before": blow.told,
        "epochs_after": after,
        "computers_of_it": starts,
        "seconds_until_given_back": round(back - blow.when, 1) if back else None,
        "epochs_told_twice": twice,
        "interruptions": dict(lost),
        "computers": dict(Counter(str(EventLog(spread.run_dir(run)).node()) for run in runs)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3, help="of the fine-tuning")
    parser.add_argument("--keep", type=Path, help="work here and leave everything")
    parser.add_argument("--json", type=Path, help="write what was found here")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # one order of sums, so that equal means equal
    folder = options.keep or Path(tempfile.mkdtemp(prefix="two-computers-"))
    try:
        template = make_template(folder / "template")
        found = prove(folder, lambda m: make_plan(m, options.epochs), template, options.epochs)
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    tell(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def tell(found: dict[str, Any]) -> None:
    """For people."""
    print("| row | state | mAP50 alone | on two computers | loss alone | there | MACs |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row, one in found["alone"].items():
        other = found["spread"][row]
        print(
            f"| {row} | {other['state']} | {one['map50']} | {other['map50']} | "
            f"{one['losses'][1]} | {other['losses'][1]} | {other['macs']} |"
        )
    print(f"the same table: {'yes' if found['same_table'] else 'NO'}")
    print(
        f"node '{found['killed_node']}' was killed with {found['processes_killed']} processes "
        f"while it had {found['run_on_it']}, whose story told {found['epochs_before']}; the run "
        f"was given back after {found['seconds_until_given_back']} s and went on with "
        f"{found['epochs_after']}; it was on {found['computers_of_it']}"
    )
    print(f"epochs told twice: {found['epochs_told_twice'] or 'none'}")
    print(f"interruptions: {found['interruptions']}; keepers left: {found['keepers_left']}")
    print(f"runs on each computer: {found['computers']}; seconds: {found['seconds']}")


def _wait(condition: Callable[[], bool], what: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"did not come: {what}")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
