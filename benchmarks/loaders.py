"""Ultralytics' loader beside the device loader: time, and what training on their batches gives.

    python benchmarks/loaders.py --data organoids_two_class.zip --out DIR
    python benchmarks/loaders.py --seeds 3 --out DIR

The first: one epoch of batches, no network. OrgaQuant images as benchmarks/orgaquant.py splits
them, mosaic, mixup .2, rotation 15 degrees, on one thread. Both loaders in turn; seconds are the
medians of the repeats, of processor time on a CPU (other work on the computer does not count) and
of the clock on a GPU. Writes loaders.json.

The second: two epochs of fine-tuning of the shipped example's baseline by either loader, with and
without rotation (which the boxes around turned objects make visible in mAP50-95), mosaic and mixup
.2, some seeds each. Writes loaders_accuracy.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> None:
    options = _options()
    os.environ["OMP_NUM_THREADS"] = "1"
    options.out.mkdir(parents=True, exist_ok=True)
    result = _accuracy(options) if options.seeds else _times(options)
    name = "loaders_accuracy.json" if options.seeds else "loaders.json"
    (options.out / name).write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(json.dumps(result, indent=2))


def _times(options: argparse.Namespace) -> dict[str, Any]:
    import cv2
    import torch

    from msip_core.data.dataset import open_dataset
    from msip_core.detector.pool import DataPool
    from msip_core.workspace import Workspace

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    workspace = Workspace.open(options.out / "workspace")
    _import(workspace, options)
    dataset = open_dataset(workspace, "loaders")
    loaders: dict[str, Any] = {}
    for name in ("ultralytics", "device"):
        pool = DataPool(
            dataset,
            imgsz=options.imgsz,
            batch=16,
            device=options.device,
            loader=name,
            workers=options.workers,
        )
        loaders[name] = pool.train_loader(_settings(options.imgsz))
    seconds: dict[str, list[float]] = {name: [] for name in loaders}
    for repeat in range(options.repeats):
        for name, loader in loaders.items():
            seconds[name].append(_epoch(loader, repeat, options))
    found = {name: round(median(times), 3) for name, times in seconds.items()}
    return {
        "device": options.device,
        "imgsz": options.imgsz,
        "images": len(dataset.split("train")),
        "batches": options.batches,
        "workers": options.workers,
        "seconds": found,
        "ratio": round(found["device"] / found["ultralytics"], 2),
    }


def _accuracy(options: argparse.Namespace) -> dict[str, Any]:
    """mAP on the test images by loader, rotation and seed; means and spreads over seeds."""
    from finetuning import ROOT
    from quiet import Quiet

    from msip_core.data.dataset import open_dataset
    from msip_core.detector.checkpoints import load_model
    from msip_core.detector.evaluation import Evaluator
    from msip_core.detector.pool import DataPool
    from msip_core.detector.training import fit
    from msip_core.example import install_example
    from msip_core.models import list_models, weights_path
    from msip_core.recipes import RECIPES
    from msip_core.workspace import Workspace

    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.open(folder)
        workspace.isolate_libraries()
        install_example(workspace, ROOT / "assets" / "example")
        dataset = open_dataset(workspace, "example")
        card = next(card for card in list_models(workspace) if card.kind == "baseline")
        model = load_model(weights_path(workspace, card.id))
        evaluator, ctx = Evaluator(dataset, "test", card.imgsz), Quiet(workspace, "loaders")
        for name in ("ultralytics", "device"):
            pool = DataPool(dataset, imgsz=card.imgsz, batch=16, device=options.device, loader=name)
            for degrees, seed in product((0.0, 15.0), range(options.seeds)):
                changes = {"degrees": degrees, "mixup": 0.2, "close_mosaic": 0}
                recipe = RECIPES["quick-finetune"].model_copy(update=changes)
                fitted = fit(
                    model, recipe, pool=pool, workdir=ctx.run_dir / f"{name}-{degrees:g}-{seed}",
                    seed=seed, phase="finetune", iteration=1, ctx=ctx, validate_every=0,
                )  # fmt: skip
                found = evaluator(fitted.model)
                rows.append(
                    {"loader": name, "degrees": degrees, "seed": seed,
                     "map50": round(found.map50, 4), "map50_95": round(found.map50_95, 4)}
                )  # fmt: skip
                print(rows[-1], flush=True)
    return {"device": options.device, "rows": rows, "summary": _summary(rows)}


def _summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, float], list[float]] = {}
    for row in rows:
        groups.setdefault((row["loader"], row["degrees"]), []).append(row["map50_95"])
    return [
        {
            "loader": name,
            "degrees": degrees,
            "map50_95": round(mean(found), 4),
            "spread": round(stdev(found), 4) if len(found) > 1 else None,
        }
        for (name, degrees), found in groups.items()
    ]


def _import(workspace: Any, options: argparse.Namespace) -> None:
    from organoid_data import extract

    from msip_core.config import ImportConfig, SplitConfig
    from msip_core.data.dataset import open_dataset
    from msip_core.data.importing import import_dataset
    from msip_core.errors import NotFoundError

    try:
        open_dataset(workspace, "loaders")
    except NotFoundError:
        folder = extract(options.data, options.out / "images")
        split = SplitConfig(keep_existing=True)
        import_dataset(workspace, ImportConfig(source=folder, name="loaders", split=split))


def _settings(imgsz: int) -> Any:
    from msip_core.detector.library import hyperparameters

    return hyperparameters(imgsz=imgsz, mosaic=1.0, mixup=0.2, degrees=15.0, scale=0.2)


def _epoch(loader: Any, seed: int, options: argparse.Namespace) -> float:
    import torch

    on_gpu = options.device.startswith("cuda")
    clock = time.perf_counter if on_gpu else time.process_time
    loader.generator.manual_seed(seed)
    loader.reset()
    started = clock()
    for number, batch in enumerate(loader, 1):
        batch["img"].to(options.device, non_blocking=on_gpu)
        if number == options.batches:
            break
    if on_gpu:
        torch.cuda.synchronize()
    return clock() - started


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="organoids_two_class.zip")
    parser.add_argument("--seeds", type=int, default=0, help="train with so many, instead")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--imgsz", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0, help="of Ultralytics' loader, on a GPU")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batches", type=int, default=0, help="of an epoch; 0 takes all")
    options = parser.parse_args()
    if not options.seeds and options.data is None:
        parser.error("say --data, or --seeds for the accuracy")
    return options


if __name__ == "__main__":
    main()
