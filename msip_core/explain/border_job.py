"""Border scores over many images: does the pruned model keep its attention on the border?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msip_core.data.dataset import Dataset, ImageRecord, open_dataset
from msip_core.detector.devices import resolve_device
from msip_core.detector.library import DetectionModel
from msip_core.detector.memory import memory_errors_named
from msip_core.detector.sources import ModelFacts, load_source_model
from msip_core.errors import DatasetError
from msip_core.explain import cam
from msip_core.explain.subject import labelled_subjects
from msip_core.pairs import mean_defined, paired_bootstrap
from msip_core.spreadsheet import write_rows
from msip_core.workspace import Workspace, write_text

Progress = Callable[[float, str], None]
Json = dict[str, Any]
METRICS = ("ber", "enrichment", "energy_in_box", "hit")


def boundary(workspace: Workspace, params: Json, out: Path, progress: Progress) -> Json:
    """Border scores of labelled objects, by one model or by two on the same boxes.

    Params: baseline_..., pruned_... (or one model without prefix); dataset; images (ids) or split
    ("test") and limit (20); objects (the largest 3 of each image); method, layers, imgsz, device.

    Returns:
        models [names], objects [{image, object, class, contour, <side>: scores}], images
        [{image, <side>: means}], summary {<side>: means over images}, paired {metric: difference
        with interval} when there are two, without_objects, table (csv).
    """
    progress(0.0, "Opening the models")
    sides = _models(workspace, params)
    dataset = open_dataset(workspace, str(params["dataset"]))
    records = _records(dataset, params)
    rows: list[Json] = []
    for n, record in enumerate(records):
        progress(n / len(records), f"{n + 1} of {len(records)} images")
        rows += _rows_of(dataset, record, sides, params)
    if not rows:
        raise DatasetError(
            f"None of these images of '{dataset.name}' has a labelled object to look at."
        )
    images = _image_means(rows, tuple(sides))
    write_text(out / "boundary.csv", _table(rows, tuple(sides)))
    return {
        "models": {side: facts.name for side, (_, facts) in sides.items()},
        "objects": rows,
        "images": images,
        "summary": {
            side: {m: mean_defined([i[side][m] for i in images]) for m in METRICS} for side in sides
        },
        "paired": _paired(images) if len(sides) == 2 else None,
        "without_objects": len(records) - len(images),
        "table": "boundary.csv",
    }


def _models(workspace: Workspace, params: Json) -> dict[str, tuple[DetectionModel, ModelFacts]]:
    device = resolve_device(str(params.get("device") or "auto"))
    two = any(key.startswith(("baseline", "pruned")) for key in params)
    prefixes = {"baseline": "baseline", "pruned": "pruned"} if two else {"model": ""}
    found = {}
    for side, prefix in prefixes.items():
        model, facts = load_source_model(workspace, params, prefix)
        found[side] = (model.to(device), facts)
    return found


def _records(dataset: Dataset, params: Json) -> Sequence[ImageRecord]:
    if params.get("images"):
        return [dataset.image(str(name)) for name in params["images"]]
    split = str(params.get("split") or "test")
    records = dataset.split(split)[: int(params.get("limit") or 20)]
    if not records:
        raise DatasetError(f"Dataset '{dataset.name}' has no {split} images.")
    return records


def _rows_of(
    dataset: Dataset,
    record: ImageRecord,
    sides: dict[str, tuple[DetectionModel, ModelFacts]],
    params: Json,
) -> list[Json]:
    most = int(params.get("objects") or 3)
    rows: list[Json] = []
    for side, (model, facts) in sides.items():
        imgsz = int(params.get("imgsz") or facts.imgsz)
        for n, subject in enumerate(labelled_subjects(dataset, record, facts, most)):
            with memory_errors_named(batch=1, imgsz=imgsz):
                found = cam.explain_detection(
                    model,
                    subject.pixels,
                    subject.box,
                    imgsz=imgsz,
                    method=params.get("method") or "gradcam",
                    layers=params.get("layers"),
                )
            scores = subject.scores(found.heat).as_dict()
            if n == len(rows):
                rows.append(
                    {
                        "image": record.id,
                        "object": n + 1,
                        "class": facts.classes[subject.box.cls],
                        "contour": scores["contour"],
                    }
                )
            rows[n][side] = {m: scores[m] for m in METRICS}
    return rows


def _image_means(rows: list[Json], sides: Sequence[str]) -> list[Json]:
    """Mean over the objects of each image, undefined ones left out."""
    names = list(dict.fromkeys(row["image"] for row in rows))
    return [
        {
            "image": name,
            **{
                side: {
                    m: mean_defined([r[side][m] for r in rows if r["image"] == name])
                    for m in METRICS
                }
                for side in sides
            },
        }
        for name in names
    ]


def _paired(images: list[Json]) -> Json:
    return {
        m: paired_bootstrap(
            [i["baseline"][m] for i in images], [i["pruned"][m] for i in images]
        ).as_dict()
        for m in METRICS
    }


def _table(rows: list[Json], sides: Sequence[str]) -> str:
    """One line an object; an undefined score is an empty cell."""
    facts = ("image", "object", "class", "contour")
    scores = {f"{side} {m}": (side, m) for side in sides for m in METRICS}
    flat = []
    for row in rows:
        cells = {column: row[side][m] for column, (side, m) in scores.items()}
        values = {c: "" if v is None else round(float(v), 6) for c, v in cells.items()}
        flat.append({**{fact: row[fact] for fact in facts}, **values})
    return write_rows([*facts, *scores], flat)
