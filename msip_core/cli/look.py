"""`compare`, `latency`, `export`: what models cost and find, and files that run elsewhere."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from msip_core.cli.asking import ask, model_source
from msip_core.cli.console import table
from msip_core.cli.plate_options import ImageSize, Iou
from msip_core.cli.predicting import predict
from msip_core.cli.targets import file_target, folder_target
from msip_core.cli.verbs import Answer, Session
from msip_core.data.dataset import Dataset, open_dataset
from msip_core.data.manifest import SplitName
from msip_core.errors import ConfigError
from msip_core.questions.detecting import Compare, Comparison, Export
from msip_core.questions.speed import MissingWay, Timed, TimeModels
from msip_core.views import sentences, tables
from msip_core.workspace import write_json, write_text

_MOST_RUNS, _TIMING_S = 100, 3  # measurements, and seconds for all of them

_WHICH = "A model of the workspace, a .pt file, or RUN/STEP."
Model = Annotated[str, typer.Option(help=_WHICH)]
TheModel = Annotated[str, typer.Argument(help=_WHICH)]
Conf = Annotated[float, typer.Option(min=0, max=1, help="Lowest score of a box.")]

_MOST_IMAGES = 1024  # at a time


@dataclass(frozen=True, slots=True)
class Timing:
    """Where both models run, and how often they are timed."""

    device: Annotated[
        str,
        typer.Option(
            help="Where they predict and are timed: auto (a GPU where there is one), cpu, cuda:0; "
            "all also times the processor beside every GPU."
        ),
    ] = "auto"
    formats: Annotated[
        str | None,
        typer.Option(
            help="Measure speed in these: pytorch,onnx,openvino; on a GPU "
            "pytorch,cudagraph,onnx,tensorrt; '' leaves it out.",
            show_default="all of a processor; on a GPU pytorch,cudagraph",
        ),
    ] = None
    batch: Annotated[
        int | None,
        typer.Option(
            min=1, help="Images at a time.", show_default="1 in the speed test, on a GPU 1 and 32"
        ),
    ] = None
    runs: Annotated[
        int | None,
        typer.Option(
            min=5,
            help="Measurements of each model and way.",
            show_default=f"as many as {_TIMING_S} s hold, 10 to {_MOST_RUNS}",
        ),
    ] = None


def compare(
    session: Session,
    *,
    baseline: Model,
    pruned: Model,
    data: Annotated[str, typer.Option(help="Dataset of the workspace.")],
    split: Annotated[SplitName, typer.Option(help="Which images.")] = "test",
    timing: Timing,
    conf: Conf = 0.25,
    iou: Iou = 0.7,
    imgsz: ImageSize = None,
    out: Annotated[Path | None, typer.Option(help="Folder for CSV files.")] = None,
) -> Answer:
    """Metrics, cost, latency on this computer, and agreement image by image."""
    out = folder_target(out) if out is not None else None
    workspace = session.isolated_workspace()
    dataset = open_dataset(workspace, data)
    question = Compare(
        baseline=model_source(workspace, baseline),
        pruned=model_source(workspace, pruned),
        dataset=data,
        split=split,
        device="auto" if timing.device == "all" else timing.device,
        latency_device=timing.device,
        formats=None if timing.formats is None else _words(timing.formats) or (),
        conf=conf,
        iou=iou,
        imgsz=imgsz,
        batch=timing.batch,
        runs=timing.runs or _MOST_RUNS,
        seconds=None if timing.runs else _TIMING_S,
    )
    with tempfile.TemporaryDirectory() as scratch:
        result = ask(workspace, question, Path(scratch))
    lines = [
        *_measured(result),
        sentences.agreement_sentence(result.agreement),
        sentences.latency_sentence(result.latency),
        *_not_measured(result.missing),
        (result.pruned.metrics and sentences.sample_sentence(result.pruned.metrics)) or "",
    ]
    document = result.model_dump(mode="json")
    if out is not None:
        document["artifacts"] = _write_comparison(result, dataset, out)
        lines.append(f"CSV files are in {out}")
    return Answer(document, "\n".join(line for line in lines if line))


def _measured(result: Comparison) -> list[str]:
    """Accuracy, cost and speed of both models."""
    before, after = result.baseline, result.pruned
    if before.metrics is None or after.metrics is None:  # only if accuracy was left out
        return []
    rows = tables.metrics_rows(
        (before.metrics, before.cost), (after.metrics, after.cost), result.latency
    )
    return [
        table(tuple(rows[0]), [tuple(row.values()) for row in rows]),
        sentences.unlearned_sentence(before.metrics) or "",
    ]


def _write_comparison(result: Comparison, dataset: Dataset, out: Path) -> dict[str, str]:
    classes = dataset.classes
    files = {
        "counts": tables.compare_count_rows(result.images, classes),
        "wells": tables.compare_count_rows(result.images, classes, by_group=True),
        "objects": tables.pair_rows(result.images, classes),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        write_text(out / f"{name}.csv", tables.to_csv(rows))
    write_json(out / "compare.json", result.model_dump(mode="json"))
    return {name: str(out / f"{name}.csv") for name in files} | {
        "compare": str(out / "compare.json")
    }


def latency(
    session: Session,
    *,
    model: TheModel,
    beside: Annotated[
        str | None, typer.Option(help="Another one, timed in turn with it: the baseline.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="all (the processor and every GPU), auto, cpu, cuda:0.")
    ] = "all",
    formats: Annotated[
        str | None,
        typer.Option(
            help="Of pytorch, onnx, openvino; on a GPU pytorch, cudagraph, onnx, tensorrt.",
            show_default="all that are there",
        ),
    ] = None,
    precisions: Annotated[
        str | None, typer.Option(help="fp32, on a GPU also fp16.", show_default="both on a GPU")
    ] = None,
    batches: Annotated[
        str | None,
        typer.Option(help="Images at a time, such as 1,32.", show_default="1, on a GPU 1,32"),
    ] = None,
    runs: Annotated[int, typer.Option(min=5, help="Measurements of each model and way.")] = 50,
    imgsz: ImageSize = None,
) -> Answer:
    """Milliseconds per image on this computer: processor and GPUs, in every way to run it."""
    workspace = session.isolated_workspace()
    question = TimeModels(
        pruned=model_source(workspace, model),
        baseline=model_source(workspace, beside) if beside else None,
        latency_device=device,
        formats=_words(formats),
        precisions=_words(precisions),
        batches=_numbers(batches),
        runs=runs,
        imgsz=imgsz,
    )
    with tempfile.TemporaryDirectory() as scratch:
        result = ask(workspace, question, Path(scratch))
    return _told_times(result, {"pruned": model} | ({"baseline": beside} if beside else {}))


def _told_times(result: Timed, names: Mapping[str, str]) -> Answer:
    document = result.model_dump(mode="json")
    for entry in document["latency"]:
        entry["model"] = names[entry["name"]]
    rows = tables.latency_rows(result.latency, names)
    lines = [table(tuple(rows[0]), [tuple(row.values()) for row in rows])]
    if "baseline" in names:
        lines.append(sentences.latency_sentence(result.latency))
    return Answer(document, "\n".join([*lines, *_not_measured(result.missing)]))


def _not_measured(missing: Sequence[MissingWay]) -> list[str]:
    return [f"Not measured: {why}" for why in dict.fromkeys(one.why for one in missing)]


def _words(text: str | None) -> tuple[str, ...] | None:
    found = tuple(word.strip() for word in (text or "").split(",") if word.strip())
    return found or None


def _numbers(text: str | None) -> tuple[int, ...] | None:
    words = _words(text)
    if words is not None and not all(word.isascii() and word.isdecimal() for word in words):
        raise ConfigError("--batches takes whole numbers such as 1,32, not '{text}'.", text=text)
    sizes = None if words is None else tuple(int(word) for word in words)
    if sizes is not None and not all(1 <= size <= _MOST_IMAGES for size in sizes):
        raise ConfigError(
            "--batches takes numbers from 1 to {most_images}, not '{text}'.",
            most_images=_MOST_IMAGES,
            text=text,
        )
    return sizes


def export(
    session: Session,
    *,
    model: TheModel,
    format: Annotated[
        str, typer.Option(help="ultralytics, onnx, openvino, torchscript or tensorrt.")
    ] = "onnx",
    out: Annotated[
        Path, typer.Option(help="Folder that the file is written to.", show_default="here")
    ] = Path(),
    imgsz: ImageSize = None,
) -> Answer:
    """A file that runs without MSIP Lab."""
    out = folder_target(out)
    workspace = session.isolated_workspace()
    source = model_source(workspace, model)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as scratch:
        question = Export(model=source, format=format, imgsz=imgsz)
        result = ask(workspace, question, Path(scratch))
        made = Path(scratch) / result.path
        stem = Path(model).stem if model.endswith(".pt") else model.replace("/", "-step-")
        target = out / f"{stem}{made.name.removeprefix('model')}"
        if made.is_file():
            file_target(target)
        shutil.move(made, target)
    document = result.model_copy(update={"path": str(target)}).model_dump(mode="json")
    return Answer(document, f"{target} ({result.format}, {result.imgsz} px)")


VERBS = (predict, compare, latency, export)
