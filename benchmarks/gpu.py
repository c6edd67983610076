r"""What a GPU does for this product: every part timed and checked on the computer at hand.

    python benchmarks/gpu.py --data FOLDER --weights yolov8s.pt --out DIR
    python benchmarks/gpu.py --small --device cpu --out DIR      a look in a minute or two, no GPU

Needs no network. `--data` is a folder or zip with labels, as `data import` reads them; without it
micrographs are drawn. `--weights` is a .pt file or the name of a yaml. Parts follow one another
and each says what it found; one whose turn comes after `--minutes` is skipped by name, and so is
one that the computer cannot do (`--only` names some). One that fails says so and keeps none of the
others from their turn; the command then ends with 1. Writes DIR/gpu.json, and DIR/table.md: what
was measured, what it should be, and whether it holds.

Seconds are of the clock, the GPU's work waited for. Comparisons run in turn in one process.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.gpu_lab import Lab, Row, Skipped
from benchmarks.gpu_parts import PARTS

MINUTES = 8.0


def main() -> int:
    options = _options()
    started = time.perf_counter()
    lab = Lab.open(options)
    rows: list[Row] = []
    for name, part in PARTS.items():
        if options.only and name not in options.only:
            continue
        spent = time.perf_counter() - started
        rows += _rows(name, part, lab, spent > 60 * options.minutes)
        _write(options.out, lab, rows, time.perf_counter() - started)
    print(f"{time.perf_counter() - started:.0f} s in all; {options.out}/table.md")
    return 0 if all(row.holds is not False for row in rows) else 1


def _rows(name: str, part: Any, lab: Lab, late: bool) -> list[Row]:
    """What a part found, then one row that says why it found nothing, or nothing more."""
    started, rows = time.perf_counter(), list[Row]()
    try:
        if late:
            raise Skipped("the minutes were used up")
        rows.extend(part(lab))
    except Skipped as reason:
        rows.append(Row(name, f"skipped: {reason}"))
    except Exception as error:  # noqa: BLE001 - minutes of a GPU are few: others still tell theirs
        traceback.print_exc()
        told = " ".join(str(error).split())[-300:].replace("|", "/")
        rows.append(Row(name, f"failed: {type(error).__name__}: {told}", holds=False))
    seconds = time.perf_counter() - started
    for row in rows:
        row.details.setdefault("seconds_of_its_part", round(seconds, 1))
        print(f"[{name}, {seconds:.0f} s] {row.what}: {row.found}", flush=True)
    return rows


def _write(out: Path, lab: Lab, rows: list[Row], seconds: float) -> None:
    found = {"machine": lab.machine, "seconds": round(seconds, 1), "rows": [vars(r) for r in rows]}
    (out / "gpu.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    lines = ["| measured | found | should be | holds |", "| --- | --- | --- | --- |"]
    for row in rows:
        verdict = {None: "", True: "yes", False: "**no**"}[row.holds]
        lines.append(f"| {row.what} | {row.found} | {row.goal} | {verdict} |")
    machine = ", ".join(f"{key} {value}" for key, value in lab.machine.items())
    (out / "table.md").write_text("\n".join([*lines, "", f"{machine}."]) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="labelled micrographs; default: drawn ones")
    parser.add_argument("--weights", default="yolov8s.yaml")
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument(
        "--workers",
        type=int,
        default=min(12, os.cpu_count() or 1),
        help="loading processes that plain Ultralytics is given",
    )
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--only", nargs="+", choices=list(PARTS))
    parser.add_argument(
        "--small", action="store_true", help="a thin network, few small images: shows that it works"
    )
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    options.out = options.out.resolve()
    return options


if __name__ == "__main__":
    raise SystemExit(main())
