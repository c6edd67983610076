"""YOLOv8s, two classes, 640 px, by MSIP to 0.335 of the MACs: where the run lands, and how much
faster the result is on this computer.

    python benchmarks/yolov8s.py --out benchmarks/results/yolov8s.json

Two whole runs of the product by its command line, one with widths as they fall, one with widths in
multiples of 8, then the latency of both beside the baseline (benchmarks/latency.py). The baseline
is trained for a few minutes only on drawn micrographs, and nothing is fine-tuned between the cuts:
accuracy means nothing here, the shape that MSIP gives to the network does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from msip_core.data.synthetic import write_folder  # noqa: E402

STEPS = {"widths as they fall": 1, "multiples of 8": 8}
KEEP = 0.335


def main() -> None:
    options = _options()
    work = options.work or Path(tempfile.mkdtemp(prefix="yolov8s-"))
    images = work / "drawn"
    if not images.is_dir():
        write_folder(images, options.images, 640, seed=3)
        _verb(work, "data", "import", str(images), "--name", "drawn")
    baseline = _kept(work, "baseline", lambda: _verb(
        work, "train", "--data", "drawn", "--weights", "yolov8s.yaml", "--preset", "quick",
        "--epochs", str(options.epochs), "--imgsz", "320",
    ))["final"]["model_id"]  # fmt: skip
    runs = {
        name: _kept(work, f"step{step}", lambda step=step: _verb(
            work, "prune", "--data", "drawn", "--model", baseline, "--keep-macs", str(KEEP),
            "--round-to", str(step), "--preset", "quick", "--no-pretrain", "--iterations", "4",
            "--epochs", "0", "--imgsz", "640", "--max-drop", "0", "--batch", "4",
        ))
        for name, step in STEPS.items()
    }  # fmt: skip
    for name, run in runs.items():
        share = run["final"]["macs"] / run["baseline"]["macs"]
        print(f"{name}: {run['final']['macs'] / 1e9:.3f} GMACs, {share:.4f} of the baseline's")
    pruned = [f"{name}={_weights(work, run['final']['model_id'])}" for name, run in runs.items()]
    command = [
        sys.executable, str(ROOT / "benchmarks" / "latency.py"), "--baseline",
        str(_weights(work, baseline)), "--pruned", *pruned, "--runs", str(options.runs),
    ]  # fmt: skip
    subprocess.run([*command, *(["--out", str(options.out)] if options.out else [])], check=True)


def _verb(work: Path, *words: str) -> dict[str, Any]:
    """One verb of the command line; its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "msip_core", *words, "--workspace", str(work / "ws"), "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _kept(work: Path, name: str, make: Any) -> dict[str, Any]:
    """The answer of a step, kept so that a stopped benchmark goes on."""
    path = work / f"{name}.json"
    if not path.is_file():
        path.write_text(json.dumps(make()), encoding="utf-8")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _weights(work: Path, model_id: str) -> Path:
    return work / "ws" / "models" / model_id / "model.pt"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument(
        "--work", type=Path, help="folder that is kept; a second call goes on there"
    )
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--runs", type=int, default=50, help="timed repetitions")
    return parser.parse_args()


if __name__ == "__main__":
    main()
