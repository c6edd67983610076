r"""Every published system that the product knows by name, run end to end on one dataset.

    python benchmarks/systems.py --workspace W --data orgaquant --model orgaquant-baseline \
        --imgsz 256 --out DIR

Each is the row that `study run NAME` starts (`msip_core.compositions`), shortened: at most two cuts
unless it makes one, 8 epochs after them in all, 4 before them where it prepares by training, small
searches. MSIP and Taylor per MAC at a third of the MACs stand beside them. What is kept is its own
baseline's: a depthwise network is trained first, from scratch, for as long as `--own-epochs`. One
seed: the table shows that each works and what it asks for, not which is better.

Rows are processes of one thread, side by side (`--jobs`), kept in OUT/rows as each ends and not
made again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.seeds import context_of, file_of, go, run_all
from benchmarks.seeds_table import machine
from msip_core.compositions import COMPOSITIONS
from msip_core.config import RECIPES, PruneConfig, TrainConfig
from msip_core.recipes import TrainingRecipe
from msip_core.studies.plan import Row, StudyPlan
from msip_core.studies.presets import preset_plan
from msip_core.views.wording import GOALS
from msip_core.workspace import write_json, write_text

OURS = {"msip": "MSIP", "taylor-per-mac": "Taylor, per MAC"}
SEED = 0


def main() -> None:
    options = _options()
    if options.one:
        one_run(options)
        return
    started = time.perf_counter()
    failed = run_all(options, started)
    write_table(options, time.perf_counter() - started)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}; see OUT/work")


def one_run(options: argparse.Namespace) -> None:
    """One system, in a workspace of its own."""
    name = options.one.rsplit("-s", 1)[0]
    started, context = time.perf_counter(), context_of(options, options.one)
    whole = COMPOSITIONS.get(name)
    model, places = options.model, [context.workspace.root]
    if whole is not None and whole.weights:
        recipe = _recipe(RECIPES["quick-baseline"], options.own_epochs)
        go(TrainConfig(**_shared(options), weights=whole.weights, recipe=recipe), context)
        model, trained = context.final.model_id, context.workspace
        context = context_of(options, f"{options.one}-cut")
        places.append(context.workspace.root)
        shutil.copytree(
            trained.model_dir(model), context.workspace.model_dir(model), dirs_exist_ok=True
        )
    config = config_of(name, model, options)
    go(config, context)
    final = context.final
    kind, asked = config.goal
    write_json(
        file_of(options, name, SEED),
        {"row": name, "seed": SEED, "goal": kind, "asked": asked, "reached": final.goal_ratio,
         "macs_ratio": final.macs_ratio, "map50": final.test.map50,
         "map50_95": final.test.map50_95, "baseline": final.baseline_test.map50,
         "own_baseline": model != options.model, "cuts": config.iterations,
         "epochs": config.finetune_epochs,
         "before": config.preparation.epochs if config.preparation else 0,
         "seconds": time.perf_counter() - started},
    )  # fmt: skip
    for place in places:
        shutil.rmtree(place)


def config_of(name: str, model: str, options: argparse.Namespace) -> PruneConfig:
    """The run of the study of this system, with the epochs that all get here."""
    plan, row = plan_of(name, model, options)
    config = plan.pruning(row, model=model, seed=SEED)
    times = 1 if config.finetune_after == "last-cut" else config.iterations
    changes: dict[str, Any] = {
        "finetune": _recipe(RECIPES["quick-finetune"], options.epochs // times)
    }
    if config.preparation is not None:
        changes["pretrain"] = _recipe(config.preparation, options.before)
    return config.model_copy(update=changes)


def plan_of(name: str, model: str, options: argparse.Namespace) -> tuple[StudyPlan, Row]:
    """The smallest study that has the system, and its row."""
    study = name if name in COMPOSITIONS else "table-3-1"
    plan = preset_plan(
        study, "smoke", options.data, model=model, imgsz=options.imgsz, device=options.device,
        batch=16,
    )  # fmt: skip
    key = f"s-{name}" if name in COMPOSITIONS else name
    # A calibration as small as the smallest study's would judge the data-driven ones unfairly.
    budget = {**plan.budget, "calibration": {"batches": 4, "batch": 16}}
    return plan.model_copy(update={"budget": budget}), next(r for r in plan.rows if r.key == key)


def _shared(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "name": options.one,
        "dataset": options.data,
        "imgsz": options.imgsz,
        "batch": 16,
        "device": options.device,
        "seed": SEED,
    }


def _recipe(recipe: TrainingRecipe, epochs: int) -> TrainingRecipe:
    update = {"epochs": epochs, "nbs": 16, "close_mosaic": min(2, epochs // 2)}
    return recipe.model_copy(update=update)


# --- the table ----------------------------------------------------------------


def write_table(options: argparse.Namespace, seconds: float) -> None:
    """systems.md and systems.json beside each other."""
    found = [
        json.loads(path.read_text(encoding="utf-8"))
        for row in options.rows
        if (path := file_of(options, row, SEED)).is_file()
    ]
    lines = [
        "| name | system | command | asked | reached | MACs left | test mAP50 / mAP50-95 "
        "| mAP50 kept | cuts | epochs before + after | s |",
        "|---" * 11 + "|",
        *(_line(one) for one in found),
    ]
    facts = machine(options) | {"seconds_of_this_call": round(seconds)}
    write_json(options.out / "systems.json", {"facts": facts, "rows": found})
    text = "\n".join(lines)
    about = ", ".join(f"{key} {value}" for key, value in facts.items())
    write_text(
        options.out / "systems.md",
        f"# Published systems by name: {options.model} on {options.data}\n\n"
        "One seed, at most two cuts: it shows that each runs end to end and what it reaches, not "
        f"which is better.\n\n{text}\n\nPrinted by `python benchmarks/systems.py`. {about}.\n",
    )
    print(text)


def _line(one: dict[str, Any]) -> str:
    name = one["row"]
    known = COMPOSITIONS.get(name)
    command = f"`prune --composition {name}`" if known else "`study run table-3-1`"
    kept = f"{one['map50'] / one['baseline']:.3f}" if one["baseline"] else "baseline finds none"
    cells = [
        f"`{name}`", known.label if known else OURS[name], command,
        f"{one['asked']:.3f} of the {GOALS[one['goal']]}", f"{one['reached']:.3f}",
        f"{one['macs_ratio']:.3f}", f"{one['map50']:.3f} / {one['map50_95']:.3f}",
        f"{kept} of its own baseline" if one["own_baseline"] else kept, str(one["cuts"]),
        f"{one['before']} + {one['epochs']}", f"{one['seconds']:.0f}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--workspace", type=Path, required=True, help="one with both of these")
    parser.add_argument("--data", required=True, help="dataset of the workspace")
    parser.add_argument("--model", required=True, help="trained baseline of the workspace")
    parser.add_argument("--imgsz", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    names = [*COMPOSITIONS, *OURS]
    parser.add_argument("--rows", nargs="+", choices=names, default=names)
    parser.add_argument("--epochs", type=int, default=8, help="after the cuts, in all")
    parser.add_argument("--before", type=int, default=4, help="where a system prepares by training")
    parser.add_argument("--own-epochs", type=int, default=12, help="of a baseline of its own")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="side by side")
    parser.add_argument("--seconds", type=float, default=math.inf, help="for everything")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--one", help=argparse.SUPPRESS)  # what a process does
    options = parser.parse_args()
    options.out = options.out.resolve()
    options.seeds, options.table = [SEED], "systems"
    options.iterations, options.keep = 2, "each system's own"
    return options


if __name__ == "__main__":
    main()
