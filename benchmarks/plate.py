"""Images a second of `plate` beside plain Ultralytics predict, on the same files, in turn.

    python benchmarks/plate.py --images FOLDER [FOLDER ...] --model model.pt [--rounds 3]
        [--cores 2] [--many 10000] [--out benchmarks/results/plate.json]

Both get the same files, weights, image size, thresholds, cores and threads: a worker takes fewer
threads where others keep the processor busy, and Ultralytics is then given as many. Each
measurement is a process of its own; they take turns, since other work on the computer comes and
goes. All times are of the looking alone, files read and boxes found (models loaded before, tables
written after); processor seconds, of all threads and readers, are what other work changes least.

    first_picture_s   from the command to the first image that is counted, all imports included
    peak_mb           most proportional set size (shared pages shared out) of all its processes
    many              `plate` alone on so many files (the same ones under other names) at 128 px:
                      what memory does with their number
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from msip_core.data.micrographs import SUFFIXES  # noqa: E402
from msip_core.processors import processor_name  # noqa: E402
from msip_core.runs.events_log import EventLog  # noqa: E402
from msip_core.workspace import write_json  # noqa: E402

CONF, IOU = 0.25, 0.7
_POLL = 0.25
_SMALL = 128  # pixels, for many images
_PLAIN = """
import json, os, sys, time
from ultralytics import YOLO
model, source, imgsz = YOLO(sys.argv[1]), sys.argv[2], int(sys.argv[3])
model.predict(sys.argv[4], imgsz=imgsz, conf={conf}, iou={iou}, device="cpu", verbose=False)
def worked():
    return sum(os.times()[:4])
start, before, boxes, images = time.perf_counter(), worked(), 0, 0
for result in model.predict(source, imgsz=imgsz, conf={conf}, iou={iou}, device="cpu",
                            stream=True, verbose=False):
    images, boxes = images + 1, boxes + len(result.boxes)
print(json.dumps({{"images": images, "objects": boxes, "seconds": time.perf_counter() - start,
                  "processor_s": worked() - before}}))
"""


class Watched:
    """A command with its peak memory, its children's included."""

    def __init__(self, words: Sequence[str], cores: int) -> None:
        env = {**os.environ, "OMP_NUM_THREADS": str(cores), "YOLO_OFFLINE": "true"}
        self.began = time.time()
        process = subprocess.Popen(words, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
        self.peak_mb = 0.0
        while process.poll() is None:
            self.peak_mb = max(self.peak_mb, _held_mb(process.pid))
            time.sleep(_POLL)
        self.output = process.stdout.read() if process.stdout else ""
        if process.returncode:
            raise SystemExit(f"{words[:6]} ended with {process.returncode}")


def _held_mb(pid: int) -> float:
    held = 0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            try:
                held += process.memory_full_info().pss
            except (psutil.Error, AttributeError):
                continue
    except psutil.Error:
        return 0.0
    return held / 1e6


def plate(source: Path, model: Path, imgsz: int, cores: int, folder: Path) -> dict[str, float]:
    words = [
        sys.executable, "-m", "msip_core", "plate", str(source), "--model", str(model), "--device",
        "cpu", "--imgsz", str(imgsz), "--conf", str(CONF), "--iou", str(IOU), "--tiles", "never",
        "--all-classes", "--workspace", str(folder), "--out", str(folder / "out"), "--json",
    ]  # fmt: skip
    done = Watched(words, cores)
    run_dir = folder / "runs" / json.loads(done.output)["id"]
    events = EventLog(run_dir).read()
    counted = next(event for event in events if event["kind"] == "counted")
    first = next(event for event in events if event["kind"] == "progress")
    return {
        "images": counted["images"],
        "objects": sum(counted["counts"].values()),
        "seconds": counted["seconds"],
        "processor_s": counted["processor_seconds"],
        "first_picture_s": first["time"] - done.began,
        "threads": threads_taken(run_dir),
        "peak_mb": done.peak_mb,
    }


def threads_taken(run_dir: Path) -> int:
    """As its worker says in its log."""
    log = (run_dir / "log.txt").read_text(encoding="utf-8")
    return int(log.rpartition("processor threads: ")[2].split()[0])


def plain(source: Path, model: Path, imgsz: int, threads: int, warm: Path) -> dict[str, float]:
    code = _PLAIN.format(conf=CONF, iou=IOU)
    words = [sys.executable, "-c", code, str(model), str(source), str(imgsz), str(warm)]
    done = Watched(words, threads)
    found: dict[str, float] = json.loads(done.output.strip().splitlines()[-1])
    return {**found, "peak_mb": done.peak_mb}


def gathered(folders: Sequence[Path], most: int, target: Path) -> Path:
    """The first images of each folder, in one flat folder: what plain predict takes."""
    files = [
        file
        for folder in folders
        for file in sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES)[:most]
    ]
    target.mkdir()
    for number, file in enumerate(files):
        (target / f"{number:04d}_{file.name}").write_bytes(file.read_bytes())
    return target


def repeated(source: Path, count: int, target: Path) -> Path:
    """So many files, each one of the source's under a name of its own."""
    files = sorted(source.iterdir())
    target.mkdir()
    for number in range(count):
        file = files[number % len(files)]
        os.link(file, target / f"{number:05d}_{file.name}")
    return target


def compared(rounds: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Medians over the rounds; the ratio is that of each round's pair."""
    rates = {way: [r[way]["images"] / r[way]["seconds"] for r in rounds] for way in rounds[0]}
    worked = {way: [r[way]["images"] / r[way]["processor_s"] for r in rounds] for way in rounds[0]}
    return {
        "images_per_second": {way: round(statistics.median(v), 3) for way, v in rates.items()},
        "plate_over_ultralytics": round(
            statistics.median(a / b for a, b in zip(rates["plate"], rates["ultralytics"])), 3
        ),
        "images_per_processor_second": {
            way: round(statistics.median(v), 3) for way, v in worked.items()
        },
        "first_picture_s": round(min(r["plate"]["first_picture_s"] for r in rounds), 2),
        "peak_mb": {way: round(max(r[way]["peak_mb"] for r in rounds)) for way in rounds[0]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, nargs="+", required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--most", type=int, default=300, help="images of each folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--many", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/plate.json")
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.cores])
    model, rounds, load = given.model.resolve(), [], []
    with tempfile.TemporaryDirectory(prefix="plate-") as place:
        source = gathered(given.images, given.most, Path(place) / "images")
        warm = sorted(source.iterdir())[0]
        for number in range(given.rounds):
            load.append(round(os.getloadavg()[0], 1))
            folder = Path(place) / f"workspace-{number}"
            one = plate(source, model, given.imgsz, given.cores, folder)
            other = plain(source, model, given.imgsz, int(one["threads"]), warm)
            rounds.append({"plate": one, "ultralytics": other})
            print(json.dumps(rounds[-1]))
        many = {}
        if given.many:
            source = repeated(source, given.many, Path(place) / "many")
            many = plate(source, model, _SMALL, given.cores, Path(place) / "workspace-many")
    result = {
        "images": rounds[0]["plate"]["images"],
        "imgsz": given.imgsz,
        "model": given.model.name,
        "processor": processor_name(),
        "system": platform.platform(),
        "cores": given.cores,
        **compared(rounds),
        "many": {"imgsz": _SMALL, **many} if many else None,
        "load_before_each_round": load,
        "rounds": rounds,
    }
    write_json(given.out, result)
    print(json.dumps({k: v for k, v in result.items() if k != "rounds"}, indent=2))


if __name__ == "__main__":
    main()
