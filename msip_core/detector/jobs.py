"""Interactive work with detectors, for the compute process: predict, compare, time, export, upload.

Models and images are named as msip_core.detector.sources says. Every job returns a JSON result.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from msip_core.boxes import Detection, match_detections
from msip_core.data.dataset import Dataset, ImageRecord, open_dataset
from msip_core.data.fields import sharpness
from msip_core.data.micrographs import Micrograph
from msip_core.data.object_sizes import SeenImage, size_warning
from msip_core.detector.build import add_upload
from msip_core.detector.cost import count_cost
from msip_core.detector.devices import resolve_device
from msip_core.detector.evaluation import Evaluator
from msip_core.detector.export import check_format, export_module
from msip_core.detector.latency import RUNTIMES, measure_latency
from msip_core.detector.library import DetectionModel
from msip_core.detector.prediction import Predictor
from msip_core.detector.sources import ModelFacts, load_source_micrograph, load_source_model
from msip_core.errors import DatasetError
from msip_core.workspace import Workspace

Progress = Callable[[float, str], None]
Json = dict[str, Any]
_SIDES = ("baseline", "pruned")


def predict_job(workspace: Workspace, params: Json, out: Path, progress: Progress) -> Json:
    """Objects on images.

    Params: a model; images (a list of image names); imgsz (default: the model's), conf, iou;
    pixel_size_um (of images that do not say); keep_going (True: a file that cannot be read has a
    `problem` instead of detections, as long as one can be read).

    Returns:
        classes, imgsz, recipe (how pixels were scaled), sizes_known (whether sizes could be
        compared with the training's), images [{id, width, height, detections, size_warning,
        note, doubt, sharpness}] in the order asked.
    """
    progress(0.0, "Opening the model")
    model, facts = load_source_model(workspace, params)
    find = _finder(model, facts, params)
    asked = params["images"]
    images: list[Json] = []
    first_error: DatasetError | None = None
    for n, item in enumerate(asked):
        name = item.get("image") or Path(item["path"]).name
        try:
            micrograph = load_source_micrograph(workspace, item, facts.recipe)
        except DatasetError as error:
            if not params.get("keep_going"):
                raise
            first_error = first_error or error
            images.append({"id": name, "problem": error.message})
        else:
            images.append({"id": name, **_predicted(micrograph, find, facts, params)})
        progress((n + 1) / len(asked), f"{n + 1} of {len(asked)} images")
    if first_error is not None and all("problem" in image for image in images):
        raise first_error
    return {
        "classes": list(facts.classes),
        "imgsz": _imgsz(facts, params),
        "recipe": facts.recipe.model_dump(mode="json") if facts.recipe else None,
        "sizes_known": facts.trained is not None,
        "images": images,
    }


def _predicted(
    micrograph: Micrograph,
    find: Callable[[Any], list[Detection]],
    facts: ModelFacts,
    params: Json,
) -> Json:
    """One image: what was found, and what must be known of it."""
    height, width = micrograph.pixels.shape[:2]
    found = find(micrograph.pixels)
    given = params.get("pixel_size_um")
    size = float(given) if given else micrograph.pixel_size_um
    seen = SeenImage(width, height, _imgsz(facts, params), size)
    warning = size_warning(facts.trained, facts.imgsz, seen, found) if facts.trained else None
    return {
        "height": height,
        "width": width,
        "detections": [d.model_dump() for d in found],
        "size_warning": warning,
        "note": micrograph.note,
        "doubt": micrograph.doubt,
        "sharpness": sharpness(micrograph.pixels),
    }


def compare_job(workspace: Workspace, params: Json, out: Path, progress: Progress) -> Json:
    """Two models on one part of a dataset: what each finds, how they agree, accuracy and cost.

    Params: baseline_..., pruned_... (two models); dataset, split ("test"); imgsz, batch, conf,
    iou; formats (a list: then speed is measured too, with at most `runs` rounds in `seconds`);
    metrics (False leaves accuracy out).

    Returns:
        baseline, pruned {model, name, metrics, cost}, agreement {both, class changed, lost, new},
        images [{id, file, group, baseline, pruned, pairs}], latency [...].
    """
    progress(0.0, "Opening the models")
    sides = {side: load_source_model(workspace, params, side) for side in _SIDES}
    dataset = open_dataset(workspace, params["dataset"])
    split = params.get("split", "test")
    records = dataset.split(split)
    agreement = dict.fromkeys(("both", "class changed", "lost", "new"), 0)
    images = []
    for n, (record, found) in enumerate(_found_by_both(sides, dataset, records, params)):
        pairs = match_detections(found["baseline"], found["pruned"])
        for pair in pairs:
            agreement[pair.kind] += 1
        images.append(
            {
                "id": record.id,
                "file": record.file,
                "group": record.group,
                **{side: [d.model_dump() for d in found[side]] for side in _SIDES},
                "pairs": [pair.model_dump() for pair in pairs],
            }
        )
        progress(0.5 * (n + 1) / len(records), f"{n + 1} of {len(records)} images")
    return {
        **_measured(workspace, params, sides, progress),
        "split": split,
        "agreement": agreement,
        "images": images,
        "latency": _latency(sides, params, lambda done: progress(0.8 + 0.2 * done, "Timing"))
        if params.get("formats")
        else [],
    }


def _found_by_both(
    sides: dict[str, tuple[DetectionModel, ModelFacts]],
    dataset: Dataset,
    records: Sequence[ImageRecord],
    params: Json,
) -> Iterator[tuple[ImageRecord, dict[str, list[Detection]]]]:
    """What each model finds on each image, in order."""
    predictors = {side: _predictor(*sides[side], params) for side in _SIDES}
    step = predictors["baseline"].together
    for start in range(0, len(records), step):
        some = records[start : start + step]
        pixels = [dataset.pixels(record) for record in some]
        found = [predictors[side].several(pixels, **_thresholds(params)) for side in _SIDES]
        for record, *both in zip(some, *found, strict=True):
            yield record, dict(zip(_SIDES, both, strict=True))


def latency_job(workspace: Workspace, params: Json, out: Path, progress: Progress) -> Json:
    """Milliseconds per image of two models on this computer, measured in turn.

    Params: baseline_..., pruned_...; imgsz, batch, formats; runs, and seconds after which no
    further one begins.
    """
    progress(0.0, "Opening the models")
    sides = {side: load_source_model(workspace, params, side) for side in _SIDES}
    return {"latency": _latency(sides, params, lambda done: progress(done, "Timing both models"))}


def export_job(workspace: Workspace, params: Json, out: Path, progress: Progress) -> Json:
    """A model in another format. Params: a model; format; imgsz (default: the model's).

    Returns:
        path (a file in `out`; OpenVINO's folder as a zip), format, imgsz.
    """
    form = params["format"]
    check_format(form)
    progress(0.0, "Opening the model")
    model, facts = load_source_model(workspace, params)
    imgsz = _imgsz(facts, params)
    progress(0.1, f"Writing the {form} file")
    suffix = {"ultralytics": ".pt", "tensorrt": ".engine", "openvino": "_openvino_model"}
    made = export_module(model, form, out / f"model{suffix.get(form, f'.{form}')}", imgsz)
    if made.is_dir():
        made = Path(shutil.make_archive(str(made), "zip", root_dir=out, base_dir=made.name))
    return {"path": made.name, "format": form, "imgsz": imgsz}


def upload_job(workspace: Workspace, params: Json, out: Path, progress: Progress) -> Json:
    """Weights from elsewhere, read without running them. Params: path, name.

    Returns:
        the new model's card.
    """
    progress(0.0, "Reading the weights")
    card = add_upload(workspace, Path(params["path"]), params.get("name", ""))
    return card.model_dump(mode="json")


def _finder(
    model: DetectionModel, facts: ModelFacts, params: Json
) -> Callable[[Any], list[Detection]]:
    predictor, asked = _predictor(model, facts, params), _thresholds(params)
    return lambda pixels: predictor(pixels, **asked)


def _predictor(model: DetectionModel, facts: ModelFacts, params: Json) -> Predictor:
    return Predictor(model, imgsz=_imgsz(facts, params), device=_device(params))


def _thresholds(params: Json) -> dict[str, float]:
    return {"conf": float(params.get("conf", 0.25)), "iou": float(params.get("iou", 0.7))}


def _measured(
    workspace: Workspace,
    params: Json,
    sides: dict[str, tuple[DetectionModel, ModelFacts]],
    progress: Progress,
) -> Json:
    """Accuracy on the split and cost, both models at one image size."""
    dataset = open_dataset(workspace, params["dataset"])
    imgsz = _imgsz(sides["baseline"][1], params)
    evaluate = None
    if params.get("metrics", True):
        evaluate = Evaluator(
            dataset,
            params.get("split", "test"),
            imgsz,
            int(params.get("batch", 8)),
            _device(params),
            tick=lambda: progress(0.5, "Measuring accuracy"),
        )
    result: Json = {}
    for side, (model, facts) in sides.items():
        metrics = evaluate(model).model_dump(mode="json") if evaluate else None
        result[side] = {
            "model": params.get(f"{side}_model") or params.get(side) or params.get(f"{side}_run"),
            "name": facts.name,
            "metrics": metrics,
            "cost": count_cost(model, imgsz).model_dump(mode="json"),
        }
    return result


def _latency(
    sides: dict[str, tuple[DetectionModel, ModelFacts]],
    params: Json,
    tick: Callable[[float], None],
) -> list[Json]:
    measured = measure_latency(
        {side: model for side, (model, _) in sides.items()},
        _imgsz(sides["baseline"][1], params),
        batch=int(params.get("batch", 1)),
        runs=int(params.get("runs", 30)),
        formats=params.get("formats") or RUNTIMES,
        seconds=float(params.get("seconds") or math.inf),
        tick=tick,
    )
    return [latency._asdict() for latency in measured]


def _imgsz(facts: ModelFacts, params: Json) -> int:
    return int(params.get("imgsz") or facts.imgsz)


def _device(params: Json) -> str:
    return resolve_device(str(params.get("device", "auto")))
