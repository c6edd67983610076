r"""Rows of a table repeated with several seeds, side by side on one device.

    python benchmarks/seeds.py --workspace W --data orgaquant --model orgaquant-baseline \
        --imgsz 256 --device cuda:0 --rows msip lamp --seeds 0 1 2 --jobs 14 --out DIR
    python benchmarks/seeds.py --table recovery --workspace W --data ... --out DIR
    python benchmarks/seeds.py --table recovery ... --against more-epochs --judged-on test --out DIR

Two tables: `methods` compares what is cut, on test images; `recovery` how the network learns again
after MSIP's cuts, on validation, since the product's default is chosen by it. Every row trains for
as many epochs (4 x 2), whatever it does with them.

Every (row, seed) is one process with one thread that does the product's own run on the same
baseline: 4 iterations of 2 epochs down to `keep_macs` .335 where the row says nothing else, widths
in multiples of 8, calibration 4 batches of 16, repair by validation, the best epoch by validation.
A seed chooses the calibration images and the order and the augmentation of the training images; it
does not choose another baseline. Results are kept in OUT/rows as each run ends and not made again.
With `--against` or `--judged-on` the table is called after them, beside the usual one.
`--seconds` starts no run that would not end in time, judged by the slowest so far.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.seeds_table import write_tables
from msip_core.config import RECIPES, CalibrationConfig, PruneConfig, TrainConfig, TrainingRecipe
from msip_core.errors import Stopped
from msip_core.events import Stage
from msip_core.pruning.folder import RunFolder
from msip_core.workspace import Workspace, write_json

MORE, CUTS = "more-epochs", "cuts"
# What differs from a plain run of the product.
METHODS: dict[str, dict[str, Any]] = {
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
    "obs-per-mac": {"method": "obs"},
    "msip-obs": {"method": "msip", "msip": {"geometry": "obs"}},
    "lamp": {"method": "lamp"},
    "l2": {"method": "l2"},
    "random": {"method": "random"},
    MORE: {},
}
# `epochs` is the share of all epochs that follow one cut (or, for sparse training, come before).
_LAST: dict[str, Any] = {"finetune_after": "last-cut", "epochs": 1}
_QUARTER = 0.25
RECOVERIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "carried": {"average": "carry"},
    "cwd": {"recovery": "cwd"},
    "feature": {"recovery": "feature"},
    "prediction": {"recovery": "prediction"},
    "crosskd": {"recovery": "crosskd"},
    "two-cuts": {"iterations": 2, "epochs": 0.5},
    "one-cut": {"iterations": 1, "epochs": 1},
    "one-cosine": _LAST,
    "one-cosine-cwd": _LAST | {"recovery": "cwd"},
    "one-cosine-feature": _LAST | {"recovery": "feature"},
    "one-cosine-prediction": _LAST | {"recovery": "prediction"},
    "one-cosine-crosskd": _LAST | {"recovery": "crosskd"},
    "sparse": {"recovery": "sparse", "before": 0.5, "epochs": 0.125},
    "sparse-one-cosine": _LAST | {"recovery": "sparse", "before": 0.5, "epochs": 0.5},
    MORE: {},
}
WORDS = {
    "plain": "4 cuts, 2 epochs after each",
    "carried": "the same, the running average goes on counting",
    "two-cuts": "2 cuts, 4 epochs after each",
    "one-cut": "1 cut, 8 epochs",
    "one-cosine": "4 cuts with nothing but repair between, 8 epochs after the last (seconds "
    "without the cuts, which all such rows share)",
    "sparse": "4 epochs of sparse training, 4 cuts, 1 epoch after each",
    "sparse-one-cosine": "4 epochs of sparse training, 4 cuts, 4 epochs after the last",
    MORE: "unpruned, 8 more epochs",
}
# Rows, the row that the others are compared with, and what they are judged by.
TABLES = {"methods": (METHODS, "msip", "test"), "recovery": (RECOVERIES, "plain", "val")}


def main() -> None:
    options = _options()
    if options.one:
        one_run(options)
        return
    started = time.perf_counter()
    failed = run_all(options, started)
    _, usual, split = TABLES[options.table]
    results = [
        json.loads(path.read_text(encoding="utf-8"))
        for row in options.rows
        for seed in options.seeds
        if (path := file_of(options, row, seed)).is_file()
    ]
    write_tables(
        results,
        options,
        reference=options.against or usual,
        split=options.judged_on or split,
        words=WORDS,
        seconds=time.perf_counter() - started,
    )
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}; see OUT/work")


# --- one run --------------------------------------------------------------------


def one_run(options: argparse.Namespace) -> None:
    """One row with one seed, in a workspace of its own: runs share nothing."""
    row, seed = options.one.rsplit("-s", 1)
    if row == CUTS:
        make_cuts(int(seed), options)
        return
    started, place = time.perf_counter(), options.out / "work" / options.one
    context = context_of(options, options.one)
    cuts = _cuts(options, int(seed))
    if _shares_cuts(row, options) and not (context.run_dir / "baseline.json").is_file():
        shutil.copytree(cuts, context.run_dir, dirs_exist_ok=True)
    go(config_of(row, int(seed), options), context)
    final = context.final
    iterations = RunFolder(context.run_dir).finished()  # those of earlier sittings too
    write_json(
        file_of(options, row, int(seed)),
        {"row": row, "seed": int(seed), "macs_ratio": final.macs_ratio,
         "map50": final.test.map50, "map50_95": final.test.map50_95,
         "val_map50": final.metrics.map50, "val_map50_95": final.metrics.map50_95,
         "test_images": final.test.images,
         "val_map50_before_tuning": [r.map50_before for r in iterations],
         "stopped_by": final.stopped_by, "seconds": time.perf_counter() - started},
    )  # fmt: skip
    shutil.rmtree(place)


def make_cuts(seed: int, options: argparse.Namespace) -> None:
    """What all rows that train after the last cut alone have in common: the run up to there."""
    row = next(row for row in options.rows if _shares_cuts(row, options))
    context = context_of(options, options.one)
    config = config_of(row, seed, options)
    assert isinstance(config, PruneConfig)
    context.ends_at = config.iterations
    try:
        go(config, context)
    except Stopped:
        shutil.copytree(context.run_dir, _cuts(options, seed))
    shutil.rmtree(context.workspace.root)


def _shares_cuts(row: str, options: argparse.Namespace) -> bool:
    settings = TABLES[options.table][0].get(row, {}) if options.table in TABLES else {}
    return settings.get("finetune_after") == "last-cut" and "before" not in settings


def _cuts(options: argparse.Namespace, seed: int) -> Path:
    return Path(options.out / "work" / f"{CUTS}-s{seed}-run")


def context_of(options: argparse.Namespace, name: str) -> Context:
    """A workspace of its own with the data and the baseline."""
    workspace = Workspace.open(options.out / "work" / name)
    workspace.isolate_libraries()
    source = Workspace.open(options.workspace)
    for found, folder in (
        (source.datasets / options.data, workspace.datasets / options.data),
        (source.model_dir(options.model), workspace.model_dir(options.model)),
    ):
        shutil.copytree(found, folder, dirs_exist_ok=True)
    return Context(workspace, name)


def config_of(row: str, seed: int, options: argparse.Namespace) -> PruneConfig | TrainConfig:
    """The settings of a row with a seed."""
    whole = options.iterations * options.epochs
    own = dict(TABLES[options.table][0][row])
    iterations = own.pop("iterations", options.iterations)
    epochs, before = own.pop("epochs", 1 / iterations), own.pop("before", 0)
    tuning = _recipe("quick-finetune", whole * epochs)
    if before:
        own["pretrain"] = _recipe("sparse-pretrain", whole * before)
    most = options.most if iterations == options.iterations else 0.9
    shared: dict[str, Any] = {
        "name": f"{row}-s{seed}", "dataset": options.data, "imgsz": options.imgsz, "batch": 16,
        "workers": 0, "device": options.device, "seed": seed,
    }  # fmt: skip
    if row == MORE:
        return TrainConfig(**shared, weights=options.model, recipe=_recipe("quick-finetune", whole))
    return PruneConfig(
        **shared, **own, model=options.model, iterations=iterations,
        keep_macs=options.keep, max_map50_drop=None, finetune=tuning,
        calibration=CalibrationConfig(batches=4, batch=16, micro_batch=16),
        limits={"round_to": 8, "max_removed_per_iteration": most},
    )  # fmt: skip


def _recipe(name: str, epochs: float) -> TrainingRecipe:
    """So many epochs, the last half of at most four without mosaic."""
    count = max(1, round(epochs))
    return RECIPES[name].model_copy(
        update={"epochs": count, "nbs": 16, "close_mosaic": min(2, count // 2)}
    )


def go(config: PruneConfig | TrainConfig, context: Context) -> None:
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
        self.final: Any = None
        self.ends_at = 0  # the iteration before whose training it stops; 0: never

    def emit(self, record: Any) -> None:
        if (
            record.kind == "stage"
            and record.stage is Stage.FINETUNING
            and record.iteration == self.ends_at > 0
        ):
            raise Stopped("pause")
        if record.kind == "iteration":
            print(record.index, record.map50_before, record.map50_after, flush=True)
        elif record.kind == "final":
            self.final = record

    def check_stop(self) -> None:
        pass


# --- all runs -------------------------------------------------------------------


def run_all(options: argparse.Namespace, started: float) -> list[str]:
    """Seed by seed, so that an early end leaves whole seeds; the names of what failed.

    A run that did not end in time is ended and left out by name.
    """
    waiting = [
        f"{row}-s{seed}"
        for seed in options.seeds
        for row in (*([CUTS] if _needs_cuts(options, seed) else []), *options.rows)
        if not file_of(options, row, seed).is_file()
    ]
    running: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
    failed, slowest = [], 0.0
    while waiting or running:
        left = options.seconds - (time.perf_counter() - started)
        ready = [name for name in waiting if _can_start(name, options)]
        while ready and len(running) < options.jobs and left > 1.1 * slowest:
            waiting.remove(name := ready.pop(0))
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


def _needs_cuts(options: argparse.Namespace, seed: int) -> bool:
    open_rows = [row for row in options.rows if not file_of(options, row, seed).is_file()]
    shared = any(_shares_cuts(row, options) for row in open_rows)
    return shared and not _cuts(options, seed).is_dir()


def _can_start(name: str, options: argparse.Namespace) -> bool:
    row, seed = name.rsplit("-s", 1)
    if row == CUTS or not _shares_cuts(row, options):
        return True
    return _cuts(options, int(seed)).is_dir()


def _start(name: str, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    _log(options, name).parent.mkdir(parents=True, exist_ok=True)
    with _log(options, name).open("wb") as log:
        return subprocess.Popen(
            [sys.executable, sys.argv[0], *sys.argv[1:], "--one", name],
            stdout=log,
            stderr=log,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )


def _log(options: argparse.Namespace, name: str) -> Path:
    return Path(options.out / "work" / f"{name}.log")


def file_of(options: argparse.Namespace, row: str, seed: int) -> Path:
    return Path(options.out / "rows" / f"{row}-s{seed}.json")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--workspace", type=Path, required=True, help="one with both of these")
    parser.add_argument("--data", required=True, help="dataset of the workspace")
    parser.add_argument("--model", required=True, help="trained baseline of the workspace")
    parser.add_argument("--imgsz", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--table", choices=list(TABLES), default="methods")
    parser.add_argument("--rows", nargs="+", help="of the table; else all")
    parser.add_argument("--against", help="row that the others are compared with; else the table's")
    parser.add_argument("--judged-on", choices=("val", "test"), help="else as the table is")
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
    known = list(TABLES[options.table][0])
    options.rows = options.rows or known
    if unknown := set(options.rows) - set(known):
        parser.error(f"no such rows: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    return options


if __name__ == "__main__":
    main()
