"""`compare`, `latency`, `export`: what models cost and find, and files that run elsewhere."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from msip_core.cli.asking import (
    do_job,
    model_source,
    prefixed,
)
from msip_core.cli.console import table
from msip_core.cli.predicting import predict
from msip_core.cli.targets import file_target, folder_target
from msip_core.cli.verbs import Answer, Session, verb
from msip_core.data.dataset import Dataset, open_dataset
from msip_core.errors import ConfigError
from msip_core.events import Cost, Metrics
from msip_core.views import sentences, tables
from msip_core.workspace import write_json, write_text

_MOST_RUNS, _TIMING_S = 100, 3  # measurements, and seconds for all of them

Model = Annotated[str, typer.Option(help="A model of the workspace, a .pt file, or RUN/STEP.")]
ImageSize = Annotated[
    int | None, typer.Option("--imgsz", min=32, max=4096, show_default="the model's")
]
Conf = Annotated[float, typer.Option(min=0, max=1, help="Lowest score of a box.")]
Iou = Annotated[
    float, typer.Option(min=0, max=1, help="Of two boxes that overlap more, the better stays.")
]

_MOST_IMAGES = 1024  # at a time


def register(app: typer.Typer) -> None:
    """Add the verbs to the root of the command line."""
    verb(app, "predict")(predict)
    verb(app, "compare")(compare)
    verb(app, "latency")(latency)
    verb(app, "export")(export)


def compare(
    session: Session,
    *,
    baseline: Model,
    pruned: Model,
    data: Annotated[str, typer.Option(help="Dataset of the workspace.")],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    formats: Annotated[
        str, typer.Option(help="Measure speed in these: pytorch,onnx,openvino; '' leaves it out.")
    ] = "pytorch,onnx,openvino",
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Images at a time.", show_default="1 in the speed test"),
    ] = None,
    runs: Annotated[
        int | None,
        typer.Option(
            min=5,
            help="Measurements of each model and format.",
            show_default=f"as many as {_TIMING_S} s hold, 10 to {_MOST_RUNS}",
        ),
    ] = None,
    conf: Conf = 0.25,
    iou: Iou = 0.7,
    imgsz: ImageSize = None,
    out: Annotated[Path | None, typer.Option(help="Folder for CSV files.")] = None,
) -> Answer:
    """Metrics, cost, latency on this computer, and agreement image by image."""
    out = folder_target(out) if out is not None else None
    workspace = session.isolated_workspace()
    dataset = open_dataset(workspace, data)
    params: dict[str, Any] = {
        **prefixed(model_source(workspace, baseline), "baseline"),
        **prefixed(model_source(workspace, pruned), "pruned"),
        "dataset": data,
        "split": split,
        "formats": [word.strip() for word in formats.split(",") if word.strip()],
        "conf": conf,
        "iou": iou,
        "imgsz": imgsz,
        **({"runs": _MOST_RUNS, "seconds": _TIMING_S} if runs is None else {"runs": runs}),
        **({"batch": batch} if batch else {}),
    }
    with tempfile.TemporaryDirectory() as scratch:
        result = do_job(workspace, "compare", params, Path(scratch))
    sides = {
        side: (
            Metrics.model_validate(result[side]["metrics"]),
            Cost.model_validate(result[side]["cost"]),
        )
        for side in ("baseline", "pruned")
    }
    rows = tables.metrics_rows(sides["baseline"], sides["pruned"], result["latency"])
    lines = [
        table(tuple(rows[0]), [tuple(row.values()) for row in rows]),
        sentences.unlearned_sentence(sides["baseline"][0]) or "",
        sentences.agreement_sentence(result["agreement"]),
        sentences.latency_sentence(result["latency"]),
        sentences.sample_sentence(sides["pruned"][0]) or "",
    ]
    document = dict(result)
    if out is not None:
        document["artifacts"] = _write_comparison(result, dataset, out)
        lines.append(f"CSV files are in {out}")
    return Answer(document, "\n".join(line for line in lines if line))


def _write_comparison(result: dict[str, Any], dataset: Dataset, out: Path) -> dict[str, str]:
    classes = dataset.classes
    files = {
        "counts": tables.compare_count_rows(result, classes),
        "wells": tables.compare_count_rows(result, classes, by_group=True),
        "objects": tables.pair_rows(result, classes),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        write_text(out / f"{name}.csv", tables.to_csv(rows))
    write_json(out / "compare.json", result)
    return {name: str(out / f"{name}.csv") for name in files} | {
        "compare": str(out / "compare.json")
    }


def latency(
    session: Session,
    *,
    model: Annotated[
        str, typer.Argument(help="A model of the workspace, a .pt file, or RUN/STEP.")
    ],
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
    params: dict[str, Any] = {
        **prefixed(model_source(workspace, model), "pruned"),
        **(prefixed(model_source(workspace, beside), "baseline") if beside else {}),
        "latency_device": device,
        "formats": _words(formats),
        "precisions": _words(precisions),
        "batches": _numbers(batches),
        "runs": runs,
        "imgsz": imgsz,
    }
    with tempfile.TemporaryDirectory() as scratch:
        result = do_job(workspace, "latency", params, Path(scratch))
    names = {"pruned": model, "baseline": beside}
    document = {
        "latency": [{**entry, "model": names[entry["name"]]} for entry in result["latency"]],
        "missing": result["missing"],
    }
    rows = tables.latency_rows(document["latency"])
    lines = [table(tuple(rows[0]), [tuple(row.values()) for row in rows])]
    if beside:
        lines.append(sentences.latency_sentence(result["latency"]))
    lines += [f"Not measured: {why}" for why in dict.fromkeys(m["why"] for m in result["missing"])]
    return Answer(document, "\n".join(lines))


def _words(text: str | None) -> list[str] | None:
    found = [word.strip() for word in (text or "").split(",") if word.strip()]
    return found or None


def _numbers(text: str | None) -> list[int] | None:
    words = _words(text)
    if words is not None and not all(word.isascii() and word.isdecimal() for word in words):
        raise ConfigError(f"--batches takes whole numbers such as 1,32, not '{text}'.")
    sizes = None if words is None else [int(word) for word in words]
    if sizes is not None and not all(1 <= size <= _MOST_IMAGES for size in sizes):
        raise ConfigError(f"--batches takes numbers from 1 to {_MOST_IMAGES}, not '{text}'.")
    return sizes


def export(
    session: Session,
    *,
    model: Annotated[
        str, typer.Argument(help="A model of the workspace, a .pt file, or RUN/STEP.")
    ],
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
        params = {**source, "format": format, "imgsz": imgsz}
        result = do_job(workspace, "export", params, Path(scratch))
        made = Path(scratch) / result["path"]
        stem = Path(model).stem if model.endswith(".pt") else model.replace("/", "-step-")
        target = out / f"{stem}{made.name.removeprefix('model')}"
        if made.is_file():
            file_target(target)
        shutil.move(made, target)
    document = {**result, "path": str(target)}
    return Answer(document, f"{target} ({result['format']}, {result['imgsz']} px)")
