"""Looking through and importing a source as jobs of the compute process."""

from __future__ import annotations

from msip_core.data.dataset import Dataset
from msip_core.data.importing import import_dataset, inspect_source
from msip_core.data.manifest import SourceInfo, summarise
from msip_core.data.questions import Draw, Import, Imported, Inspect
from msip_core.data.synthetic import import_example
from msip_core.messages import msg
from msip_core.questions.base import Job


def inspect(question: Inspect, at: Job) -> SourceInfo:
    at.progress(0.0, msg("Looking through the files"))
    return inspect_source(question.path)


def take_in(question: Import, at: Job) -> Imported:
    dataset = import_dataset(at.workspace, question.config, at.progress)
    at.workspace.clear_upload(question.config.source)
    return _imported(dataset)


def draw(question: Draw, at: Job) -> Imported:
    dataset = import_example(
        at.workspace,
        question.name,
        images=question.images,
        size=question.size,
        seed=question.seed,
        progress=at.progress,
    )
    return _imported(dataset)


def _imported(dataset: Dataset) -> Imported:
    return Imported(
        dataset=dataset.name, summary=summarise(dataset.document), report=dataset.report
    )
