r"""Every method of the catalog, end to end on YOLOv8: goal asked, goal reached, seconds.

    python benchmarks/every_method.py --size n --out DIR [--only hrank cwd ...]
    python benchmarks/every_method.py --workspace W --data DATASET --model BASELINE --imgsz 256 \
        --epochs 1 --out DIR

Draws a small dataset and builds YOLOv8n or s from scratch (shape and time, not accuracy), or takes
a trained baseline and the images of a workspace, with so many epochs of fine-tuning after each of
four cuts and what that keeps of the mAP50 (one seed, short searches: a look at every method, not a
comparison; that is what studies are for). Makes one whole run of the product for each strategy:
each criterion with the allocation it came with, each allocation by L2, each granularity and each
recovery by MSIP. Runs that are done are kept in OUT/rows and not repeated. A goal that a method
cannot reach is asked as far as it goes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from msip_core.catalog import ALLOCATIONS, CRITERIA, GRANULARITIES, RECOVERIES
from msip_core.compositions import COMPOSITIONS
from msip_core.config import (
    RECIPES,
    CalibrationConfig,
    PruneConfig,
    SearchOptions,
    TrainingRecipe,
)
from msip_core.workspace import Workspace, write_json, write_text

CLASSES = ("crypt", "no_crypt")
CUTS = 4  # iterations of a run
# Whole blocks and single modules cannot come down to .335 of the MACs: what each is asked instead.
GOALS = {"modules": 0.8, "blocks": 0.85, "layerdrop": 0.93}
# Enough to show that a search works and goes on; a real one takes the defaults.
SEARCH = SearchOptions(
    images=16, recalibration=8, grid=(0.3, 0.6), trials=6, finalists=1, episodes=6,
    random_episodes=3, candidates=2, first_step=0.2, short_steps=1,
)  # fmt: skip


def main() -> None:
    options = _options()
    workspace = Workspace.open(options.workspace or options.out / "work" / "workspace")
    workspace.isolate_libraries()
    if options.model is None:
        (options.out / "work" / ".gitignore").write_text("*\n", encoding="utf-8")
        options.data, options.model = "drawn", prepare(workspace, options)
    for family, name, changes in plan(options.epochs):
        row = options.out / "rows" / f"{family}-{name}.json"
        if row.is_file() or (options.only and name not in options.only):
            continue
        write_json(row, one_run(workspace, f"{family}-{name}", changes, options))
        print(json.loads(row.read_text(encoding="utf-8")), flush=True)
    write_tables(options)


def plan(epochs: int) -> list[tuple[str, str, dict[str, Any]]]:
    """Family, name, and what differs from a plain run that fine-tunes for so many epochs."""
    rows: list[tuple[str, str, dict[str, Any]]] = []
    rows += [("criterion", name, {"method": name}) for name in CRITERIA]
    rows += [("allocation", name, {"method": "l2", "allocation": name}) for name in ALLOCATIONS]
    rows += [
        ("granularity", name, {"granularity": name, "keep_macs": GOALS.get(name, 0.335)})
        for name in GRANULARITIES
    ]
    # A recovery is nothing without an epoch.
    tuned = {} if epochs else {"finetune": TrainingRecipe(epochs=1, close_mosaic=0)}
    sparse = RECIPES["sparse-pretrain"].model_copy(update={"epochs": 1})
    for name in RECOVERIES:
        more = {"pretrain": sparse} if name == "sparse" else {}
        rows.append(("recovery", name, {"recovery": name, **tuned, **more}))
    if epochs:  # a composition cuts once: as much training as the others have in all
        recipe = RECIPES["quick-finetune"].model_copy(update={"epochs": CUTS * epochs})
        tuned = {"finetune": recipe}
    for name in ("slimming-cwd",):  # the others are rows of this table, or studies by name
        whole = COMPOSITIONS[name]
        rows.append(("composition", name, {**whole.settings, "pretrain": sparse, **tuned}))
    return rows


def prepare(workspace: Workspace, options: argparse.Namespace) -> str:
    """The drawn dataset, and a detector that has learned nothing."""
    import torch

    from msip_core.data.dataset import list_datasets, open_dataset
    from msip_core.data.synthetic import import_example
    from msip_core.detector.build import build_model, register_model

    if not any(item.name == "drawn" for item in list_datasets(workspace)):
        import_example(workspace, "drawn", images=options.images, size=options.imgsz, seed=0)
    model_id = f"yolov8{options.size}"
    if not (workspace.model_dir(model_id) / "model.json").is_file():
        torch.manual_seed(0)
        register_model(
            workspace, build_model(f"{model_id}.yaml", CLASSES), name=model_id, kind="baseline",
            imgsz=options.imgsz, model_id=model_id, dataset=open_dataset(workspace, "drawn"),
        )  # fmt: skip
    return model_id


def one_run(
    workspace: Workspace, run_id: str, changes: dict[str, Any], options: argparse.Namespace
) -> dict[str, Any]:
    """One whole run; what came out."""
    from msip_core.pruning.loop import run

    for shared in workspace.cache.glob("statistics-*"):  # else only the first run would score
        shutil.rmtree(shared)
    trained = options.workspace is not None
    search, calibration = SEARCH, CalibrationConfig(batches=2, batch=4, micro_batch=4)
    if trained:
        search = SEARCH.model_copy(update={"images": 64, "recalibration": 32, "trials": 20})
        calibration = CalibrationConfig(batches=4, batch=8, micro_batch=8)
    usual: dict[str, Any] = {
        "name": run_id, "dataset": options.data, "model": options.model,
        "imgsz": options.imgsz, "batch": 16 if trained else 4, "device": "cpu", "iterations": CUTS,
        "keep_macs": 0.335, "max_map50_drop": None, "calibration": calibration, "search": search,
        "finetune": RECIPES["quick-finetune"].model_copy(update={"epochs": options.epochs}),
    }  # fmt: skip
    config = PruneConfig(**{**usual, **changes})
    context = Context(workspace, run_id)
    started, busy = time.perf_counter(), time.process_time()
    run(config, context)
    records, final = context.records, context.final
    return {
        "run": run_id, "asked": config.goal[1], "reached": final.macs_ratio,
        "stopped_by": final.stopped_by, "iterations": len(records),
        "map50_first_cut": records[0].map50_before, "map50": final.metrics.map50,
        "map50_test": final.test.map50 if final.test else None,
        "score_seconds": sum(r.seconds["importance"] for r in records) / len(records),
        "cut_seconds": sum(r.seconds["pruning"] for r in records) / len(records),
        "seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - busy,
    }  # fmt: skip


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
        elif record.kind == "final":
            self.final = record

    def check_stop(self) -> None:
        pass


def write_tables(options: argparse.Namespace) -> None:
    """every_method.md and .json beside each other."""
    from importlib.metadata import version

    from msip_core.detector.devices import describe_device

    rows = [
        (family, name, json.loads(path.read_text(encoding="utf-8")))
        for family, name, _ in plan(options.epochs)
        if (path := options.out / "rows" / f"{family}-{name}.json").is_file()
    ]
    facts = {
        "model": options.model,
        "data": options.data,
        "imgsz": options.imgsz,
        "processor": describe_device("cpu").name,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "ultralytics", "torch-pruning")},
    }
    write_json(options.out / "every_method.json", {"facts": facts, "rows": [r for *_, r in rows]})
    learned = options.workspace is not None  # else mAP says nothing
    heads = ["family", "strategy", "MACs asked", "MACs reached"]
    heads += ["mAP50 after first cut", "at the end", "test"] if learned else []
    heads += ["score, s", "cut, s", "whole run, s"]
    lines = [_line(heads), _line(["---"] * len(heads))]
    lines += [_line(_cells(family, name, row, learned)) for family, name, row in rows]
    about = ", ".join(f"{key} {value}" for key, value in facts.items())
    text = "\n".join(lines)
    write_text(
        options.out / "every_method.md",
        f"# Every method, end to end\n\n{text}\n\nPrinted by `python benchmarks/every_method.py`. "
        f"Seconds per iteration for score and cut. {about}.\n",
    )
    print(text)


def _cells(family: str, name: str, row: dict[str, Any], learned: bool) -> list[str]:
    cells = [family, f"`{name}`", f"{row['asked']:.3f}", f"{row['reached']:.3f}"]
    if learned:
        found = (row["map50_first_cut"], row["map50"], row["map50_test"])
        cells += ["" if value is None else f"{value:.3f}" for value in found]
    seconds = f"{row['score_seconds']:.1f}", f"{row['cut_seconds']:.1f}", f"{row['seconds']:.0f}"
    return [*cells, *seconds]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--size", choices=("n", "s"), default="n", help="of the drawn one")
    parser.add_argument("--workspace", type=Path, help="one with a trained baseline")
    parser.add_argument("--data", help="dataset of the workspace")
    parser.add_argument("--model", help="baseline of the workspace")
    parser.add_argument("--imgsz", type=int, default=128)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=0, help="of fine-tuning after each cut")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/every_method_n"))
    parser.add_argument("--only", nargs="*", help="names of strategies")
    options = parser.parse_args()
    options.out = options.out.resolve()
    return options


if __name__ == "__main__":
    main()
