"""Fill a workspace with many finished runs, their models and one large dataset.

    python benchmarks/crowded_workspace.py DIR [--runs 500] [--images 10000]

The folders are as the product writes them, so every page can open them; the images are a few
drawn micrographs under many names, and the numbers of the runs are invented. For measuring how
pages and lists cope with many things, and for nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from msip_core.config import ImportConfig, PruneConfig, TrainingRecipe  # noqa: E402
from msip_core.data.importing import import_dataset  # noqa: E402
from msip_core.data.manifest import DatasetDocument, ImageRecord, summarise  # noqa: E402
from msip_core.data.synthetic import write_folder  # noqa: E402
from msip_core.data.writing import write_lists  # noqa: E402
from msip_core.events import (  # noqa: E402
    BaselineRecord,
    Cost,
    EpochRecord,
    FinalRecord,
    IterationRecord,
    LayerChannels,
    Metrics,
    MilestoneRecord,
    Record,
    Stage,
    StageRecord,
)
from msip_core.models import ModelCard, write_card  # noqa: E402
from msip_core.runs.service import RunService  # noqa: E402
from msip_core.workspace import Workspace  # noqa: E402

DATASET, BASELINE = "crowd", "crowd-baseline"
_DRAWN = 24  # images that are really drawn; the others are links to them
_SIZE = 256
_ITERATIONS, _EPOCHS = 8, 3
_CLASSES = ("crypt", "no_crypt")
_LAYERS = tuple((f"model.{i}.conv", width) for i, width in enumerate((16, 32, 64, 128, 256) * 12))


def fill(workspace: Workspace, runs: int = 500, images: int = 10_000) -> None:
    """Add the dataset, a baseline, and finished pruning runs with a model each."""
    add_dataset(workspace, images)
    baseline = _metrics(0.9)
    cost = Cost(macs=1_020_000_000, params=3_006_000, size_mb=5.9, imgsz=_SIZE)
    _add_model(workspace, BASELINE, "baseline", baseline, cost)
    for index in range(runs):
        _add_run(workspace, index, baseline, cost)
    RunService(workspace).reindex()


def write_text(path: Path, text: str) -> None:
    """Without the product's fsync: thousands of them would be most of the time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


def add_dataset(workspace: Workspace, images: int) -> None:
    """A dataset of drawn micrographs, most of them hard links under another name."""
    with tempfile.TemporaryDirectory(prefix="drawn-", dir=workspace.cache) as folder:
        source = write_folder(Path(folder) / "drawn", _DRAWN, _SIZE, 0)
        drawn = import_dataset(workspace, ImportConfig(source=source, name=DATASET))
    root, records = drawn.root, list(drawn.images)
    for index in range(_DRAWN, images):
        records.append(_linked(root, drawn.images[index % _DRAWN], index))
    document = drawn.document.model_copy(update={"images": tuple(records)})
    _rewrite(root, document)


def _linked(root: Path, original: ImageRecord, index: int) -> ImageRecord:
    """The same picture and labels as another image of the dataset."""
    name = f"plate{9 + index // 960}_{'ABCDEFGH'[index // 120 % 8]}{index // 10 % 12 + 1:02d}"
    new_id = f"{name}_f{index}"
    file = f"images/{new_id}{Path(original.file).suffix}"
    os.link(root / original.file, root / file)
    os.link(root / "labels" / f"{original.id}.txt", root / "labels" / f"{new_id}.txt")
    update = {"id": new_id, "file": file, "group": name, "source": file}
    return original.model_copy(update=update)


def _rewrite(root: Path, document: DatasetDocument) -> None:
    boxes = {
        name: sum(image.counts.get(name, 0) for image in document.images)
        for name in document.classes
    }
    kept = len(document.images)
    report = document.report.model_copy(update={"boxes": boxes, "kept": kept, "found": kept})
    document = document.model_copy(update={"report": report})
    write_lists(root, document.images)
    write_json(root / "summary.json", summarise(document).model_dump(mode="json"))
    write_text(root / "dataset.json", document.model_dump_json(indent=1) + "\n")


def _add_model(
    workspace: Workspace, model_id: str, kind: str, val: Metrics, cost: Cost, **more: object
) -> None:
    card = ModelCard.model_validate(
        {"id": model_id, "name": model_id, "kind": kind, "architecture": "yolov8n",
         "classes": _CLASSES, "imgsz": _SIZE, "dataset": DATASET, "val": val, "test": val,
         "cost": cost, **more}
    )  # fmt: skip
    write_card(workspace, card)
    (workspace.model_dir(model_id) / "model.pt").write_bytes(b"no weights: made for a benchmark")


def _add_run(workspace: Workspace, index: int, baseline: Metrics, cost: Cost) -> None:
    luck = random.Random(index)
    run_id = f"prune-crowd-{index:05d}"
    config = PruneConfig(
        name=f"Run {index}", dataset=DATASET, model=BASELINE, imgsz=_SIZE, device="cpu",
        method=luck.choice(("msip", "l2", "lamp", "taylor", "random")), seed=index,
        iterations=_ITERATIONS, keep_macs=luck.choice((0.335, 0.5, 0.6)),
        finetune=TrainingRecipe(epochs=_EPOCHS),
    )  # fmt: skip
    iterations = [_iteration(config, cost, k, luck) for k in range(1, _ITERATIONS + 1)]
    last = iterations[-1]
    small = cost.model_copy(update={"macs": last.macs, "params": last.params})
    val, model_id = _metrics(last.map50_after), f"pruned-crowd-{index:05d}"
    final = FinalRecord(
        iteration=_ITERATIONS, metrics=val, test=val, baseline_test=baseline, cost=small,
        macs_ratio=last.macs_ratio, model_id=model_id,
        artifacts={"model": f"models/{model_id}/model.pt"},
    )  # fmt: skip
    folder = workspace.run_dir(run_id)
    write_json(folder / "config.json", config.model_dump(mode="json"))
    write_json(folder / "provenance.json", {"seed": index, "attempts": []})
    write_text(folder / "log.txt", "made for a benchmark\n")
    for record in iterations:
        write_json(
            folder / "iterations" / str(record.index) / "metrics.json",
            record.model_dump(mode="json"),
        )
    first = BaselineRecord(metrics=baseline, cost=cost, seconds=12.0)
    _write_story(folder, index, _history(first, iterations, final, luck))
    _add_model(workspace, model_id, "pruned", val, small, baseline_id=BASELINE,
               macs_ratio=last.macs_ratio, origin={"run_id": run_id})  # fmt: skip


def _history(
    baseline: BaselineRecord,
    iterations: list[IterationRecord],
    final: FinalRecord,
    luck: random.Random,
) -> list[Record]:
    history: list[Record] = [StageRecord(stage=Stage.BASELINE), baseline]
    for record in iterations:
        for stage in (Stage.IMPORTANCE, Stage.PRUNING, Stage.EVALUATION_BEFORE, Stage.FINETUNING):
            history.append(StageRecord(stage=stage, iteration=record.index))
        for epoch in range(1, _EPOCHS + 1):
            losses = {name: luck.uniform(0.5, 1.5) for name in ("box", "cls", "dfl")}
            history.append(
                EpochRecord(iteration=record.index, phase="finetune", epoch=epoch, epochs=_EPOCHS,
                            losses=losses, map50=record.map50_after, seconds=9.0)
            )  # fmt: skip
        history += [StageRecord(stage=Stage.EVALUATION_AFTER, iteration=record.index), record]
        history.append(MilestoneRecord(message=f"Iteration {record.index} is done."))
    return [*history, StageRecord(stage=Stage.TESTING), final]


def _write_story(folder: Path, index: int, records: list[Record]) -> None:
    """events.jsonl as EventLog writes it, without its lock and its fsyncs."""
    states = ("queued", "running", "completed")
    events = [{"kind": "state", "state": s, "before": None, "reason": None} for s in states[:2]]
    events += [record.model_dump(mode="json") for record in records]
    events.append({"kind": "state", "state": states[2], "before": states[1], "reason": None})
    start = time.time() - 1e6 + 1000 * index
    lines = (
        json.dumps({"seq": n, "time": round(start + n, 3), **event})
        for n, event in enumerate(events, 1)
    )
    write_text(folder / "events.jsonl", "\n".join(lines) + "\n")


def _iteration(config: PruneConfig, cost: Cost, index: int, luck: random.Random) -> IterationRecord:
    share = config.keep_macs ** (index / config.iterations)
    after = 0.9 - 0.05 * (1 - share) + luck.uniform(-0.01, 0.01)
    return IterationRecord(
        index=index, macs=int(cost.macs * share), params=int(cost.params * share),
        size_mb=cost.size_mb * share, macs_ratio=share, map50_before=after - 0.1,
        map50_95_before=0.4, map50_after=after, map50_95_after=after / 2, alpha=0.1 * index,
        loss_after=1.5, weights=config.msip.weights.model_dump(),
        seconds={"importance": 4, "pruning": 1, "evaluation": 3, "finetuning": 27},
        layers=tuple(
            LayerChannels(name=name, before=width, after=max(8, int(width * share)),
                          original=width)
            for name, width in _LAYERS
        ),
        model=f"iterations/{index}/model.pt",
    )  # fmt: skip


def _metrics(map50: float) -> Metrics:
    return Metrics(split="val", map50=map50, map50_95=map50 / 2, precision=map50, recall=map50,
                   loss=1.4, per_class=dict.fromkeys(_CLASSES, map50), images=1000)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--images", type=int, default=10_000)
    options = parser.parse_args()
    began = time.perf_counter()
    fill(Workspace.open(options.folder), options.runs, options.images)
    print(f"{options.runs} runs, {options.images} images: {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
