"""What the worker of a study's run measures at its end: accuracy with its resamples, a second
program's mAP, time beside the baseline, and, where asked, int8, noise, other datasets, attention.

    <run>/measure/measure.json   all numbers
                 /matches.npz    what was found on each test image
                 /draws.npz      resampled mAP50 and mAP50-95 of each evaluation
                 /attention/, /shap/<image>/   pictures and scores

The only file of this room that imports torch; the worker loads it by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msip_core.arrays import write_arrays
from msip_core.config import PruneConfig, TrainConfig
from msip_core.data.cut import CutDataset, cut, open_for_run, sizes_learned, tilings_of, uncut
from msip_core.data.dataset import Dataset, open_dataset, over_groups
from msip_core.detector.checkpoints import load_model
from msip_core.detector.coco_check import coco_map
from msip_core.detector.cost import count_cost
from msip_core.detector.devices import resolve_device
from msip_core.detector.evaluation import Evaluation, Evaluator
from msip_core.detector.latency import measure_latency
from msip_core.detector.library import DetectionModel
from msip_core.detector.quantise import onnx_forward, quantise
from msip_core.errors import DatasetError
from msip_core.events import MilestoneRecord, RunContext
from msip_core.explain.border_job import boundary
from msip_core.explain.jobs import gradcam, shap
from msip_core.explain.robustness import add_noise
from msip_core.measures import (
    DRAWS_FILE,
    MATCHES_FILE,
    MEASURE_FILE,
    MEASURE_FOLDER,
    MeasureOptions,
)
from msip_core.messages import msg
from msip_core.models import weights_path
from msip_core.questions.base import Job
from msip_core.questions.looking import Boundary, GradCam, Shap
from msip_core.questions.sources import DatasetImage, SavedModel
from msip_core.studies.statistics import Precision
from msip_core.ways import Way
from msip_core.workspace import write_json

Json = dict[str, Any]
_MIB = 2**20
DISAGREEMENT = 0.02  # of two programs' mAP50, from which on a reader is warned


def run(config: TrainConfig | PruneConfig, model_id: str, ctx: RunContext) -> None:
    """Measure the run's model as `config.measure` asks, and write it below the run's folder.

    Raises:
        DatasetError: the dataset has no test images.
        Stopped: a person asked for it; measuring starts over when the run is resumed.
    """
    if config.measure is None:
        return
    work = _Measuring(config, config.measure, model_id, ctx)
    found = work.all()
    write_json(work.folder / MEASURE_FILE, found)
    ctx.emit(MilestoneRecord(message=_in_words(found)))


@dataclass
class _Measuring:
    config: TrainConfig | PruneConfig
    asked: MeasureOptions
    model_id: str
    ctx: RunContext

    def __post_init__(self) -> None:
        self.folder: Path = self.ctx.run_dir / MEASURE_FOLDER
        self.folder.mkdir(exist_ok=True)
        self.device = resolve_device(self.config.device)
        self.cut = open_for_run(self.ctx.workspace, self.config)
        self.dataset = uncut(self.cut)
        if not self.dataset.split("test"):
            raise DatasetError(
                "Dataset '{name}' has no test images to measure on.", name=self.dataset.name
            )
        self.model: DetectionModel = load_model(weights_path(self.ctx.workspace, self.model_id))
        self.forward: Callable[..., Any] | None = None
        self.draws: dict[str, NDArray[np.float64]] = {}

    def all(self) -> Json:
        """Every measurement; resamples go to a file beside it."""
        cost = count_cost(self.model, self.config.imgsz)
        size = cost.size_mb
        files: dict[str, Path] = {}
        if self.asked.int8:
            file, stop = self.folder / "int8.onnx", self.ctx.check_stop
            path = quantise(self.model, self.cut, self.config.imgsz, file, tick=stop)
            self.forward, size = onnx_forward(path), path.stat().st_size / _MIB
            files = {"model": path}
        evaluator = self._evaluator(self.cut)
        whole = evaluator.measured(self.model, forward=self.forward)
        whole.matches.save(self.folder / MATCHES_FILE)
        found: Json = {
            "model": self.model_id,
            "int8": self.asked.int8,
            "macs": cost.macs,
            "params": cost.params,
            "size_mb": round(size, 3),
            "imgsz": self.config.imgsz,
            "test": self._scores("test", whole, self.dataset),
            "coco": _coco(whole),
            "latency": self._latency(files),
            "datasets": {name: self._elsewhere(name) for name in self.asked.datasets},
            "noise": {f"{sigma:g}": self._noisy(evaluator, sigma) for sigma in self.asked.noise},
            "attention": self._attention(),
            "shap": self._shap(),
        }
        write_arrays(self.folder / DRAWS_FILE, self.draws)
        return found

    def _evaluator(self, dataset: Dataset) -> Evaluator:
        return Evaluator(
            dataset,
            "test",
            self.config.imgsz,
            self.config.batch,
            self.device,
            parts=self.config.parts,
            tick=self.ctx.check_stop,
        )

    def _scores(self, name: str, found: Evaluation, dataset: Dataset) -> Json:
        """mAP by Ultralytics; its resamples, drawn by the split's groups, are kept under `name`."""
        groups = {Path(record.file).name: record.group for record in dataset.split("test")}
        self.draws[name] = Precision(found.matches).draws(self.asked.resamples, groups=groups)
        metrics = found.metrics
        return {
            "map50": metrics.map50,
            "map50_95": metrics.map50_95,
            "images": metrics.images,
            "groups": len({groups[image] for image in found.matches.images}),
            "per_class": metrics.per_class,
        }

    def _elsewhere(self, name: str) -> Json:
        dataset = open_dataset(self.ctx.workspace, name)
        sizes, imgsz = sizes_learned(self.cut), self.config.imgsz
        tilings = tilings_of(
            dataset,
            imgsz,
            (sizes, imgsz) if sizes else None,
            self.config.tiles,
            self.config.tile_overlap,
        )
        cut_too = cut(self.ctx.workspace, dataset, tilings)
        found = self._evaluator(cut_too).measured(self.model, forward=self.forward)
        scores = self._scores(f"dataset {name}", found, dataset)
        return {**scores, "tiles": cut_too.words} if isinstance(cut_too, CutDataset) else scores

    def _noisy(self, evaluator: Evaluator, sigma: float) -> Json:
        found = evaluator.measured(
            self.model,
            forward=self.forward,
            disturb=lambda pixels, file: add_noise(pixels, sigma, file),
        )
        return self._scores(f"noise {sigma:g}", found, self.dataset)

    def _latency(self, files: dict[str, Path]) -> Json | None:
        """Milliseconds in the way that was asked for, in turn with the model `beside`."""
        way = self.asked.latency_way(self.device)
        # A quantised file in ONNX Runtime on the processor compares with nothing else.
        if not self.asked.latency_runs or (files and way != Way()):
            return None
        models = {} if files else {"model": self.model}
        if self.asked.beside and self.asked.beside != self.model_id:
            path = weights_path(self.ctx.workspace, self.asked.beside)
            models["beside"] = load_model(path)
        timed = measure_latency(
            models,
            self.config.imgsz,
            [way],
            runs=self.asked.latency_runs,
            files=files,
            sizes={"beside": self.asked.beside_imgsz or self.config.imgsz},
            tick=lambda _: self.ctx.check_stop(),
        )
        return {one.name: asdict(one) for one in timed}

    def _attention(self) -> Json | None:
        """Border scores of Grad-CAM over test images, and pictures of the first few."""
        if not self.asked.attention or self.asked.int8:
            return None
        out = self.folder / "attention"
        out.mkdir(exist_ok=True)
        found = boundary(
            Boundary(
                model=self._source,
                dataset=self.config.dataset,
                imgsz=self.config.imgsz,
                device=self.config.device,
                limit=self.asked.attention,
            ),
            self._job(out),
        )
        for name in [row.image for row in found.images][:_PICTURES]:
            place = out / name
            place.mkdir(exist_ok=True)
            gradcam(
                GradCam(
                    model=self._source,
                    image=self._image(name),
                    imgsz=self.config.imgsz,
                    device=self.config.device,
                    randomised=False,
                ),
                self._job(place),
            )
        return {
            "images": [
                {"image": row.image, **{n: s.model_dump() for n, s in row.scores.items()}}
                for row in found.images
            ],
            "summary": {side: scores.model_dump() for side, scores in found.summary.items()},
            "groups": self._groups(row.image for row in found.images),
        }

    def _shap(self) -> Json | None:
        """C@10 of one object on each of some test images."""
        if not self.asked.shap or self.asked.int8:
            return None
        values: dict[str, float | None] = {}
        spent: dict[str, int] = {}
        labelled = [r for r in self.dataset.split("test") if self.dataset.boxes(r)]
        for name in (record.id for record in over_groups(labelled, self.asked.shap)):
            out = self.folder / "shap" / name
            out.mkdir(parents=True, exist_ok=True)
            found = shap(
                Shap(
                    model=self._source,
                    image=self._image(name),
                    imgsz=self.config.imgsz,
                    device=self.config.device,
                    samples=self.asked.shap_samples,
                    features=self.asked.shap_features,
                ),
                self._job(out),
            )
            values[name], spent[name] = found.c_at_10, found.evaluations
        return {"c_at_10": values, "evaluations": spent, "groups": self._groups(values)}

    def _groups(self, images: Iterable[str]) -> dict[str, str]:
        """Which of the explained images belong together."""
        return {name: self.dataset.image(name).group for name in images}

    @property
    def _source(self) -> SavedModel:
        return SavedModel(model=self.model_id)

    def _image(self, name: str) -> DatasetImage:
        return DatasetImage(dataset=self.config.dataset, image=name)

    def _job(self, out: Path) -> Job:
        return Job(self.ctx.workspace, out, lambda done, message: self.ctx.check_stop())


_PICTURES = 3


def _coco(found: Evaluation) -> Json | None:
    values = coco_map(found.found)
    if values is None:
        return None
    return {
        "map50": values[0],
        "map50_95": values[1],
        "agrees": abs(values[0] - found.metrics.map50) <= DISAGREEMENT,
    }


def _in_words(found: Json) -> str:
    images, map50, second = found["test"]["images"], found["test"]["map50"], found["coco"]
    if not second:
        return msg(
            "Measured on {images} test images: mAP50 {map50:.3f}.", images=images, map50=map50
        )
    return msg(
        "Measured on {images} test images: mAP50 {map50:.3f} ({coco:.3f} by COCO's arithmetic).",
        images=images,
        map50=map50,
        coco=second["map50"],
    )
