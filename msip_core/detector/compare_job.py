"""Two detectors on one part of a dataset, as a job of the compute process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msip_core.boxes import Detection, PairKind, match_detections
from msip_core.data.cut import CutDataset, cut, tilings_of
from msip_core.data.dataset import Dataset, ImageRecord, open_dataset
from msip_core.detector.cost import count_cost
from msip_core.detector.devices import resolve_device
from msip_core.detector.evaluation import Evaluator
from msip_core.detector.latency import measure_latency
from msip_core.detector.library import DetectionModel
from msip_core.detector.prediction import Predictor, one_class_each
from msip_core.detector.sources import ModelFacts, load_source_model
from msip_core.detector.speed_job import asked_ways
from msip_core.detector.tiles import TileChoice, look_at_several
from msip_core.messages import msg
from msip_core.questions.base import Job
from msip_core.questions.detecting import Compare, ComparedImage, ComparedModel, Comparison
from msip_core.questions.sources import ModelOf
from msip_core.questions.speed import SIDES, MissingWay, Side
from msip_core.ways import Way
from msip_core.workspace import Workspace

_AT_ONCE = ("pytorch", "cudagraph")  # formats that a GPU runs without building a file
_BATCH = 8  # images at a time for the accuracy

Sides = Mapping[Side, tuple[DetectionModel, ModelFacts]]


def compare(question: Compare, at: Job) -> Comparison:
    """What each model finds, how they agree, accuracy and cost; speed too, where it is asked."""
    ways: list[Way] = []
    missing: list[MissingWay] = []
    if question.formats != ():  # first: what is not there is said before any work
        ways, missing = compared_ways(question)
    at.progress(0.0, msg("Opening the models"))
    sides: Sides = {
        side: load_source_model(at.workspace, source) for side, source in _asked(question).items()
    }
    dataset = open_dataset(at.workspace, question.dataset)
    images = _compared(question, sides, dataset, at)
    agreement: dict[PairKind, int] = dict.fromkeys(("both", "class changed", "lost", "new"), 0)
    for pair in (pair for image in images for pair in image.pairs):
        agreement[pair.kind] += 1
    evaluator, tiles = _evaluator(question, dataset, sides["baseline"][1], at)
    imgsz = _imgsz(question, sides["baseline"][1])
    baseline, pruned = (
        ComparedModel(
            model=source.name,
            name=facts.name,
            metrics=evaluator(model) if evaluator else None,
            cost=count_cost(model, imgsz),
        )
        for source, (model, facts) in zip(_asked(question).values(), sides.values(), strict=True)
    )
    latency = measure_latency(
        {side: model for side, (model, _) in sides.items()}, imgsz, ways,
        runs=question.runs, seconds=question.seconds,
        tick=lambda done: at.progress(0.8 + 0.2 * done, msg("Timing")),
    ) if ways else []  # fmt: skip
    return Comparison(
        baseline=baseline, pruned=pruned, tiles=tiles, split=question.split, agreement=agreement,
        images=tuple(images), latency=tuple(latency), missing=tuple(missing),
    )  # fmt: skip


def _asked(question: Compare) -> dict[Side, ModelOf]:
    return {"baseline": question.baseline, "pruned": question.pruned}


def compared_ways(question: Compare) -> tuple[list[Way], list[MissingWay]]:
    """As `asked_ways`; "auto" is where the models predict. Where no format is named, a GPU times
    those of PyTorch alone: TensorRT would first build an engine a way, which takes minutes."""
    wanted = question.latency_device
    place = resolve_device(question.device) if wanted == "auto" else wanted
    batches = (question.batch,) if question.batch else None
    ways, missing = asked_ways(place, question.formats, None, batches)
    if question.formats is not None:
        return ways, missing
    return (
        [way for way in ways if not way.on_gpu or way.format in _AT_ONCE],
        [one for one in missing if one.device == "cpu" or one.format in _AT_ONCE],
    )


def _compared(question: Compare, sides: Sides, dataset: Dataset, at: Job) -> list[ComparedImage]:
    """What each model finds on every image, and what of it belongs together."""
    records = dataset.split(question.split)
    images = []
    for n, (record, found) in enumerate(_found_by_both(sides, dataset, records, question)):
        images.append(
            ComparedImage(
                id=record.id,
                file=record.file,
                group=record.group,
                baseline=tuple(found["baseline"]),
                pruned=tuple(found["pruned"]),
                pairs=tuple(match_detections(found["baseline"], found["pruned"])),
            )
        )
        at.progress(
            0.5 * (n + 1) / len(records),
            msg("{n} of {records} images", n=n + 1, records=len(records)),
        )
    return images


def _found_by_both(
    sides: Sides, dataset: Dataset, records: Sequence[ImageRecord], question: Compare
) -> Iterator[tuple[ImageRecord, dict[Side, list[Detection]]]]:
    """What each model finds on each image, in order, each object in one class as in a count."""
    device = resolve_device(question.device)
    predictors = {
        side: Predictor(model, imgsz=_imgsz(question, facts), device=device)
        for side, (model, facts) in sides.items()
    }
    choices = {side: _choice(question, facts) for side, (_, facts) in sides.items()}
    step = predictors["baseline"].together
    for start in range(0, len(records), step):
        some = records[start : start + step]
        pixels = [dataset.pixels(record) for record in some]
        sizes = [record.pixel_size_um or dataset.pixel_size_um for record in some]
        found = [
            look_at_several(
                pixels, sizes, choices[side], predictors[side], conf=question.conf, iou=question.iou
            )
            for side in SIDES
        ]
        for record, *both in zip(some, *found, strict=True):
            single = [one_class_each(boxes, question.iou) for boxes in both]
            yield record, dict(zip(SIDES, single, strict=True))


def _evaluator(
    question: Compare, dataset: Dataset, facts: ModelFacts, at: Job
) -> tuple[Evaluator | None, str | None]:
    """What measures the accuracy, both models at one image size, and how images are cut for it."""
    if not question.metrics:
        return None, None
    learned = _as_learned(at.workspace, dataset, facts, question)
    tiles = learned.words if isinstance(learned, CutDataset) else None
    evaluator = Evaluator(
        learned,
        question.split,
        _imgsz(question, facts),
        question.batch or _BATCH,
        resolve_device(question.device),
        tick=lambda: at.progress(0.5, msg("Measuring accuracy")),
    )
    return evaluator, tiles


def _as_learned(
    workspace: Workspace, dataset: Dataset, facts: ModelFacts, question: Compare
) -> Dataset:
    """The dataset with those images cut that `predict` would cut for this model."""
    choice = _choice(question, facts)
    sizes = (facts.trained, facts.imgsz) if facts.trained else None
    if choice.wanted == "auto" and sizes is None:
        return dataset
    imgsz = _imgsz(question, facts)
    return cut(workspace, dataset, tilings_of(dataset, imgsz, sizes, choice.wanted, choice.overlap))


def _choice(question: Compare, facts: ModelFacts) -> TileChoice:
    return TileChoice.of(question.tiles, question.overlap, facts.trained, facts.imgsz)


def _imgsz(question: Compare, facts: ModelFacts) -> int:
    return question.imgsz or facts.imgsz
