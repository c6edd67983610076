r"""Rows of the pruning table repeated with several seeds, side by side on one device.

    python benchmarks/seeds.py --workspace W --data orgaquant --model orgaquant-baseline \
        --imgsz 256 --device cuda:0 --rows msip lamp --seeds 0 1 2 --jobs 14 --out DIR

Every (row, seed) is one process with one thread that does the product's own run on the same
baseline: 4 iterations of 2 epochs down to `keep_macs` .335, widths in multiples of 8, calibration
4 batches of 16, batch norm recalibrated where validation says so, the best epoch by validation. A
seed chooses the calibration images and the order and the augmentation of the training images; it
does not choose another baseline. Results are kept in OUT/rows as each run ends and not made again.
`--seconds` starts no run that would not end in time, judged by the slowest so far.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from msip_core.config import RECIPES, CalibrationConfig, PruneConfig, TrainConfig
from msip_core.studies.statistics import LEAST_SEEDS, Interval, holm
from msip_core.workspace import Workspace, write_json, write_text

REFERENCE, MORE = "msip", "more-epochs"
# What differs from a plain run of the product.
ROWS: dict[str, dict[str, Any]] = {
    "msip": {"method": "msip"},
    "msip-static": {"method": "msip", "msip": {"dynamic_weights": False}},
    "msip-gradient": {
        "method": "msip",
        "msip": {
            "dynamic_weights": False,
            "weights": {"gradient": 1, "geometry": 0, "sparsity": 0, "information": 0},
        },
    },
    "msip-published": {"method": "msip-published"},
    "msip-literal": {"method": "msip-literal"},
    "taylor-per-mac": {"method": "taylor", "allocation": "msip"},
    "taylor-abs-per-mac": {"method": "taylor-abs", "allocation": "msip"},
    "taylor-2-per-mac": {"method": "taylor-2", "allocation": "msip"},
    "lamp": {"method": "lamp"},
    "l2": {"method": "l2"},
    "random": {"method": "random"},
    MORE: {},
}
HONESTY = (
    "The intervals are over seeds of pruning and fine-tuning only, from one baseline, one dataset "
    "and one split: they say nothing about other baselines, other images or other data."
)


def main() -> None:
    options = _options()
    if options.one:
        one_run(options)
        return
    started = time.perf_counter()
    failed = run_all(options, started)
    write_tables(options, time.perf_counter() - started)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}; see OUT/work")


# --- one run --------------------------------------------------------------------


def one_run(options: argparse.Namespace) -> None:
    """One row with one seed, in a workspace of its own: runs share nothing."""
    row, seed = options.one.rsplit("-s", 1)
    started, place = time.perf_counter(), options.out / "work" / options.one
    workspace = Workspace.open(place)
    workspace.isolate_libraries()
    source = Workspace.open(options.workspace)
    for found, folder in (
        (source.datasets / options.data, workspace.datasets / options.data),
        (source.model_dir(options.model), workspace.model_dir(options.model)),
    ):
        shutil.copytree(found, folder, dirs_exist_ok=True)
    context = Context(workspace, options.one)
    _go(config_of(row, int(seed), options), context)
    final = context.final
    write_json(
        _file(options, row, int(seed)),
        {"row": row, "seed": int(seed), "macs_ratio": final.macs_ratio,
         "map50": final.test.map50, "map50_95": final.test.map50_95,
         "val_map50": final.metrics.map50, "test_images": final.test.images,
         "val_map50_before_tuning": [r.map50_before for r in context.records],
         "stopped_by": final.stopped_by, "seconds": time.perf_counter() - started},
    )  # fmt: skip
    shutil.rmtree(place)


def config_of(row: str, seed: int, options: argparse.Namespace) -> PruneConfig | TrainConfig:
    """The settings of a row with a seed."""
    tuning = RECIPES["quick-finetune"].model_copy(update={"epochs": options.epochs, "nbs": 16})
    shared: dict[str, Any] = {
        "name": f"{row}-s{seed}", "dataset": options.data, "imgsz": options.imgsz, "batch": 16,
        "workers": 0, "device": options.device, "seed": seed,
    }  # fmt: skip
    if row == MORE:
        recipe = tuning.model_copy(update={"epochs": options.iterations * options.epochs})
        return TrainConfig(**shared, weights=options.model, recipe=recipe)
    return PruneConfig(
        **shared, **ROWS[row], model=options.model, iterations=options.iterations,
        keep_macs=options.keep, max_map50_drop=None, finetune=tuning,
        calibration=CalibrationConfig(batches=4, batch=16, micro_batch=16),
        limits={"round_to": 8, "max_removed_per_iteration": options.most},
    )  # fmt: skip


def _go(config: PruneConfig | TrainConfig, context: Context) -> None:
    import torch

    torch.set_num_threads(1)
    if isinstance(config, TrainConfig):
        from msip_core.detector.run import run as train

        train(config, context)
    else:
        from msip_core.pruning.loop import run as prune

        prune(config, context)


class Context:
    """The plainest listener to a run."""

    def __init__(self, workspace: Workspace, run_id: str) -> None:
        self.workspace, self.run_id, self.run_dir = workspace, run_id, workspace.run_dir(run_id)
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.records: list[Any] = []
        self.final: Any = None

    def emit(self, record: Any) -> None:
        if record.kind == "iteration":
            self.records.append(record)
            print(record.index, record.map50_before, record.map50_after, flush=True)
        elif record.kind == "final":
            self.final = record

    def check_stop(self) -> None:
        pass

    def beat(self) -> None:
        pass


# --- all runs -------------------------------------------------------------------


def run_all(options: argparse.Namespace, started: float) -> list[str]:
    """Seed by seed, so that an early end leaves whole seeds; the names of what failed.

    A run that did not end in time is ended and left out by name.
    """
    waiting = [
        f"{row}-s{seed}"
        for seed in options.seeds
        for row in options.rows
        if not _file(options, row, seed).is_file()
    ]
    running: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
    failed, slowest = [], 0.0
    while waiting or running:
        left = options.seconds - (time.perf_counter() - started)
        while waiting and len(running) < options.jobs and left > 1.1 * slowest:
            name = waiting.pop(0)
            running[name] = _start(name, options), time.perf_counter()
        if left <= 0 or (waiting and not running):
            break
        time.sleep(0.2)
        for name, (process, since) in list(running.items()):
            code = process.poll()
            if code is None:
                continue
            del running[name]
            took = time.perf_counter() - since
            slowest = max(slowest, took)
            print(f"{name}: {'done' if code == 0 else 'FAILED'} in {took:.0f} s", flush=True)
            if code != 0:
                failed.append(name)
                print(_log(options, name).read_text(errors="replace")[-1500:], flush=True)
    for name, (process, _) in running.items():
        process.kill()
        print(f"{name}: ended, out of time", flush=True)
    if waiting:
        print(f"not started for lack of time: {', '.join(waiting)}", flush=True)
    return failed


def _start(name: str, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    _log(options, name).parent.mkdir(parents=True, exist_ok=True)
    with _log(options, name).open("wb") as log:
        return subprocess.Popen(
            [sys.executable, __file__, *sys.argv[1:], "--one", name],
            stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip


def _log(options: argparse.Namespace, name: str) -> Path:
    return Path(options.out / "work" / f"{name}.log")


def _file(options: argparse.Namespace, row: str, seed: int) -> Path:
    return Path(options.out / "rows" / f"{row}-s{seed}.json")


# --- the table --------------------------------------------------------------------


def student(differences: list[float]) -> Interval:
    """Mean of paired differences and Student's 95 % interval over the seeds.

    Two-sided p; without a p, and without bounds, where there is one seed.
    """
    from scipy import stats

    count, middle = len(differences), mean(differences)
    if count < 2:
        return Interval(middle, math.nan, math.nan, seeds=count)
    error = stdev(differences) / math.sqrt(count)
    half = float(stats.t.ppf(0.975, count - 1)) * error
    t = abs(middle) / error if error else math.inf if middle else 0.0
    p = 2 * float(stats.t.sf(t, count - 1))
    return Interval(middle, middle - half, middle + half, p=p, seeds=count)


def compare(
    results: list[dict[str, Any]], rows: list[str], key: str = "map50"
) -> dict[str, Interval]:
    """Row -> its difference to the reference, paired by seed, corrected over the rows (Holm)."""
    by_row = {row: {one["seed"]: one[key] for one in results if one["row"] == row} for row in rows}
    reference = by_row.get(REFERENCE, {})
    found: dict[str, Interval] = {}
    for row, values in by_row.items():
        both = sorted(set(values) & set(reference))
        if row != REFERENCE and both:
            found[row] = student([values[seed] - reference[seed] for seed in both])
    # Too few seeds get no verdict, so they take no part in the correction either.
    judged = [row for row, one in found.items() if one.is_known]
    for row, one in zip(judged, holm([found[row] for row in judged]), strict=True):
        assert one is not None
        found[row] = one
    return found


def verdict(one: Interval) -> str:
    """In words; below three seeds none."""
    if not one.is_known:
        return f"no verdict below {LEAST_SEEDS} seeds"
    if not one.is_clear:
        return "not clear"
    return "clearly higher" if one.value > 0 else "clearly lower"


def write_tables(options: argparse.Namespace, seconds: float) -> None:
    """table.md and seeds.json beside each other."""
    results = [
        json.loads(path.read_text(encoding="utf-8"))
        for row in options.rows
        for seed in options.seeds
        if (path := _file(options, row, seed)).is_file()
    ]
    differences = compare(results, options.rows)
    finer = compare(results, options.rows, "map50_95")
    heads = ["row", "seeds", "MACs ratio", "test mAP50 (mean ± sd)", "test mAP50-95 (mean ± sd)"]
    heads += [f"mAP50 minus `{REFERENCE}` [95 %]", "p (Holm)", "verdict"]
    heads += ["val mAP50 before tuning, by iteration", "s"]
    lines = [_line(heads), _line(["---"] * len(heads))]
    for row in options.rows:
        mine = [one for one in results if one["row"] == row]
        if mine:
            lines.append(_line(_cells(row, mine, differences.get(row))))
    facts = machine(options) | {"seconds_of_this_call": round(seconds)}
    write_json(
        options.out / "seeds.json",
        {"honesty": HONESTY, "facts": facts, "results": results,
         "minus_reference_map50": {row: _plain(one) for row, one in differences.items()},
         "minus_reference_map50_95": {row: _plain(one) for row, one in finer.items()}},
    )  # fmt: skip
    text = "\n".join(lines)
    about = ", ".join(f"{key} {value}" for key, value in facts.items())
    write_text(
        options.out / "table.md",
        f"# {options.model} on {options.data}: several seeds\n\n{HONESTY}\n\n{text}\n\n"
        f"Paired by seed; Student's t over seeds; Holm's correction over the rows. {about}.\n",
    )
    print(text)


def _plain(one: Interval) -> dict[str, Any]:
    """JSON knows no nan."""
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in one.as_dict().items()
    }


def _cells(row: str, mine: list[dict[str, Any]], against: Interval | None) -> list[str]:
    cells = [f"`{row}`", str(len(mine)), f"{mean(one['macs_ratio'] for one in mine):.3f}"]
    cells += [_spread([one[key] for one in mine]) for key in ("map50", "map50_95")]
    if against is None:
        cells += ["", "", ""]
    else:
        bounds = f" [{against.low:+.3f}, {against.high:+.3f}]" if against.seeds != 1 else ""
        adjusted = "" if against.adjusted is None else f"{against.adjusted:.3f}"
        cells += [f"{against.value:+.3f}{bounds}", adjusted, verdict(against)]
    steps = zip(*(one["val_map50_before_tuning"] for one in mine), strict=False)
    cells.append(" ".join(f"{mean(step):.3f}" for step in steps))
    return [*cells, f"{mean(one['seconds'] for one in mine):.0f}"]


def _spread(values: list[float]) -> str:
    return f"{mean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """What it ran on, and how."""
    from importlib.metadata import version

    from msip_core.detector.devices import describe_device

    return {
        "device": describe_device(options.device).name, "cores": os.cpu_count(),
        "jobs": options.jobs, "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "ultralytics", "torch-pruning")},
        "imgsz": options.imgsz, "iterations": options.iterations, "epochs": options.epochs,
        "keep_macs": options.keep,
    }  # fmt: skip


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--workspace", type=Path, required=True, help="one with both of these")
    parser.add_argument("--data", required=True, help="dataset of the workspace")
    parser.add_argument("--model", required=True, help="trained baseline of the workspace")
    parser.add_argument("--imgsz", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="side by side")
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=2, help="of fine-tuning after each cut")
    parser.add_argument("--keep", type=float, default=0.335, help="of the MACs")
    parser.add_argument("--most", type=float, default=0.35, help="of a layer, in one iteration")
    parser.add_argument("--seconds", type=float, default=math.inf, help="for everything")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--one", help=argparse.SUPPRESS)  # ROW-sSEED: what a process does
    options = parser.parse_args()
    options.out = options.out.resolve()
    return options


if __name__ == "__main__":
    main()
