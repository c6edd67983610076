"""A run gathered for a report: plain records, so it needs neither torch nor a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from msip_core.config import AnyRun, CountConfig, PruneConfig, TrainConfig
from msip_core.documents import Provenance, facts_in
from msip_core.errors import ConfigError
from msip_core.events import BaselineRecord, EpochRecord, FinalRecord, IterationRecord, Metrics
from msip_core.label_versions import summary_at
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
    def config(self) -> AnyRun: ...
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
    """Whoever can tell the history of a run; `runs.service.RunService` does."""

    def get(self, run_id: str) -> RunFacts: ...
    def baseline(self, run_id: str) -> BaselineRecord | None: ...
    def iterations(self, run_id: str) -> Sequence[IterationRecord]: ...
    def epochs(self, run_id: str) -> Sequence[EpochRecord]: ...
    def final(self, run_id: str) -> FinalRecord | None: ...
    def milestones(self, run_id: str) -> Sequence[Moment]: ...


C = TypeVar("C", TrainConfig, PruneConfig, TrainConfig | PruneConfig)


@dataclass(frozen=True)
class RunHistory(Generic[C]):
    """One run as far as it was told; a look while it runs leaves out what only a report needs.

    Attributes:
        provenance: the content of provenance.json: versions, hardware, hashes.
        dataset: the content of the dataset's summary.json, of the version of the labels that the
            run used; empty where it is gone.
        source: the card of the model that the run began with; empty where it has none.
        seconds: wall time from start to end, None while it runs.
        notes: sentences of the diary worth a reader's time: (message, is a warning).
    """

    id: str
    name: str
    state: str
    config: C
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
    def steps(self) -> list[int]:
        """Steps of a pruning run that can be looked at; 0 is the baseline."""
        first = [0] if self.baseline else []
        return first + [record.index for record in self.iterations]

    @property
    def default(self) -> int:
        """The step that whoever chooses none is shown: the result, else the newest."""
        if self.final is not None:
            return self.final.iteration
        return self.iterations[-1].index if self.iterations else 0

    @property
    def is_stopped_early(self) -> bool:
        """The guard rail ended it: the kept model is older than the last step."""
        final = self.final
        return bool(
            final
            and final.stopped_by
            and self.iterations
            and final.iteration < self.iterations[-1].index
        )

    def at(self, step: int) -> IterationRecord | None:
        """The record of a step; None for the baseline."""
        return next((record for record in self.iterations if record.index == step), None)

    @property
    def multiple(self) -> int | None:
        """What the channels of a layer came in multiples of, once the run has ended and said so."""
        return self.final.channel_multiple if self.final else None


def read_history(
    workspace: Workspace, reader: RunReader, run_id: str
) -> RunHistory[TrainConfig | PruneConfig]:
    """Gather one run from its records and the files beside them.

    Raises:
        NotFoundError: there is no such run.
        ConfigError: it counts, and so has no steps to tell of.
    """
    facts = reader.get(run_id)
    config = facts.config
    if isinstance(config, CountConfig):
        raise ConfigError(
            "'{run_id}' counts objects and trains nothing: see its tables instead.", run_id=run_id
        )
    ended = facts.finished is not None and facts.started is not None
    final = reader.final(run_id)
    return RunHistory(
        id=facts.id,
        name=facts.name or facts.id,
        state=str(facts.state),
        config=config,
        baseline=reader.baseline(run_id),
        iterations=settled(reader.iterations(run_id), final),
        epochs=tuple(reader.epochs(run_id)),
        final=final,
        provenance=facts_in(workspace.run_dir(run_id) / "provenance.json", Provenance),
        dataset=summary_at(workspace.dataset_dir(config.dataset), config.dataset_version),
        source=_source(workspace, config),
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


def _source(workspace: Workspace, config: TrainConfig | PruneConfig) -> dict[str, object]:
    name = config.model if isinstance(config, PruneConfig) else config.weights
    if "/" in name or name.endswith((".pt", ".yaml", ".yml")):
        return {}  # a file of its own, not a model of the workspace
    return facts_in(workspace.model_dir(name) / "model.json")
