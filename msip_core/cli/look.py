"""`predict`, `compare`, `export`: what models find and cost, and files that run elsewhere."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from msip_core.boxes import Detection
from msip_core.cli.asking import (
    do_job,
    image_files,
    model_source,
    prefixed,
    short_names,
)
from msip_core.cli.console import table
from msip_core.cli.verbs import Answer, Session, verb
from msip_core.data.dataset import Dataset, open_dataset
from msip_core.data.grouping import find_groups
from msip_core.data.micrographs import read_micrograph
from msip_core.events import Cost, Metrics
from msip_core.models import open_card
from msip_core.views import sentences, tables
from msip_core.views.pictures import draw_boxes
from msip_core.workspace import atomic_path, write_json, write_text

Model = Annotated[str, typer.Option(help="A model of the workspace, a .pt file, or RUN/STEP.")]
Out = Annotated[Path, typer.Option(help="Folder for the results.")]
ImageSize = Annotated[int | None, typer.Option("--imgsz", show_default="the model's")]
Conf = Annotated[float, typer.Option(help="Lowest score of a box.")]
Iou = Annotated[float, typer.Option(help="Of two boxes that overlap more, the better stays.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the root of the command line."""
    verb(app, "predict")(predict)
    verb(app, "compare")(compare)
    verb(app, "export")(export)


def predict(
    session: Session,
    *,
    paths: Annotated[list[Path], typer.Argument(help="Micrographs, or folders of them.")],
    model: Model,
    out: Out,
    conf: Conf = 0.25,
    iou: Iou = 0.7,
    imgsz: ImageSize = None,
    pixel_size: Annotated[
        float | None, typer.Option(metavar="UM", help="Micrometres per pixel: sizes in both.")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Its first group names the well in a file name."),
    ] = None,
) -> Answer:
    """Boxes, overlays, and counts per image and well (CSV)."""
    workspace, files = session.isolated_workspace(), image_files(paths)
    params: dict[str, Any] = {
        **model_source(workspace, model),
        "images": [{"path": str(file)} for file in files],
        "conf": conf,
        "iou": iou,
        "imgsz": imgsz,
    }
    out = out.expanduser().resolve()
    result = do_job(workspace, "predict", params, out)
    names = short_names(files)
    counted = [
        tables.CountedImage(name, well, [Detection.model_validate(d) for d in item["detections"]])
        for name, well, item in zip(
            names, find_groups([str(file) for file in files], group).groups, result["images"]
        )
    ]
    classes = result["classes"]
    written = {
        "boxes": (out / "boxes.csv", tables.detection_rows(counted, classes, pixel_size)),
        "counts": (out / "counts.csv", tables.count_rows(counted, classes)),
        "wells": (out / "wells.csv", tables.group_rows(counted, classes)),
    }
    for path, rows in written.values():
        write_text(path, tables.to_csv(rows))
    recipe = None if model.endswith(".pt") or "/" in model else open_card(workspace, model).recipe
    for file, item in zip(files, counted):
        # Scaled as the model saw it, with the numbers of the CSV.
        drawn = draw_boxes(read_micrograph(file, recipe).pixels, item.detections, classes)
        _write_png(out / "overlays" / f"{item.image}.png", drawn)
    counts = tables.count_rows(counted, classes)
    document = {
        "model": model,
        "classes": classes,
        "imgsz": result["imgsz"],
        "images": [
            {"id": name, "file": str(file), "width": i["width"], "height": i["height"],
             "detections": i["detections"]}
            for name, file, i in zip(names, files, result["images"])
        ],
        "artifacts": {name: str(path) for name, (path, _) in written.items()}
        | {"overlays": str(out / "overlays")},
    }  # fmt: skip
    text = table(tuple(counts[0]), [tuple(row.values()) for row in counts])
    return Answer(document, f"{text}\nOverlays and CSV files are in {out}")


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    with atomic_path(path) as temporary:
        cv2.imwrite(str(temporary), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))


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
    runs: Annotated[int, typer.Option(min=5, help="Measurements of each model and format.")] = 100,
    conf: Conf = 0.25,
    iou: Iou = 0.7,
    imgsz: ImageSize = None,
    out: Annotated[Path | None, typer.Option(help="Folder for CSV files.")] = None,
) -> Answer:
    """Metrics, cost, latency on this computer, and agreement image by image."""
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
        "runs": runs,
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
        document["artifacts"] = _write_comparison(result, dataset, out.expanduser().resolve())
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
    workspace = session.isolated_workspace()
    source = model_source(workspace, model)
    out = out.expanduser().resolve()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as scratch:
        params = {**source, "format": format, "imgsz": imgsz}
        result = do_job(workspace, "export", params, Path(scratch))
        made = Path(scratch) / result["path"]
        stem = Path(model).stem if model.endswith(".pt") else model.replace("/", "-step-")
        target = out / f"{stem}{made.name.removeprefix('model')}"
        shutil.move(made, target)
    document = {**result, "path": str(target)}
    return Answer(document, f"{target} ({result['format']}, {result['imgsz']} px)")
