"""What a network keeps right after a cut, before any training, with each repair.

    python benchmarks/repair.py --workspace W --data D --model M --imgsz 256 --out DIR

Two tables, nothing trained in either: one cut to a third of the MACs, and four cuts to the same
goal, scored anew before each. Seven criteria, and MSIP with OBS as its geometry, each with every
repair on the same calibration images: none, batch norm recalibrated, and the weights refitted with
three ridges, of which validation chooses; accuracy is that of the test images. `auto` is what the
product's default, `--repair auto`, takes by validation.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

from msip_core import catalog
from msip_core.allocation.table import GroupTable
from msip_core.config import RIDGES, AllocationOptions, CalibrationConfig, MsipOptions
from msip_core.data.dataset import open_dataset
from msip_core.detector.c2f import to_c2f_v2
from msip_core.detector.checkpoints import load_model
from msip_core.detector.evaluation import Evaluator
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.groups.budget import Budget
from msip_core.groups.coupling import prunable_groups
from msip_core.importance.calibration import CalibrationSet, choose_images, load_calibration
from msip_core.importance.statistics import gather
from msip_core.models import weights_path
from msip_core.pruning.bn import recalibrated
from msip_core.pruning.refit import kept_filters, refitted
from msip_core.pruning.repair import AS_CUT, RECALIBRATED, refit_name
from msip_core.pruning.schedule import corridor
from msip_core.pruning.surgery import channel_counts, prune_channels
from msip_core.workspace import Workspace, write_json, write_text

# row -> criterion, allocation: the method's own, and Taylor's scores per MAC as ours
CRITERIA = {
    "msip": ("msip", "msip"),
    "taylor": ("taylor", "msip"),
    "taylor-abs": ("taylor-abs", "msip"),
    "taylor-2": ("taylor-2", "msip"),
    "obs": ("obs", "msip"),
    "lamp": ("lamp", "global"),
    "l2": ("l2", "uniform"),
    "msip-obs": ("msip", "msip"),
}
SWITCHES = {"msip-obs": {"geometry": "obs"}}  # of MSIP, where a row sets one
REFITS = tuple(refit_name(ridge) for ridge in RIDGES)
CUTS = 4
# Each cut's repair; "refitted" and "auto" by mAP50, then mAP50-95, on validation.
MODES = {
    "none": (AS_CUT,),
    "recalibrated": (RECALIBRATED,),
    "refitted": REFITS,
    "auto": (AS_CUT, RECALIBRATED, *REFITS),
}


class Bench:
    """The data, the baseline and what every row shares."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        workspace = Workspace.open(options.workspace)
        workspace.isolate_libraries()
        dataset, asked = open_dataset(workspace, options.data), CalibrationConfig()
        ids = choose_images(dataset, asked, options.seed)
        self.calibration: CalibrationSet = load_calibration(
            dataset, ids, asked, options.imgsz, options.seed
        )
        self.network = to_c2f_v2(load_model(weights_path(workspace, options.model)))
        self.network.to(options.device)
        self.val, self.test = (
            Evaluator(dataset, split, options.imgsz, 16, options.device)
            for split in ("val", "test")
        )
        groups = prunable_groups(self.network).groups
        self.whole = Budget(self.network, list(groups.values()), options.imgsz).macs_now
        self.original = {name: len(group[0].idxs) for name, group in groups.items()}

    def cut(
        self, model: DetectionModel, criterion: str, step: int, steps: int
    ) -> tuple[DetectionModel, dict[str, Tensor], float]:
        """The network after this step, the filters that stayed, and its share of the MACs."""
        groups = prunable_groups(model).groups
        names = zip(("criterion", "allocation"), CRITERIA[criterion], strict=True)
        kind, rule = (catalog.find(family, name).load() for family, name in names)
        settings = MsipOptions(dynamic_weights=False, **SWITCHES.get(criterion, {}))
        found = gather(model, self.calibration, kind.required(settings))
        scores = {n: s.numpy() for n, s in kind(found, settings, 0).scores(groups).items()}
        budget = Budget(model, list(groups.values()), self.options.imgsz)
        limits = AllocationOptions(max_removed_per_iteration=0.9 if steps == 1 else 0.35)
        band = corridor(
            step,
            steps,
            baseline=self.whole,
            now=budget.macs_now,
            keep=self.options.keep,
            round_to=limits.multiple,
        )
        chosen = rule(limits).allocate(GroupTable(budget, scores, self.original), band)
        after = copy_model(model)
        prune_channels(after, chosen.removed)
        kept = kept_filters(groups, chosen.removed, channel_counts(model))
        left = Budget(after, list(prunable_groups(after).groups.values()), self.options.imgsz)
        return after, kept, left.macs_now / self.whole

    def repaired(
        self, name: str, cut: DetectionModel, before: DetectionModel, kept: Mapping[str, Tensor]
    ) -> DetectionModel:
        """The network with the repair of this name."""
        if name == AS_CUT:
            return cut
        if name == RECALIBRATED:
            return recalibrated(cut, self.calibration)
        ridge = RIDGES[REFITS.index(name)]
        return refitted(cut, before, kept, self.calibration, ridge)

    def measured(self, evaluator: Evaluator, model: DetectionModel) -> list[float]:
        found = evaluator(model)
        return [found.map50, found.map50_95]

    def one_cut(self, criterion: str) -> dict[str, Any]:
        """Every repair of one cut to the goal."""
        cut, kept, left = self.cut(self.network, criterion, 1, 1)
        row: dict[str, Any] = {"criterion": criterion, "macs": left, "repairs": {}}
        for name in (AS_CUT, RECALIBRATED, *REFITS):
            started = time.perf_counter()
            model = self.repaired(name, cut, self.network, kept)
            seconds = time.perf_counter() - started
            row["repairs"][name] = {
                "val": self.measured(self.val, model),
                "test": self.measured(self.test, model),
                "seconds": seconds,
            }
        return row

    def four_cuts(self, criterion: str, mode: str) -> list[dict[str, Any]]:
        """Test accuracy after each of four cuts that follow each other without any training."""
        model, steps = self.network, []
        for step in range(1, CUTS + 1):
            cut, kept, left = self.cut(model, criterion, step, CUTS)
            tried = [(name, self.repaired(name, cut, model, kept)) for name in MODES[mode]]
            if len(tried) > 1:
                tried = [max(tried, key=lambda one: self.measured(self.val, one[1]))]
            (name, model), *_ = tried
            steps.append({"macs": left, "repair": name, "test": self.measured(self.test, model)})
        return steps


def main() -> None:
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "repair.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    started = time.perf_counter()
    bench = Bench(options)
    found.setdefault("baseline", bench.measured(bench.test, bench.network))
    found.setdefault("calibration", len(bench.calibration))
    for criterion in options.criteria:
        if criterion not in found.setdefault("one", {}):
            found["one"][criterion] = bench.one_cut(criterion)
            print(json.dumps(found["one"][criterion]), flush=True)
            write_json(path, found)
    for criterion in options.four:
        for mode in options.modes:
            if mode not in found.setdefault("four", {}).setdefault(criterion, {}):
                found["four"][criterion][mode] = bench.four_cuts(criterion, mode)
                print(criterion, mode, json.dumps(found["four"][criterion][mode]), flush=True)
                write_json(path, found)
    found["seconds"] = found.get("seconds", 0) + time.perf_counter() - started
    write_json(path, found)
    write_text(options.out / "repair.md", _tables(found, options))


def _chosen(repairs: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return max(names, key=lambda name: repairs[name]["val"])


def _head_of_one(options: argparse.Namespace) -> list[str]:
    if not options.criteria:
        return []
    return [
        f"One cut to {options.keep:g} of the MACs:",
        "",
        "| criterion | MACs | as cut | recalibrated | "
        + " | ".join(f"ridge {ridge:g}" for ridge in RIDGES)
        + " | ridge by validation | `auto` takes | seconds of a refit |",
        "|---" * (7 + len(RIDGES)) + "|",
    ]


def _tables(found: Mapping[str, Any], options: argparse.Namespace) -> str:
    base = found["baseline"]
    lines = [
        "# What a network keeps right after a cut, nothing trained",
        "",
        f"    python benchmarks/repair.py --data {options.data} --model {options.model} "
        f"--imgsz {options.imgsz}",
        "",
        f"Baseline: test mAP50 {base[0]:.3f}, mAP50-95 {base[1]:.3f}. "
        f"{found['calibration']} calibration images, seed {options.seed}, one seed only. Cells: "
        "test mAP50 / mAP50-95.",
        "",
        *_head_of_one(options),
    ]
    for row in found.get("one", {}).values():
        repairs = row["repairs"]
        cells = [_cell(repairs[name]["test"]) for name in (AS_CUT, RECALIBRATED, *REFITS)]
        best, auto = _chosen(repairs, REFITS), _chosen(repairs, MODES["auto"])
        seconds = sum(repairs[name]["seconds"] for name in REFITS) / len(REFITS)
        lines.append(
            f"| {row['criterion']} | {row['macs']:.3f} | {' | '.join(cells)} | "
            f"{_cell(repairs[best]['test'])} ({best.rsplit(' ', 1)[1]}) | "
            f"{_cell(repairs[auto]['test'])} ({auto}) | {seconds:.1f} |"
        )
    lines += [
        "",
        f"Four cuts to {options.keep:g} of the MACs, each scored anew on the repaired network:",
        "",
        "| criterion | repair | "
        + " | ".join(f"cut {i + 1}" for i in range(CUTS))
        + " | least share of the baseline's mAP50 |",
        "|---" * (3 + CUTS) + "|",
    ]
    for criterion, modes in found.get("four", {}).items():
        for mode, steps in modes.items():
            cells = [f"{_cell(s['test'])}{_ridge(s['repair'], mode)}" for s in steps]
            least = min(s["test"][0] for s in steps) / base[0]
            lines.append(f"| {criterion} | {mode} | {' | '.join(cells)} | {least:.3f} |")
    lines += ["", f"{found['seconds']:.0f} s in all on {torch.get_num_threads()} thread(s)."]
    return "\n".join(lines) + "\n"


def _ridge(repair: str, mode: str) -> str:
    return f" ({repair})" if mode in ("refitted", "auto") else ""


def _cell(values: list[float]) -> str:
    return f"{values[0]:.3f} / {values[1]:.3f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--imgsz", type=int, default=256)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=float, default=0.335)
    parser.add_argument("--criteria", nargs="*", default=list(CRITERIA))
    parser.add_argument("--four", nargs="*", default=["msip"], help="cut four times")
    parser.add_argument("--modes", nargs="*", default=list(MODES), help="how those are repaired")
    return parser.parse_args()


if __name__ == "__main__":
    main()
