"""Milliseconds of models on this computer, as a job of the compute process."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from msip_core.detector.devices import resolve_device
from msip_core.detector.engines import engine_for, ways_of
from msip_core.detector.latency import measure_latency
from msip_core.detector.sources import load_source_model
from msip_core.errors import ConfigError
from msip_core.messages import msg
from msip_core.questions.base import Job
from msip_core.questions.speed import MissingWay, Timed, TimeModels
from msip_core.ways import Way


def time_models(question: TimeModels, at: Job) -> Timed:
    """Milliseconds per image of one or two models, measured in turn."""
    at.progress(0.0, msg("Opening the models"))
    found = {side: load_source_model(at.workspace, one) for side, one in question.models.items()}
    text = msg("Timing both models") if len(found) > 1 else msg("Timing the model")
    ways, missing = asked_ways(
        question.latency_device, question.formats, question.precisions, question.batches
    )
    first = next(iter(found.values()))[1]
    latency = measure_latency(
        {side: model for side, (model, _) in found.items()},
        question.imgsz or first.imgsz,
        ways,
        runs=question.runs,
        seconds=question.seconds,
        tick=lambda done: at.progress(done, text),
    )
    return Timed(latency=tuple(latency), missing=tuple(missing))


def asked_ways(
    device: str,
    formats: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    batches: Sequence[int] | None = None,
) -> tuple[list[Way], list[MissingWay]]:
    """The ways to run that are meant, and those that were not asked for by name and are not there.

    Args:
        device: "cpu", a GPU, "auto" (the first GPU, else the processor) or "all".
        formats, precisions, batches: None means all there are.

    Raises:
        ConfigError: one that was asked for is not there, or none is.
    """
    ways: list[Way] = []
    missing: list[MissingWay] = []
    for place in _timed_devices(device):
        for way in ways_of(place, formats, precisions, batches):
            why = engine_for(way).missing()
            if why is None:
                ways.append(way)
            elif formats and device != "all":
                raise ConfigError(why)
            else:
                missing.append(MissingWay.of(way, why))
    if not ways:
        raise ConfigError(missing[0].why if missing else msg("There is nothing to measure."))
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
