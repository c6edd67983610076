"""The parts of benchmarks/gpu.py: each times one thing that a person waits for, and checks it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import pairwise
from typing import Any

from benchmarks.gpu_lab import BASELINE, DATA, KEEP, PROTOCOL, Lab, Row, Skipped
from benchmarks.overhead import stage_seconds

Part = Callable[[Lab], Iterator[Row]]
TIMES_ULTRALYTICS = 5.0
TIMES_TAYLOR, MOST_SCORING_S = 1.5, 1.0
AROUND_S, MOST_EXPLAIN_S, MOST_COMPARE_S = 5.0, 2.0, 10.0
MOST_HOURS = 1.2
SAME_WEIGHTS, SAME_MAP50 = 0.05, 0.02  # a resumed fit on a GPU: kernels add in no fixed order
FREED_WITHIN_S = 10.0
HALF, NEAR, TWICE = 0.5, 0.05, 2.0


def training(lab: Lab) -> Iterator[Row]:
    """Images a second of an epoch: ours by both loaders, and plain Ultralytics, in turn."""
    from msip_core.detector.pool import loader_workers
    from msip_core.recipes import RECIPES

    count, epochs = len(lab.dataset.split("train")), 1 if lab.small else 3
    seconds: dict[str, float] = {}
    recipe = RECIPES["quick-finetune"].model_copy(
        update={"epochs": epochs, "mosaic": 1.0, "mixup": 0.0, "close_mosaic": 0}
    )
    for loader in ("device", "ultralytics"):
        seconds[loader] = min(_epochs(lab, recipe, loader))
    seconds["plain Ultralytics"] = _plain_epoch(lab, epochs)
    rates = {name: count / each for name, each in seconds.items()}
    times = seconds["plain Ultralytics"] / seconds["device"]
    told = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
    lab.found["epoch"] = seconds["device"]
    yield Row(
        "images a second of training, by loader",
        f"{told}: {times:.1f} × plain Ultralytics",
        f"≥ {TIMES_ULTRALYTICS:g} × plain Ultralytics",
        times >= TIMES_ULTRALYTICS if lab.on_gpu else None,
        {"seconds_an_epoch": seconds},
    )
    workers = loader_workers(lab.device, None)
    yield Row(
        "loading processes that the product chooses itself",
        str(workers),
        "chosen from the computer",
        workers > 0 if lab.on_gpu else None,
    )


def _epochs(lab: Lab, recipe: Any, loader: str) -> list[float]:
    """Seconds of each epoch after the first, or of the only one; nothing is validated."""
    from msip_core.detector.training import fit

    context = lab.context(f"epochs-{loader}")
    stamps = [time.perf_counter()]
    told = context.emit

    def emit(record: Any) -> None:
        if record.kind == "epoch":
            lab.wait()
            stamps.append(time.perf_counter())
        told(record)

    context.emit = emit  # type: ignore[method-assign]
    with closing(lab.pool(loader)) as pool:
        fit(
            lab.model(), recipe, pool=pool, workdir=context.run_dir / f"{time.time_ns()}", seed=0,
            phase="finetune", iteration=1, ctx=context, validate_every=0,
        )  # fmt: skip
    each = [b - a for a, b in pairwise(stamps)]
    return each[1:] or each


def _plain_epoch(lab: Lab, epochs: int) -> float:
    """Seconds of the quickest epoch of YOLO.train with the same augmentation, after the first."""
    from ultralytics.models.yolo.detect import DetectionTrainer

    stamps: list[float] = []
    settings = {
        "model": "yolov8n.yaml", "data": str(lab.dataset.root / "data.yaml"), "epochs": epochs,
        "imgsz": lab.imgsz, "batch": lab.batch, "device": lab.device.removeprefix("cuda:"),
        "workers": lab.options.workers, "cache": "ram", "plots": False, "val": False,
        "save": False, "seed": 0, "amp": lab.on_gpu, "mosaic": 1.0, "mixup": 0.0, "scale": 0.2,
        "close_mosaic": 0, "deterministic": False, "project": str(lab.options.out / "plain"),
        "exist_ok": True,
    }  # fmt: skip
    trainer = DetectionTrainer(overrides=settings)
    trainer.get_model = lambda **_: _trainable(lab.model())

    def stamp(_: Any) -> None:
        lab.wait()
        stamps.append(time.perf_counter())

    trainer.add_callback("on_train_epoch_start", stamp)
    trainer.add_callback("on_train_epoch_end", stamp)
    trainer.validate = lambda: ({}, 0.0)
    trainer.final_eval = lambda: None
    trainer.train()
    each = [b - a for a, b in zip(stamps[::2], stamps[1::2], strict=True)]
    return min(each[1:] or each)


def _trainable(model: Any) -> Any:
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model


def scoring(lab: Lab) -> Iterator[Row]:
    """MSIP's calibration pass beside the plain Taylor pass, on the same images."""
    from msip_core.catalog import CRITERIA
    from msip_core.config import CalibrationConfig, MsipOptions
    from msip_core.detector.c2f import to_c2f_v2
    from msip_core.importance.calibration import choose_images, load_calibration
    from msip_core.importance.statistics import gather

    images = 8 if lab.small else 128
    config = CalibrationConfig(batches=images // lab.batch, batch=lab.batch)
    ids = choose_images(lab.dataset, config, 0)
    calibration = load_calibration(lab.dataset, ids, config, lab.imgsz, 0).kept_on(lab.device)
    model = to_c2f_v2(lab.model()).to(lab.device)
    needs = {name: CRITERIA[name].load().required(MsipOptions()) for name in ("msip", "taylor")}
    works = {
        name: lambda need=need: gather(model, calibration, need) for name, need in needs.items()
    }
    found = lab.in_turn(works, 1 if lab.small else 3)
    times = found["msip"] / found["taylor"]
    lab.found["scoring"] = found["msip"]
    holds = times <= TIMES_TAYLOR and found["msip"] <= MOST_SCORING_S
    yield Row(
        f"MSIP's terms, {len(calibration)} images",
        f"{found['msip']:.2f} s, {times:.2f} × the plain Taylor pass",
        f"≤ {TIMES_TAYLOR} ×, ≤ {MOST_SCORING_S:g} s",
        holds if lab.on_gpu else None,
        found,
    )


def runs(lab: Lab) -> Iterator[Row]:
    """A pruning run and a training by the command line: the clock, less what they are for."""
    common = ("--data", DATA, "--imgsz", str(lab.imgsz), "--batch", str(lab.batch),
              "--device", lab.device)  # fmt: skip
    epochs = 1 if lab.small else 4
    wall, _ = lab.verb("train", *common, "--weights", BASELINE, "--epochs", str(epochs),
                       "--no-pretrain", "--name", "timed training")  # fmt: skip
    inside = _inside(lab, "train")
    yield _around(f"training of {epochs} epochs", "epochs", wall, inside, lab)
    wall, _ = lab.verb(
        "prune", *common, "--model", BASELINE, "--keep-macs", str(KEEP), "--iterations", "2",
        "--epochs", "1", "--no-pretrain", "--max-drop", "0", "--name", "timed run",
    )  # fmt: skip
    inside = _inside(lab, "prune")
    yield _around("a run of 2 iterations × 1 epoch", "stages", wall, inside, lab)


def _around(what: str, inner: str, wall: float, inside: dict[str, float], lab: Lab) -> Row:
    spent = wall - sum(inside.values())
    return Row(
        f"{what}: all, and beside its {inner}",
        f"{wall:.1f} s, {spent:.1f} s beside",
        f"{inner} + ≤ {AROUND_S:g} s",
        spent <= AROUND_S if lab.on_gpu else None,
        {"wall_s": wall, "inside_s": inside},
    )


def _inside(lab: Lab, kind: str) -> dict[str, float]:
    """Seconds of the newest run of this kind, stage by stage."""
    folders = sorted(lab.workspace.runs.iterdir(), key=lambda path: path.stat().st_mtime)
    folder = next(f for f in reversed(folders) if f.name.startswith(kind))
    return stage_seconds(folder / "events.jsonl")


def explaining(lab: Lab) -> Iterator[Row]:
    """Grad-CAM and SHAP of one object by both models, as a page asks for them: models warm."""
    from msip_core.questions.base import Job
    from msip_core.questions.looking import GradCam, Shap
    from msip_core.questions.sources import DatasetImage, SavedModel

    image = next(r.id for r in lab.dataset.split("test") if sum(r.counts.values()))
    out = lab.options.out / "explained"
    out.mkdir(exist_ok=True)
    asked = {
        "image": DatasetImage(dataset=DATA, image=image),
        "device": lab.device,
        "imgsz": lab.imgsz,
    }
    few = {"features": 20, "samples": 200} if lab.small else {}
    at = Job(lab.workspace, out, lambda *_: None)

    def both() -> None:
        for model in (SavedModel(model=BASELINE), SavedModel(model=lab.pruned)):
            GradCam(model=model, **asked).answer(at)
            Shap(model=model, **asked, **few).answer(at)

    both()
    seconds = lab.seconds(both)
    yield Row(
        "Grad-CAM + SHAP of one image, both models",
        f"{seconds:.1f} s",
        f"≤ {MOST_EXPLAIN_S:g} s",
        seconds <= MOST_EXPLAIN_S if lab.on_gpu else None,
    )


def comparing(lab: Lab) -> Iterator[Row]:
    """`compare` of two models by the command line, everything in it."""
    seconds, _ = lab.verb("compare", "--baseline", BASELINE, "--pruned", lab.pruned, "--data", DATA)
    yield Row(
        f"`compare` of two models, {len(lab.dataset.split('test'))} images",
        f"{seconds:.1f} s",
        f"≤ {MOST_COMPARE_S:g} s",
        seconds <= MOST_COMPARE_S if lab.on_gpu else None,
    )


def resuming(lab: Lab) -> Iterator[Row]:
    """Two epochs, and the same stopped after the first one: how far the weights come apart."""
    from msip_core.detector.evaluation import Evaluator
    from msip_core.detector.training import fit
    from msip_core.errors import Stopped
    from msip_core.recipes import RECIPES

    recipe = RECIPES["quick-finetune"].model_copy(update={"epochs": 2, "close_mosaic": 0})
    context = lab.context("resuming")

    def go(folder: str, stop: bool = False) -> Any:
        def emit(record: Any) -> None:
            if stop and record.kind == "epoch":
                raise Stopped("pause")

        context.emit = emit  # type: ignore[method-assign]
        with closing(lab.pool()) as pool:
            return fit(
                lab.model(), recipe, pool=pool, workdir=context.run_dir / folder, seed=0,
                phase="finetune", iteration=1, ctx=context, validate_every=0,
            ).model  # fmt: skip

    name = str(time.time_ns())
    with suppress(Stopped):
        go(f"broken-{name}", stop=True)
    resumed, whole = go(f"broken-{name}"), go(f"whole-{name}")
    ours, theirs = resumed.state_dict(), whole.state_dict()
    apart = max(
        float((ours[k].float() - theirs[k].float()).norm() / theirs[k].float().norm().clamp(1e-6))
        for k in theirs
        if theirs[k].is_floating_point()
    )
    evaluate = Evaluator(lab.dataset, "val", lab.imgsz, lab.batch, lab.device)
    difference = abs(evaluate(resumed).map50 - evaluate(whole).map50)
    yield Row(
        "a fit that was stopped, beside an unbroken one",
        f"weights {apart:.1e} apart at most, mAP50 {difference:.4f}",
        f"≤ {SAME_WEIGHTS:g}, ≤ {SAME_MAP50:g}",
        apart <= SAME_WEIGHTS and difference <= SAME_MAP50,
        {"largest_relative_distance": apart, "map50_difference": difference},
    )


def killing(lab: Lab) -> Iterator[Row]:
    """Memory of the GPU after kill -9 of a training: as much as before it."""
    import torch

    if not lab.on_gpu:
        raise Skipped("no GPU")
    torch.cuda.empty_cache()
    before, _ = torch.cuda.mem_get_info()
    worker = lab.begin(
        "train", "--data", DATA, "--weights", BASELINE, "--epochs", "200", "--no-pretrain",
        "--imgsz", str(lab.imgsz), "--device", lab.device,
    )  # fmt: skip
    taken = _until(lambda: before - torch.cuda.mem_get_info()[0] > 1e9, 90)
    for pid in _tree(worker.pid):
        os.kill(pid, signal.SIGKILL)
    worker.wait()
    started = time.perf_counter()
    freed = _until(lambda: before - torch.cuda.mem_get_info()[0] < 0.2e9, FREED_WITHIN_S)
    yield Row(
        "memory of the GPU after kill -9 of a run",
        f"back after {time.perf_counter() - started:.1f} s" if freed else "not back",
        f"≤ {FREED_WITHIN_S:g} s",
        taken and freed,
    )


def _until(true: Callable[[], bool], seconds: float) -> bool:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        if true():
            return True
        time.sleep(0.1)
    return False


def _tree(pid: int) -> list[int]:
    """A process and all that it started."""
    import psutil

    parent = psutil.Process(pid)
    return [child.pid for child in parent.children(recursive=True)] + [pid]


def milliseconds(lab: Lab) -> Iterator[Row]:
    """A run that asks for half the milliseconds where it runs: what its end measured, and how the
    model is in every way to run it. Nothing is trained: accuracy is not what this is about."""
    way = ("--latency-device", lab.device)
    if lab.on_gpu:
        way += ("--latency-format", "cudagraph", "--latency-precision", "fp16",
                "--latency-batch", "32")  # fmt: skip
    from msip_core.runs.events_log import EventLog

    keep = 0.95 if lab.small else HALF  # a thin network's milliseconds hardly depend on its widths
    _, done = lab.verb(
        "prune", "--data", DATA, "--model", BASELINE, "--imgsz", str(lab.imgsz), "--batch",
        str(lab.batch), "--device", lab.device, "--keep-latency", str(keep), "--iterations", "4",
        "--epochs", "0", "--no-pretrain", "--max-drop", "0", "--repair", "none", *way,
    )  # fmt: skip
    events = EventLog(lab.workspace.run_dir(done["id"])).read()
    (reached,) = [event["goal_ratio"] for event in events if event["kind"] == "final"]
    model = done["final"]["model_id"]
    yield Row(
        f"{keep:.0%} of the milliseconds asked for, where it runs",
        f"{reached:.1%} at its end",
        f"{keep:.0%} ± {NEAR:.0%}",
        abs(reached - keep) <= NEAR * keep if lab.on_gpu else None,
    )
    for made, name in ((model, "asked for milliseconds"), (lab.pruned, "a third of MACs")):
        ratios = _ratios(lab, made)
        told = ", ".join(f"{how} {ratio:.2f} ×" for how, ratio in ratios.items())
        times = ratios.get("cudagraph fp16 32", ratios.get("pytorch fp16 32", 0.0))
        mine = lab.on_gpu and made == model
        yield Row(
            f"speed of the pruned model ({name})",
            told,
            f"≥ {TWICE} × at batch 32 in fp16" if mine else "",
            times >= TWICE if mine else None,
            {"times_as_fast": ratios},
        )


def _ratios(lab: Lab, model: str) -> dict[str, float]:
    """Times as fast as the unpruned one, by format, precision and batch, measured in turn."""
    rounds = "5" if lab.small else "30"
    formats = ("--formats", "pytorch,onnx") if lab.small else ()
    _, found = lab.verb(
        "latency", model, "--beside", BASELINE, "--device", lab.device, "--runs", rounds,
        "--imgsz", str(lab.imgsz), *formats,
    )  # fmt: skip
    by: dict[str, dict[str, float]] = {}
    for one in found["latency"]:
        how = f"{one['format']} {one['precision']} {one['batch']}"
        by.setdefault(how, {})[one["name"]] = one["median_ms"]
    return {how: each["baseline"] / each["pruned"] for how, each in by.items()}


def placing(lab: Lab) -> Iterator[Row]:
    """How many runs of this kind the GPUs take at a time."""
    from msip_core.config import PruneConfig
    from msip_core.gpus import list_gpus
    from msip_core.runs.gpu_memory import needed_gb

    gpus = list_gpus()
    if not gpus:
        raise Skipped("no GPU")
    config = PruneConfig(dataset=DATA, model=BASELINE, imgsz=lab.imgsz, batch=lab.batch)
    needed = needed_gb(config, lab.workspace)
    fit = [int((gpu.free_gb or 0.0) // needed) for gpu in gpus]
    yield Row(
        "runs at a time, device auto",
        ", ".join(f"{gpu.name}: {count}" for gpu, count in zip(gpus, fit, strict=True)),
        "all GPUs, as many as fit",
        all(fit),
        {"needed_gb": needed},
    )


def whole_table(lab: Lab) -> Iterator[Row]:
    """Hours of the paper's table 3-1, from the parts that were measured: every epoch is counted
    at the unpruned network's seconds, every iteration with its scoring."""
    if "epoch" not in lab.found or "scoring" not in lab.found:
        raise Skipped("an epoch or the scoring was not measured")
    iterations = PROTOCOL["rows"] * PROTOCOL["iterations"]
    seconds = iterations * (PROTOCOL["epochs"] * lab.found["epoch"] + lab.found["scoring"])
    hours = seconds / 3600
    yield Row(
        "table 3-1 in the paper's size (7 rows × 16 × 30 epochs), estimated",
        f"{hours:.2f} h",
        f"≤ {MOST_HOURS:g} h",
        hours <= MOST_HOURS if lab.on_gpu and not lab.small else None,
    )


PARTS: dict[str, Part] = {
    "training": training, "scoring": scoring, "runs": runs, "explaining": explaining,
    "comparing": comparing, "milliseconds": milliseconds, "placing": placing,
    "resuming": resuming, "killing": killing, "whole-table": whole_table,
}  # fmt: skip
