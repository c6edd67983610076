"""One command that repeats the OrgaQuant table: plain torch-pruning beside MSIP, equal budget.

    python benchmarks/orgaquant.py --data organoids_two_class.zip --weights yolov8n.pt --out DIR

Protocol: OrgaQuant images only, both classes as `organoid`; subsets 2-4 for training (a tenth of
it set aside for validation, which drives all feedback), subset 5 only reported. YOLOv8n, 256 px,
12 epochs; then 4 iterations of pruning and 2 epochs of fine-tuning down to a third of the MACs.
Every row starts from the same baseline, is repaired after each cut on the same calibration images
(`repair: auto`, by validation), is fine-tuned by the same recipe for as many epochs, of which the
best on validation is kept, lands on the same MACs (within 1 %), and keeps widths in multiples of 8,
as the product does by default (`--round-to 1`: as they fall).

All rows run side by side, one thread each. A row that is done is kept in OUT/rows and not run
again, so the command can be stopped and repeated; its processor time is in the table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# One thread a row: rows side by side use two cores better than one row on both.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from msip_core.workspace import Workspace, write_json, write_text

DATASET, BASELINE_ID = "orgaquant", "orgaquant-baseline"
ROWS = {
    "baseline-more": "baseline, 8 more epochs",
    "random": "torch-pruning random (per layer)",
    "l2": "torch-pruning L2 (per layer)",
    "lamp": "torch-pruning LAMP (global)",
    "taylor": "Taylor, per MAC",
    "taylor-abs": "Taylor, absolute, per MAC",
    "taylor-2": "Taylor, second order, per MAC",
    "msip-literal": "`msip-literal`",
    "msip": "`msip`",
}
PLAIN = ("random", "l2", "lamp")  # by torch-pruning's own pruner; the others by the product
# Longest first, so that rows side by side end together.
ORDER = ("baseline-more", "msip", "msip-literal", "taylor-2", "taylor", "taylor-abs", *PLAIN)
DEFAULT = ORDER[1:]  # the first: --rows


def main() -> None:
    options = _options()
    workspace = Workspace.open(options.out / "work" / "workspace")
    (options.out / "work" / ".gitignore").write_text("*\n", encoding="utf-8")
    workspace.isolate_libraries()
    if options.row:
        _run_row(options, workspace)
        return
    started = time.perf_counter()
    prepare(options, workspace)
    wanted = [row for row in ORDER if row in (options.rows or DEFAULT)]
    run_rows([row for row in wanted if not _row_file(options, row).is_file()], options)
    write_table(options, time.perf_counter() - started)


def prepare(options: argparse.Namespace, workspace: Workspace) -> None:
    """Data into the workspace, and the baseline, trained plainly."""
    from organoid_data import extract

    from msip_core.config import ImportConfig, SplitConfig
    from msip_core.data.dataset import open_dataset
    from msip_core.data.importing import import_dataset
    from msip_core.errors import NotFoundError

    folder = extract(options.data, options.out / "work" / DATASET, seed=options.seed)
    try:
        open_dataset(workspace, DATASET)
    except NotFoundError:
        import_dataset(
            workspace,
            ImportConfig(source=folder, name=DATASET, split=SplitConfig(keep_existing=True)),
        )
    if not _row_file(options, "baseline").is_file():
        train_baseline(options, workspace)


def train_baseline(options: argparse.Namespace, workspace: Workspace) -> None:
    """YOLOv8n for 12 epochs by plain Ultralytics; a model of the workspace afterwards."""
    import torch
    from plain_training import BASELINE, train

    from msip_core.data.dataset import open_dataset
    from msip_core.detector.build import adapt_classes, build_model, register_model
    from msip_core.detector.checkpoints import load_model, normalise, round_to_half

    started = time.perf_counter()
    classes = ("organoid",)
    torch.manual_seed(options.seed)
    if options.weights:
        model = adapt_classes(load_model(options.weights), classes).model
    else:
        model = build_model("yolov8n.yaml", classes)
    trained: Any = train(
        model, options.out / "work" / DATASET / "data.yaml", options.out / "work" / "baseline",
        epochs=options.epochs, imgsz=options.imgsz, seed=options.seed, recipe=BASELINE,
        validate=_validator(options, workspace, classes), threads=os.cpu_count() or 1,
    )  # fmt: skip
    trained.names = dict(enumerate(classes))
    baseline = round_to_half(normalise(trained))
    register_model(
        workspace, baseline, name="OrgaQuant baseline", kind="baseline", imgsz=options.imgsz,
        model_id=BASELINE_ID, dataset=open_dataset(workspace, DATASET),
    )  # fmt: skip
    _write_row(options, "baseline", baseline, [], time.perf_counter() - started)


# --- rows -----------------------------------------------------------------------


def run_rows(rows: list[str], options: argparse.Namespace) -> None:
    """Each row in its own process, `--jobs` at a time: as many as there are keep all cores busy
    to the end, where two at a time would leave an odd one alone."""
    waiting, running = list(rows), dict[str, subprocess.Popen[bytes]]()
    while waiting or running:
        while waiting and len(running) < options.jobs:
            row = waiting.pop(0)
            running[row] = _start_row(row, options)
        time.sleep(0.5)
        for row, process in list(running.items()):
            code = process.poll()
            if code is None:
                continue
            del running[row]
            if code != 0:
                for other in running.values():
                    other.terminate()
            _finish(row, code)


def _finish(row: str, code: int) -> None:
    print(f"{row}: {'done' if code == 0 else f'failed ({code}), see its log'}", flush=True)
    if code != 0:
        raise SystemExit(1)


def _start_row(row: str, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    with (options.out / "work" / f"{row}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, __file__, *sys.argv[1:], "--row", row],
            stdout=log,
            stderr=log,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )


def _run_row(options: argparse.Namespace, workspace: Workspace) -> None:
    started = time.perf_counter()
    if options.row == "baseline-more":
        model, before = _more_epochs(options, workspace)
    elif options.row in PLAIN:
        model, before = _plain(options, workspace)
    else:
        model, before = _ours(options, workspace)
    _write_row(options, options.row, model, before, time.perf_counter() - started)


def _more_epochs(options: argparse.Namespace, workspace: Workspace) -> tuple[Any, list[float]]:
    from plain_training import FINETUNE, train

    model = _baseline(workspace)
    epochs = options.iterations * options.finetune
    return _tune(train, model, options, epochs=epochs, recipe=FINETUNE, name="more"), []


def _plain(options: argparse.Namespace, workspace: Workspace) -> tuple[Any, list[float]]:
    """torch-pruning's own pruner, iteration by iteration, with plain fine-tuning."""
    from plain_pruning import prune_to
    from plain_training import FINETUNE, train

    from msip_core.detector.c2f import to_c2f_v2
    from msip_core.detector.cost import count_cost
    from msip_core.detector.library import copy_model

    model: Any = to_c2f_v2(_baseline(workspace))
    macs, before = count_cost(model, options.imgsz).macs, []
    evaluate, repair = _evaluator(options, workspace), _repair(options, workspace)
    for t in range(1, options.iterations + 1):
        goal = macs * options.keep ** (t / options.iterations)
        whole = copy_model(model)
        model = prune_to(
            model,
            options.row,
            goal,
            options.imgsz,
            seed=options.seed + t,
            round_to=options.round_to,
        )
        # As cut, recalibrated, absorbed or refitted, by validation.
        model = repair(model, whole)
        before.append(evaluate(model).map50)
        print(options.row, t, count_cost(model, options.imgsz).macs / macs, before, flush=True)
        model = _tune(
            train,
            model,
            options,
            epochs=options.finetune,
            recipe=FINETUNE,
            name=f"{options.row}-{t}",
        )
    return model, before


def _ours(options: argparse.Namespace, workspace: Workspace) -> tuple[Any, list[float]]:
    """The product's own run; the model after each cut is measured before it is fine-tuned."""
    from plain_training import BATCH, FINETUNE

    from msip_core.config import AllocationOptions, MsipOptions, PruneConfig, TrainingRecipe
    from msip_core.detector.checkpoints import load_model
    from msip_core.events import Payload, Stage
    from msip_core.pruning.loop import run

    per_mac = {"allocation": "msip"} if options.row.startswith("taylor") else {}
    config = PruneConfig(
        **per_mac, name=options.row, dataset=DATASET, model=BASELINE_ID, imgsz=options.imgsz,
        batch=BATCH, device="cpu", seed=options.seed, method=options.row, keep_macs=options.keep,
        iterations=options.iterations, max_map50_drop=None,
        precision="fp32",  # as plain Ultralytics trains on a CPU
        finetune=TrainingRecipe(epochs=options.finetune, **FINETUNE),
        limits=AllocationOptions(round_to=options.round_to),
        # The table of the method sheet has static weights.
        msip=MsipOptions(dynamic_weights=False),
    )  # fmt: skip
    evaluate, before = _evaluator(options, workspace), dict[int, float]()

    class Context:
        run_id = options.row
        run_dir = workspace.run_dir(options.row)

        def __init__(self) -> None:
            self.workspace = workspace
            self.run_dir.mkdir(parents=True, exist_ok=True)

        def emit(self, record: Payload) -> None:
            if record.kind == "milestone":
                print(record.message, flush=True)
            if record.kind == "stage" and record.stage is Stage.FINETUNING:
                cut = self.run_dir / "iterations" / str(record.iteration) / "pruned.pt"
                before[record.iteration] = evaluate(load_model(cut)).map50

        def check_stop(self) -> None:
            pass

    run(config, Context())
    return load_model(workspace.model_dir(f"pruned-{options.row}") / "model.pt"), [
        before[t] for t in sorted(before)
    ]


def _repair(options: argparse.Namespace, workspace: Workspace) -> Callable[[Any, Any], Any]:
    """What the product does after a cut by default, for (cut network, network before): as cut, or
    recalibrated or refitted on the calibration images of the run, the best by mAP50 on validation
    (then mAP50-95)."""
    from msip_core.config import CalibrationConfig
    from msip_core.data.dataset import open_dataset
    from msip_core.detector.evaluation import Evaluator
    from msip_core.importance.calibration import choose_images, load_calibration
    from msip_core.pruning.repair import repair

    dataset, asked = open_dataset(workspace, DATASET), CalibrationConfig()
    ids = choose_images(dataset, asked, options.seed)
    images = load_calibration(dataset, ids, asked, options.imgsz, options.seed)
    evaluate = Evaluator(dataset, "val", options.imgsz, 32)

    def best(model: Any, before: Any) -> Any:
        model.names = before.names
        return repair(model, "auto", images, evaluate, lambda: (before, _kept(model, before))).model

    return best


def _kept(model: Any, before: Any) -> dict[str, Any]:
    """Which filters a pruner of others left, convolution by convolution: each batch norm keeps its
    values of the channels that stay, in their order."""
    import torch
    from torch import nn

    old, kept = dict(before.named_modules()), {}
    for name, conv in model.named_modules():
        if not isinstance(conv, nn.Conv2d):
            continue
        norm = name.removesuffix("conv") + "bn"
        if norm not in old or conv.out_channels == old[name].out_channels:
            kept[name] = torch.arange(conv.out_channels)
            continue
        here, there = (
            torch.stack([m.weight, m.bias, m.running_mean, m.running_var], 1).detach()
            for m in (model.get_submodule(norm), old[norm])
        )
        place, found = 0, []
        for values in here:
            while not torch.equal(there[place], values):
                place += 1
            found.append(place)
            place += 1
        kept[name] = torch.tensor(found)
    return kept


def _tune(
    train: Callable[..., Any], model: Any, options: argparse.Namespace, *, epochs: int,
    recipe: dict[str, Any], name: str,
) -> Any:  # fmt: skip
    from msip_core.detector.checkpoints import normalise

    trained = train(
        normalise(model), options.out / "work" / DATASET / "data.yaml",
        options.out / "work" / name, epochs=epochs, imgsz=options.imgsz, seed=options.seed,
        recipe=recipe, validate=_validator(options, Workspace.open(options.out / "work/workspace")),
        threads=int(os.environ["OMP_NUM_THREADS"]),
    )  # fmt: skip
    trained.names = {0: "organoid"}
    return normalise(trained)


def _baseline(workspace: Workspace) -> Any:
    from msip_core.detector.checkpoints import load_model

    return load_model(workspace.model_dir(BASELINE_ID) / "model.pt")


def _validator(
    options: argparse.Namespace, workspace: Workspace, classes: tuple[str, ...] = ("organoid",)
) -> Callable[[Any], tuple[float, float]]:
    """mAP50 and mAP50-95 on the validation images."""
    from msip_core.data.dataset import open_dataset
    from msip_core.detector.evaluation import Evaluator

    evaluate = Evaluator(open_dataset(workspace, DATASET), "val", options.imgsz, 32)

    def validate(model: Any) -> tuple[float, float]:
        model.names = dict(enumerate(classes))  # plain training names classes by number
        found = evaluate(model)
        return found.map50, found.map50_95

    return validate


def _evaluator(options: argparse.Namespace, workspace: Workspace) -> Any:
    from msip_core.data.dataset import open_dataset
    from msip_core.detector.evaluation import Evaluator

    return Evaluator(open_dataset(workspace, DATASET), "test", options.imgsz, 32)


# --- results --------------------------------------------------------------------


def _row_file(options: argparse.Namespace, row: str) -> Path:
    path: Path = options.out / "rows" / f"{row}.json"
    return path


def _write_row(
    options: argparse.Namespace, row: str, model: Any, before: list[float], seconds: float
) -> None:
    from msip_core.detector.cost import count_cost

    workspace = Workspace.open(options.out / "work" / "workspace")
    metrics = _evaluator(options, workspace)(model)
    cost = count_cost(model, options.imgsz)
    write_json(
        _row_file(options, row),
        {"row": row, "macs": cost.macs, "params": cost.params, "map50": metrics.map50,
         "map50_95": metrics.map50_95, "map50_before": before, "seconds": seconds,
         "cpu_seconds": time.process_time(), "images": metrics.images},
    )  # fmt: skip
    print(row, f"mAP50 {metrics.map50:.3f}", f"{seconds:.0f} s", flush=True)


def write_table(options: argparse.Namespace, seconds: float) -> None:
    """orgaquant.md and orgaquant.json beside each other: rows, settings, machine."""
    names = {"baseline": "baseline YOLOv8n", **ROWS}
    rows = [
        json.loads(_row_file(options, name).read_text(encoding="utf-8"))
        for name in names
        if _row_file(options, name).is_file()
    ]
    whole = rows[0]["macs"]
    lines = [
        "| model | MACs ratio | params (M) | mAP50 | mAP50-95 | "
        "mAP50 before fine-tuning, iterations 1-4 | core-minutes |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        before = " ".join(f"{value:.3f}" for value in row["map50_before"])
        lines.append(
            f"| {names[row['row']]} | {row['macs'] / whole:.3f} | {row['params'] / 1e6:.2f} | "
            f"{row['map50']:.3f} | {row['map50_95']:.3f} | {before} | {_minutes(row)} |"
        )
    facts = machine() | {
        "weights": options.weights.name if options.weights else "from scratch",
        "seed": options.seed, "imgsz": options.imgsz, "epochs": options.epochs,
        "iterations": options.iterations, "finetune": options.finetune, "keep": options.keep,
        "round_to": options.round_to,
        "seconds_of_this_call": round(seconds), "test_images": rows[0]["images"],
        "core_minutes": _core_minutes(rows),
    }  # fmt: skip
    write_json(options.out / "orgaquant.json", {"facts": facts, "rows": rows})
    about = ", ".join(f"{key} {value}" for key, value in facts.items())
    text = "\n".join(lines)
    write_text(
        options.out / "orgaquant.md",
        f"# OrgaQuant, subset 5 ({rows[0]['images']} images), one seed\n\n{text}\n\n"
        f"Printed by `python benchmarks/orgaquant.py`. {about}.\n",
    )
    print(text)


def _core_minutes(rows: list[dict[str, Any]]) -> float | None:
    """Processor time of the whole table, where every row has kept its own."""
    kept = [row["cpu_seconds"] / 60 for row in rows if "cpu_seconds" in row]
    return round(sum(kept), 1) if len(kept) == len(rows) else None


def _minutes(row: dict[str, Any]) -> str:
    """Processor time of a row: a busy computer does not change it."""
    return f"{row['cpu_seconds'] / 60:.1f}" if "cpu_seconds" in row else "not kept"


def machine() -> dict[str, Any]:
    """What it ran on."""
    from importlib.metadata import version

    from msip_core.detector.devices import describe_device

    return {
        "processor": describe_device("cpu").name,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "ultralytics", "torch-pruning")},
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="organoids_two_class.zip")
    parser.add_argument("--weights", type=Path, help="start weights (.pt); none: from scratch")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/orgaquant"))
    parser.add_argument("--imgsz", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--finetune", type=int, default=2, help="epochs after each cut")
    parser.add_argument("--keep", type=float, default=1 / 3, help="share of the MACs left")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--round-to", type=int, choices=(1, 8), default=8, help="widths' multiple")
    parser.add_argument("--jobs", type=int, default=len(ROWS), help="rows side by side")
    parser.add_argument(
        "--rows",
        nargs="*",
        choices=list(ROWS),
        help="only these; also there: what as many more epochs do for the baseline",
    )
    parser.add_argument("--row", choices=list(ROWS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out = options.out.resolve()
    return options


if __name__ == "__main__":
    main()
