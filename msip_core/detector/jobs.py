"""Interactive work with detectors, for the compute process: predict, compare, time, export, upload.

Models and images are named as msip_core.detector.sources says. Every job returns a JSON result.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from msip_core.boxes import Detection, match_detections
from msip_core.data.dataset import Dataset, ImageRecord, open_dataset
from msip_core.data.fields import sharpness
from msip_core.data.micrographs import Micrograph
from msip_core.data.object_sizes import SeenImage, size_warning
from msip_core.detector.build import add_upload
from msip_core.detector.cost import count_cost
from msip_core.detector.devices import resolve_device
from msip_core.detector.engines import engine_for, ways_of
from msip_core.detector.evaluation import Evaluator
from msip_core.detector.export import check_format, export_module
from msip_core.detector.latency import measure_latency
from msip_core.detector.library import DetectionModel
from msip_core.detector.prediction import Predictor
from msip_core.detector.sources import ModelFacts, load_source_micrograph, load_source_model
from msip_core.errors import ConfigError, DatasetError
from msip_core.ways import Way
from msip_core.workspace import Workspace

Progress = Callable[[float, str], None]
Json = dict[str, Any]
_SIDES = ("baseline", "pruned")
_NAMES = ("", "_model", "_run")  # by which a side is given


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
    iou; formats (a list: then speed is measured too, as `latency_job` does); metrics (False leaves
    accuracy out).

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
        "latency": _latency(
            sides,
            params,
            asked_ways(params)[0],
            lambda done: progress(0.8 + 0.2 * done, "Timing"),
        )
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
    """Milliseconds per image of one or two models on this computer, measured in turn.

    Params: baseline_..., pruned_... (one may be left out); imgsz; runs, and seconds after which no
    further one begins; latency_device: "cpu" (default), a GPU, or "all"; formats, precisions,
    batches (lists; all where they are left out), or batch (a number).

    Returns:
        latency, and `missing`: ways that were not asked for by name and are not there, with why.
    """
    progress(0.0, "Opening the models")
    named = [side for side in _SIDES if any(params.get(side + key) for key in _NAMES)]
    sides = {side: load_source_model(workspace, params, side) for side in named or _SIDES}
    text = "Timing both models" if len(sides) > 1 else "Timing the model"
    ways, missing = asked_ways(params)
    latency = _latency(sides, params, ways, lambda done: progress(done, text))
    return {"latency": latency, "missing": missing}


def asked_ways(params: Json) -> tuple[list[Way], list[Json]]:
    """The ways to run that are meant, and those that were not asked for by name and are not there.

    Raises:
        ConfigError: one that was asked for is not there, or none is.
    """
    ways: list[Way] = []
    missing: list[Json] = []
    wanted = str(params.get("latency_device") or "cpu")
    for device in _timed_devices(wanted):
        for way in ways_of(device, params.get("formats"), params.get("precisions"),
                           params.get("batches") or params.get("batch")):  # fmt: skip
            why = engine_for(way).missing()
            if why is None:
                ways.append(way)
            elif params.get("formats") and wanted != "all":
                raise ConfigError(why)
            else:
                missing.append({**way.as_dict(), "why": why})
    if not ways:
        raise ConfigError(missing[0]["why"] if missing else "There is nothing to measure.")
    return ways, missing


def _timed_devices(wanted: str) -> list[str]:
    gpus = [
        f"cuda:{n}" for n in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    ]
    if wanted == "all":
        return ["cpu", *gpus]
    if wanted == "auto":
        return [gpus[0] if gpus else "cpu"]
    return [resolve_device(wanted)]


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
    ways: Sequence[Way],
    tick: Callable[[float], None],
) -> list[Json]:
    first = next(iter(sides.values()))[1]
    measured = measure_latency(
        {side: model for side, (model, _) in sides.items()}, _imgsz(first, params),
        runs=int(params.get("runs", 30)), seconds=float(params.get("seconds") or math.inf),
        ways=ways, tick=tick,
    )  # fmt: skip
    return [latency._asdict() for latency in measured]


def _imgsz(facts: ModelFacts, params: Json) -> int:
    return int(params.get("imgsz") or facts.imgsz)


def _device(params: Json) -> str:
    return resolve_device(str(params.get("device", "auto")))
