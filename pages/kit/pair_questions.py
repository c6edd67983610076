"""What several pages ask of a pair of models, in the same words, so that one answer serves all."""

from __future__ import annotations

from collections.abc import Sequence

from msip_core.data.dataset import Dataset
from msip_core.events import Cost, Metrics
from msip_core.questions.detecting import Compare
from msip_core.questions.speed import TimeModels
from pages.kit.lab import lab
from pages.kit.pair import ModelPair


def measured_pair(pair: ModelPair) -> tuple[tuple[Metrics, Cost], tuple[Metrics, Cost]] | None:
    runs = lab().runs
    baseline, final = runs.baseline(pair.run.id), runs.final(pair.run.id)
    if baseline is None:
        return None
    if final and pair.iteration == final.iteration:
        if final.test and final.baseline_test:
            return (final.baseline_test, baseline.cost), (final.test, final.cost)
        return (baseline.metrics, baseline.cost), (final.metrics, final.cost)
    record = next(r for r in runs.iterations(pair.run.id) if r.index == pair.iteration)
    metrics = Metrics(
        split="val",
        map50=record.map50_after,
        map50_95=record.map50_95_after,
        images=baseline.metrics.images,
    )
    cost = Cost(
        macs=record.macs, params=record.params, size_mb=record.size_mb, imgsz=baseline.cost.imgsz
    )
    return (baseline.metrics, baseline.cost), (metrics, cost)


def speed_question(pair: ModelPair, formats: Sequence[str], batch: int) -> TimeModels:
    """Both models on the processor, the same on every page, so that one answer serves all."""
    return TimeModels(
        baseline=pair.baseline,
        pruned=pair.pruned,
        imgsz=pair.config.imgsz,
        batches=(batch,),
        formats=tuple(formats),
    )


def gpu_speed_question(pair: ModelPair, device: str) -> TimeModels:
    """Both models on a GPU, in every way that there is."""
    return TimeModels(
        baseline=pair.baseline, pruned=pair.pruned, imgsz=pair.config.imgsz, latency_device=device
    )


def compare_question(pair: ModelPair, data: Dataset) -> Compare:
    """Both models on the test images, the same on every page, so that one answer serves all.

    Accuracy is left out: the run has measured it on the same images.
    """
    return Compare(
        baseline=pair.baseline,
        pruned=pair.pruned,
        dataset=data.name,
        imgsz=pair.config.imgsz,
        metrics=False,
    )
