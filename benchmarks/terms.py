"""Which terms predict what removing a channel costs: rank correlations with the measured loss.

    python benchmarks/terms.py --workspace W --data D --model M --imgsz 256 --out DIR

A few channels of every group of coupled channels are masked, one at a time (pruning.masking: the
same as removing them), and the detection loss is measured on training images that no term has
seen. A term is good when its ranks go with the size of that change: inside a group (mean over the
groups), and over all channels together. Terms of MSIP as they are (`msip`), as they were
(distances between filters, share of active cells alone, bits alone), and Taylor's scores.

One channel changes the loss by about a hundredth of a percent to some percents, so single
correlations inside a group are small for every term; what counts is how they compare.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor
from ultralytics.utils.loss import v8DetectionLoss

from msip_core.config import CalibrationConfig, MsipOptions
from msip_core.data.dataset import open_dataset
from msip_core.detector.c2f import to_c2f_v2
from msip_core.detector.checkpoints import load_model
from msip_core.groups.coupling import prunable_groups
from msip_core.importance.calibration import CalibrationSet, load_calibration
from msip_core.importance.msip import MsipImportance, MsipLiteralImportance
from msip_core.importance.obs import ObsImportance
from msip_core.importance.statistics import gather, ready
from msip_core.importance.taylor import (
    TaylorAbsImportance,
    TaylorImportance,
    TaylorSecondImportance,
)
from msip_core.models import weights_path
from msip_core.pruning.masking import Mask
from msip_core.workspace import Workspace

NEEDS = frozenset({"taylor", "taylor-abs", "taylor-2", "sparsity", "information", "obs"})
_ABOUT = (
    "Spearman's rank correlation of each term with the size of the change of the detection loss",
    "when a channel is masked, nothing repaired, on images that no term has seen. `obs` predicts",
    "the cost after the refit, and is judged by benchmarks/repair.py.",
)
PARTS = ("gradient", "geometry", "sparsity", "information")


def main() -> None:
    options = _options()
    started = time.perf_counter()
    workspace = Workspace.open(options.workspace)
    dataset = open_dataset(workspace, options.data)
    model = to_c2f_v2(load_model(weights_path(workspace, options.model)))
    groups: dict[str, Any] = prunable_groups(model).groups
    seen, unseen = _images(dataset, options)
    chance = random.Random(options.seed)
    chosen = {
        name: chance.sample(range(len(group[0].idxs)), min(options.channels, len(group[0].idxs)))
        for name, group in groups.items()
    }
    changes = _changes(model, groups, unseen, chosen)
    terms = _terms(model, groups, seen)
    rows = [_row(name, score, groups, chosen, changes) for name, score in terms.items()]
    _write(options, rows, sum(map(len, chosen.values())), time.perf_counter() - started)


def _images(dataset: Any, options: argparse.Namespace) -> tuple[CalibrationSet, CalibrationSet]:
    """Calibration images, and others to measure the loss on."""
    names = sorted(r.id for r in dataset.split("train") if sum(r.counts.values()))
    random.Random(options.seed).shuffle(names)
    config = CalibrationConfig(batches=4, batch=16, micro_batch=8)
    one = CalibrationConfig(batches=1, batch=options.images)
    seen = load_calibration(dataset, names[:64], config, options.imgsz, options.seed)
    rest = names[64 : 64 + options.images]
    return seen, load_calibration(dataset, rest, one, options.imgsz, options.seed)


@torch.no_grad()
def _changes(
    model: Any, groups: dict[str, Any], images: CalibrationSet, chosen: dict[str, list[int]]
) -> dict[str, list[float]]:
    """Group -> change of the loss per image without each of the chosen channels."""
    mask, every = Mask(model, groups), range(len(images))
    pixels, targets = images.pixels(every, "cpu"), images.targets(every)
    working = mask.masked({})
    with ready(working), torch.no_grad():
        criterion = v8DetectionLoss(working)

        def loss(network: Any) -> float:
            return float(criterion(network(pixels), targets)[0].sum()) / len(images)

        whole = loss(working)
        found = {}
        for number, (name, channels) in enumerate(chosen.items()):
            found[name] = [loss(mask.masked({name: [c]})) - whole for c in channels]
            print(f"{number + 1} of {len(chosen)} groups", file=sys.stderr, flush=True)
    return found


def _terms(
    model: Any, groups: dict[str, Any], images: CalibrationSet
) -> dict[str, dict[str, Tensor]]:
    """Name of a term -> group -> (channels,) values."""
    statistics = gather(model, images, NEEDS)
    now = MsipImportance(statistics)
    before = MsipLiteralImportance(statistics, MsipOptions())
    found: dict[str, dict[str, Tensor]] = {}
    for label, scheme in (("now", now), ("as it was", before)):
        terms = {name: scheme.terms(group) for name, group in groups.items()}
        for part in PARTS:
            if part != "gradient":
                found[f"{part}, {label}"] = {n: getattr(t, part) for n, t in terms.items()}
    scorers: dict[str, Callable[[Any], Any]] = {
        "Taylor (gradient)": TaylorImportance(statistics),
        "Taylor, absolute": TaylorAbsImportance(statistics),
        "Taylor, second order": TaylorSecondImportance(statistics),
        "OBS (after compensation)": ObsImportance(statistics),
        "`msip` at the paper's weights": now,
    }
    for name, scorer in scorers.items():
        found[name] = {n: scorer(group) for n, group in groups.items()}
    return found


def _row(
    name: str,
    scores: dict[str, Tensor],
    groups: dict[str, Any],
    chosen: dict[str, list[int]],
    changes: dict[str, list[float]],
) -> dict[str, Any]:
    """Correlations of one term with the size of the change."""
    inside, values, sizes = [], [], []
    for group in groups:
        x, y = scores[group].numpy()[chosen[group]], np.abs(changes[group])
        values.append(x)
        sizes.append(y)
        inside.append(spearmanr(x, y)[0] if np.ptp(x) > 0 and np.ptp(y) > 0 else 0.0)
    over = spearmanr(np.concatenate(values), np.concatenate(sizes))[0]
    error = float(np.std(inside, ddof=1) / len(inside) ** 0.5)
    return {"term": name, "inside": float(np.mean(inside)), "error": error, "over": float(over)}


def _write(
    options: argparse.Namespace, rows: list[dict[str, Any]], channels: int, seconds: float
) -> None:
    rows = sorted(rows, key=lambda row: -row["inside"])
    lines = [
        "# Which terms predict what removing a channel costs",
        "",
        f"    python benchmarks/terms.py --workspace W --data {options.data} "
        f"--model {options.model} --imgsz {options.imgsz} --out DIR",
        "",
        *_ABOUT,
        "",
        f"{channels} channels, {options.images} images, {seconds:.0f} s.",
        "",
        "| term | inside a group (± standard error over groups) | over all channels |",
        "| --- | --- | --- |",
        *(
            f"| {r['term']} | {r['inside']:.2f} ± {r['error']:.2f} | {r['over']:.2f} |"
            for r in rows
        ),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "terms.md").write_text(text, encoding="utf-8")
    document = {"channels": channels, "images": options.images, "rows": rows}
    (options.out / "terms.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--imgsz", type=int, default=256)
    parser.add_argument("--channels", type=int, default=6, help="of every group")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
