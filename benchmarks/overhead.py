"""What a run takes beside its stages: starting, checking, ending. On any device.

    python benchmarks/overhead.py [--device cuda:0] [--beside CHECKOUT] [--rounds 3]

A tiny network on drawn micrographs, so that almost all of the clock is what this is about. Each
round does, in turn for this program and for another checkout of it (`git worktree add ../before
COMMIT`), each in a workspace of its own:

    train   the verb, 1 epoch          wall - (training + testing)
    prune   the verb, 2 iterations     wall - stages
    queue   a server, three runs       (wall - stages of all) / 3, from the first order on
    help    `train --help`             wall: what the command line needs before anything
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Stages that nobody asked for.
BESIDE = ("preparing", "saving and checking", "measuring for the study")
SERVER = """
import inspect, sys, time
from msip_core.runs.service import RunService
from msip_core.runs.supervisor import Supervisor
from msip_core.config import PruneConfig, TrainingRecipe, CalibrationConfig
from msip_core.workspace import Workspace
workspace, device = Workspace.open(sys.argv[1]), sys.argv[2]
workspace.isolate_libraries()
known = inspect.signature(Supervisor).parameters
supervisor = Supervisor(workspace, **({"keeps_ready": True} if "keeps_ready" in known else {}))
supervisor.start()
time.sleep(float(sys.argv[3]))  # a server that was opened some time ago
config = PruneConfig(
    dataset="drawn", model="baseline", imgsz=64, batch=4, device=device, iterations=1,
    keep_macs=0.7, finetune=TrainingRecipe(epochs=1), max_map50_drop=None, repair="recalibrate",
    calibration=CalibrationConfig(batches=1, batch=4, micro_batch=4),
)
service = RunService(workspace)
began = time.time()
runs = [service.submit(config) for _ in range(3)]
while not all(service.get(run).state.is_finished for run in runs):
    time.sleep(0.05)
print(time.time() - began, *runs)
supervisor.close()
"""


def main() -> None:
    options = _options()
    programs = {"here": ROOT, **({"beside": options.beside.resolve()} if options.beside else {})}
    found: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        labs = {name: Lab(path, Path(folder) / name, options) for name, path in programs.items()}
        for lab in labs.values():
            lab.prepare()
        for _ in range(options.rounds):
            for what in options.parts:
                for name, lab in labs.items():
                    seconds = PARTS[what](lab)
                    found.setdefault((what, name), []).append(seconds)
                    load = os.getloadavg()[0]
                    print(f"{what:6} {name:7} {seconds:6.1f} s  (load {load:.1f})", flush=True)
            _print(found, list(programs))
            if options.out:
                values = [{"part": p, "program": n, "seconds": v} for (p, n), v in found.items()]
                options.out.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


class Lab:
    """One checkout of the program, with a workspace."""

    def __init__(self, program: Path, workspace: Path, options: argparse.Namespace) -> None:
        self.program, self.workspace, self.options = program, workspace, options

    def prepare(self) -> None:
        """Drawn micrographs and an untrained narrow network."""
        self.python(
            "import sys\nfrom msip_core.workspace import Workspace\n"
            "workspace = Workspace.open(sys.argv[1])\nworkspace.isolate_libraries()\n"
            "from msip_core.data.synthetic import import_example\n"
            "from msip_core.detector.build import build_model, register_model\n"
            "data = import_example(workspace, 'drawn', images=24, size=64)\n"
            "register_model(workspace, build_model('yolov8p.yaml', data.classes), name='baseline',"
            " kind='baseline', imgsz=64, model_id='baseline')"
        )

    def python(self, code: str, *words: str) -> str:
        return self._run("-c", code, str(self.workspace), *words)

    def verb(self, *words: str) -> tuple[float, str]:
        """Seconds of the clock, and what it printed."""
        began = time.perf_counter()
        said = self._run("-m", "msip_core", *words, "--workspace", str(self.workspace))
        return time.perf_counter() - began, said

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.program,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(self.program)},
        )
        if done.returncode:
            raise RuntimeError(f"{words[:4]} failed: {done.stderr[-2000:]}")
        return done.stdout

    def stages(self, run: str) -> float:
        """Seconds in the stages that a person asked for."""
        return sum(stage_seconds(self.workspace / "runs" / run / "events.jsonl").values())


def stage_seconds(history: Path) -> dict[str, float]:
    """Stage -> seconds until the next mark in a run's history, but those nobody asked for."""
    events = [
        event
        for line in history.read_text(encoding="utf-8").splitlines()
        if (event := json.loads(line))["kind"] in ("stage", "state")
    ]
    found: dict[str, float] = {}
    for event, following in pairwise(events):
        if event["kind"] == "stage" and event["stage"] not in BESIDE:
            spent = following["time"] - event["time"]
            found[event["stage"]] = found.get(event["stage"], 0.0) + spent
    return found


def _verb(*words: str) -> Callable[[Lab], float]:
    def measure(lab: Lab) -> float:
        seconds, said = lab.verb(
            *words, "--data", "drawn", "--imgsz", "64", "--batch", "4", "--device",
            lab.options.device, "--epochs", "1", "--no-pretrain", "--json",
        )  # fmt: skip
        document: dict[str, Any] = json.loads(said)
        return seconds - lab.stages(document["id"])

    return measure


def _queue(lab: Lab) -> float:
    wall, *runs = lab.python(SERVER, lab.options.device, str(lab.options.rest)).split()[-4:]
    return (float(wall) - sum(map(lab.stages, runs))) / len(runs)


def _help(lab: Lab) -> float:
    return lab.verb("train", "--help")[0]


PARTS: dict[str, Callable[[Lab], float]] = {
    "train": _verb("train", "--weights", "baseline"),
    "prune": _verb(
        "prune", "--model", "baseline", "--iterations", "2", "--keep-macs", "0.6", "--max-drop", "0"
    ),
    "queue": _queue,
    "help": _help,
}


def _print(found: dict[tuple[str, str], list[float]], programs: list[str]) -> None:
    print("| beside the stages, s (median) | " + " | ".join(programs) + " |")
    print("| --- |" + " --- |" * len(programs))
    for part in dict.fromkeys(part for part, _ in found):
        values = [f"{median(found[part, name]):.1f}" for name in programs]
        print(f"| {part} | " + " | ".join(values) + " |")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--beside", type=Path, help="another checkout, measured in turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rest", type=float, default=15.0, help="seconds before the queue is used")
    parser.add_argument("--out", type=Path, help="JSON file for every measurement")
    return parser.parse_args()


if __name__ == "__main__":
    main()
