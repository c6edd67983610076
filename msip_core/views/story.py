"""A run gathered for a report: plain records, so it needs neither torch nor a server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from msip_core.config import PruneConfig, TrainConfig
from msip_core.events import BaselineRecord, EpochRecord, FinalRecord, IterationRecord, Metrics
from msip_core.workspace import Workspace


class RunFacts(Protocol):
    """What a list of runs knows about one (`runs.service.RunService.get`)."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def config(self) -> TrainConfig | PruneConfig: ...
    @property
    def started(self) -> float | None: ...
    @property
    def finished(self) -> float | None: ...
    @property
    def error(self) -> str | None: ...


class Moment(Protocol):
    """One sentence of the run's diary; `time` in seconds since 1970."""

    @property
    def time(self) -> float: ...
    @property
    def message(self) -> str: ...
    @property
    def level(self) -> str: ...


class RunReader(Protocol):
    """Whoever can tell the story of a run; `runs.service.RunService` does."""

    def get(self, run_id: str) -> RunFacts: ...
    def baseline(self, run_id: str) -> BaselineRecord | None: ...
    def iterations(self, run_id: str) -> Sequence[IterationRecord]: ...
    def epochs(self, run_id: str) -> Sequence[EpochRecord]: ...
    def final(self, run_id: str) -> FinalRecord | None: ...
    def milestones(self, run_id: str) -> Sequence[Moment]: ...


@dataclass(frozen=True)
class RunStory:
    """One run from first to last record.

    Attributes:
        provenance: the content of provenance.json: versions, hardware, hashes.
        dataset: the content of the dataset's summary.json; empty where it is gone.
        source: the card of the model that the run began with; empty where it has none.
        seconds: wall time from start to end, None while it runs.
        notes: sentences of the diary worth a reader's time: (message, is a warning).
    """

    id: str
    name: str
    state: str
    config: TrainConfig | PruneConfig
    baseline: BaselineRecord | None = None
    iterations: tuple[IterationRecord, ...] = ()
    epochs: tuple[EpochRecord, ...] = ()
    final: FinalRecord | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    dataset: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    finished: float | None = None
    error: str | None = None
    notes: tuple[tuple[str, bool], ...] = ()

    @property
    def metrics(self) -> Metrics | None:
        """The run's own result on validation: of the pruned or trained model, else None."""
        return self.final.metrics if self.final else None

    @property
    def multiple(self) -> int | None:
        """What the channels of a layer came in multiples of, once the run has ended and said so."""
        return self.final.channel_multiple if self.final else None


def read_story(workspace: Workspace, reader: RunReader, run_id: str) -> RunStory:
    """Gather one run from its records and the files beside them.

    Raises:
        NotFoundError: there is no such run.
    """
    facts = reader.get(run_id)
    ended = facts.finished is not None and facts.started is not None
    final = reader.final(run_id)
    return RunStory(
        id=facts.id,
        name=facts.name or facts.id,
        state=str(facts.state),
        config=facts.config,
        baseline=reader.baseline(run_id),
        iterations=settled(reader.iterations(run_id), final),
        epochs=tuple(reader.epochs(run_id)),
        final=final,
        provenance=_document(workspace.run_dir(run_id) / "provenance.json"),
        dataset=_document(workspace.dataset_dir(facts.config.dataset) / "summary.json"),
        source=_source(workspace, facts.config),
        seconds=(facts.finished or 0) - (facts.started or 0) if ended else None,
        finished=facts.finished,
        error=facts.error,
        notes=tuple((m.message, m.level == "warning") for m in reader.milestones(run_id)),
    )


def settled(
    iterations: Sequence[IterationRecord], final: FinalRecord | None
) -> tuple[IterationRecord, ...]:
    """The steps, the kept one with the validation of its saved model.

    At its end a step is measured in memory; the model that a run keeps is loaded from its file
    (half precision) and measured once more. The later number stands for the step everywhere, so
    that one page does not show both.
    """
    if final is None:
        return tuple(iterations)
    again = {"map50_after": final.metrics.map50, "map50_95_after": final.metrics.map50_95}
    return tuple(
        record.model_copy(update=again) if record.index == final.iteration else record
        for record in iterations
    )


def _source(workspace: Workspace, config: TrainConfig | PruneConfig) -> dict[str, Any]:
    name = config.model if isinstance(config, PruneConfig) else config.weights
    if "/" in name or name.endswith((".pt", ".yaml", ".yml")):
        return {}  # a file of its own, not a model of the workspace
    return _document(workspace.model_dir(name) / "model.json")


def _document(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value
