"""One epoch of training batches, no network: Ultralytics' loader beside the device loader.

    python benchmarks/loaders.py --data organoids_two_class.zip --out DIR

OrgaQuant images as benchmarks/orgaquant.py splits them, mosaic, mixup .2, rotation 15 degrees, on
one thread. Both loaders in turn; seconds are the medians of the repeats, of processor time on a
CPU (other work on the computer does not count) and of the clock on a GPU. Writes loaders.json.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from statistics import median
from typing import Any


def main() -> None:
    options = _options()
    os.environ["OMP_NUM_THREADS"] = "1"
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
            dataset, imgsz=options.imgsz, batch=16, device=options.device, loader=name,
            workers=options.workers,
        )  # fmt: skip
        loaders[name] = pool.train_loader(_settings(options.imgsz))
    seconds: dict[str, list[float]] = {name: [] for name in loaders}
    for repeat in range(options.repeats):
        for name, loader in loaders.items():
            seconds[name].append(_epoch(loader, repeat, options))
    found = {name: round(median(times), 3) for name, times in seconds.items()}
    result = {
        "device": options.device, "imgsz": options.imgsz, "images": len(dataset.split("train")),
        "batches": options.batches, "workers": options.workers, "seconds": found,
        "ratio": round(found["device"] / found["ultralytics"], 2),
    }  # fmt: skip
    (options.out / "loaders.json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(json.dumps(result, indent=2))


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
    parser.add_argument("--data", type=Path, required=True, help="organoids_two_class.zip")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--imgsz", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0, help="of Ultralytics' loader, on a GPU")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batches", type=int, default=0, help="of an epoch; 0 takes all")
    return parser.parse_args()


if __name__ == "__main__":
    main()
