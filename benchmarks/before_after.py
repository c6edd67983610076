"""Did work on a processor get slower? One committed state beside another, in one run.

    python benchmarks/before_after.py --before 8a85759 --data organoids_two_class.zip \
        --weights yolov8n.pt --out DIR [--json FILE]

8a85759 is the last commit before images, steps and statistics moved to the device. Both states
run their own benchmarks, each with its own package, in the same environment:

    orgaquant.py  YOLOv8n, 256 px, OrgaQuant: the rows named, two cuts of one epoch each
    scoring.py    YOLOv8s on drawn images: MSIP, Taylor, and plain torch-pruning's Taylor

Both at the same time, a core each, so that what else the computer does hurts both alike. What is
hardly this product's, the baseline's training by plain Ultralytics and plain torch-pruning, is
measured too: how far its ratio is from 1 is how far to trust the others. Seconds are those of the
processor; a ratio is that of the medians, after by before. What is in DIR is not done again, so
the command can be stopped and repeated.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SIDES = ("before", "after")
ROWS = ("taylor", "msip")
SCORED = ("msip", "taylor", "plain taylor")
CONTROLS = ("baseline", "scoring plain taylor")
Seconds = dict[str, dict[str, list[float]]]
Result = TypeVar("Result")


def main() -> None:
    options = _options()
    options.before, options.after = _commit(options.before), _commit(options.after)
    trees = {side: _tree(options, side) for side in SIDES}
    seconds: Seconds = {}
    quality: dict[str, dict[str, list[float]]] = {}
    for turn in range(options.rounds):
        rows = _both(partial(_orgaquant, options, trees, turn))
        for side, found in zip(SIDES, rows, strict=True):
            for name, row in found.items():
                _add(seconds, name, side, row["cpu_seconds"])
                _add(quality, name, side, row["map50"])
        for side, took in zip(SIDES, _both(partial(_scoring, options, trees, turn)), strict=True):
            for name, value in took.items():
                _add(seconds, f"scoring {name}", side, value)
    result = _result(options, seconds, quality)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(_table(result))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--before", required=True, help="a commit of this repository")
    parser.add_argument("--after", default="HEAD", help="another one")
    parser.add_argument("--data", type=Path, required=True, help="organoids_two_class.zip")
    parser.add_argument("--weights", type=Path, required=True, help="yolov8n.pt")
    parser.add_argument("--out", type=Path, required=True, help="a folder for what both make")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--images", type=int, default=16, help="that scoring.py looks at")
    parser.add_argument("--json", type=Path, help="write what was measured here")
    options = parser.parse_args()
    options.out = options.out.resolve()
    return options


def _tree(options: argparse.Namespace, side: str) -> Path:
    """The files of one commit, in a folder of their own."""
    folder: Path = options.out / side
    packed = subprocess.run(
        ["git", "-C", str(ROOT), "archive", getattr(options, side)], check=True, capture_output=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def _both(work: Callable[[str], Result]) -> list[Result]:
    with ThreadPoolExecutor(len(SIDES)) as pool:
        return list(pool.map(work, SIDES))


def _orgaquant(
    options: argparse.Namespace, trees: dict[str, Path], turn: int, side: str
) -> dict[str, dict[str, Any]]:
    """What orgaquant.py kept of each row; the baseline is trained anew in every round."""
    out = options.out / f"orgaquant-{side}-{turn}"
    _call(
        trees[side] / "benchmarks/orgaquant.py", "--data", options.data.resolve(), "--weights",
        options.weights.resolve(), "--out", out, "--epochs", 1, "--iterations", 2, "--finetune", 1,
        "--jobs", 1, "--rows", *ROWS,
    )  # fmt: skip
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((out / "rows").glob("*.json"))
    }


def _scoring(
    options: argparse.Namespace, trees: dict[str, Path], turn: int, side: str
) -> dict[str, float]:
    """Processor seconds of one calibration pass with the scores of all groups, by method."""
    kept = options.out / f"scoring-{side}-{turn}.json"
    if not kept.is_file():
        sizes = ("--images", options.images, "--imgsz", 320, "--rounds", 1, "--threads", 1)
        asked = ("--methods", "msip", "taylor", "--json", kept)
        # It ends with 1 where its own goal is missed, which is not asked here.
        _call(trees[side] / "benchmarks/scoring.py", *sizes, *asked, fine=(0, 1))
    found = json.loads(kept.read_text(encoding="utf-8"))["score_processor_s"]
    return {name: found[name][0] for name in SCORED}


def _call(script: Path, *words: object, fine: tuple[int, ...] = (0,)) -> None:
    done = subprocess.run([sys.executable, str(script), *map(str, words)], check=False)
    if done.returncode not in fine:
        raise SystemExit(f"{script.name} of {script.parents[1].name} ended with {done.returncode}.")


def _add(kept: dict[str, dict[str, list[float]]], name: str, side: str, value: float) -> None:
    kept.setdefault(name, {side: [] for side in SIDES})[side].append(round(value, 3))


def _result(
    options: argparse.Namespace,
    seconds: Seconds,
    quality: dict[str, dict[str, list[float]]],
) -> dict[str, Any]:
    from benchmarks.orgaquant import machine

    return {
        "what": "processor seconds before and after, one entry a round, and after by before",
        "before": options.before,
        "after": options.after,
        "machine": machine(),
        "rows": {
            name: {
                **sides,
                "ratio": _ratio(sides),
                "control": name in CONTROLS,
                **({"map50": quality[name]} if name in quality else {}),
            }
            for name, sides in seconds.items()
        },
    }


def _commit(name: str) -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", name],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip


def _ratio(sides: dict[str, list[float]]) -> float | None:
    if not all(sides.values()):
        return None
    return round(statistics.median(sides["after"]) / statistics.median(sides["before"]), 3)


def _table(result: dict[str, Any]) -> str:
    lines = ["| what | before (s) | after (s) | after / before |", "| --- | --- | --- | --- |"]
    for name, row in result["rows"].items():
        told = [" ".join(f"{s:.1f}" for s in row[side]) for side in SIDES]
        mark = " (control)" if row["control"] else ""
        lines.append(f"| {name}{mark} | {told[0]} | {told[1]} | {row['ratio']} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
