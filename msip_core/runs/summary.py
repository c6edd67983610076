"""The JSON document of one run, as promised to other programs (`runs show ID --json`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from msip_core.config import PruneConfig
from msip_core.documents import Check, facts_in
from msip_core.events import (
    BaselineRecord,
    Cost,
    CountedRecord,
    FinalRecord,
    IterationRecord,
    Metrics,
)
from msip_core.runs.store import RunRow
from msip_core.speeds import read_speed, state_of
from msip_core.ways import RUN_FILE, Way
from msip_core.workspace import Workspace, without_nan

CHECK_FILE = "model/check.json"


class OneModel(TypedDict):
    """What a model scores on validation images, and what it costs."""

    map50: float
    map50_95: float
    macs: float
    params: float
    size_mb: float
    latency_ms: float | None


class LastModel(OneModel):
    macs_ratio: float
    iteration: int
    stopped_by: str | None
    model_id: str
    test: Mapping[str, object] | None
    baseline_test: Mapping[str, object] | None


class Summary(TypedDict):
    """MACs count multiply-adds at the run's image size; seconds are wall time; numbers that were
    not measured are null. `latency_way` says on what, by what, in which precision and at which
    batch `latency_ms` was measured."""

    id: str
    name: str
    kind: str
    state: str
    stage: str | None
    error: str | None
    method: str | None
    config: Mapping[str, object]
    baseline: OneModel | None
    iterations: Sequence[Mapping[str, object]]
    final: LastModel | None
    counted: Sequence[Mapping[str, object]]
    speed: Mapping[str, str] | None
    latency_way: Mapping[str, object] | None
    artifacts: Mapping[str, str]


def summary_document(
    workspace: Workspace,
    row: RunRow,
    baseline: BaselineRecord | None,
    iterations: Sequence[IterationRecord],
    final: FinalRecord | None,
    *,
    counted: Sequence[CountedRecord] = (),
) -> Summary:
    """The document of one run."""
    latency, way, speed = _latencies(workspace, workspace.run_dir(row.id), final)
    document: Summary = {
        "id": row.id,
        "name": row.name,
        "kind": row.kind,
        "state": row.state.value,
        "stage": row.stage,
        "error": row.error,
        "method": row.config.method if isinstance(row.config, PruneConfig) else None,
        "config": row.config.model_dump(mode="json"),
        "baseline": _model(baseline.metrics, baseline.cost, latency.get("baseline"))
        if baseline
        else None,
        "iterations": [record.model_dump(mode="json", exclude={"kind"}) for record in iterations],
        "final": _final(final, latency.get("final")) if final else None,
        "counted": [record.model_dump(mode="json", exclude={"kind"}) for record in counted],
        "speed": speed,
        "latency_way": way,
        "artifacts": _artifacts(workspace, row.id, final),
    }
    clean: Summary = without_nan(document)
    return clean


def _model(metrics: Metrics, cost: Cost, latency_ms: float | None) -> OneModel:
    return {
        "map50": metrics.map50,
        "map50_95": metrics.map50_95,
        "macs": cost.macs,
        "params": cost.params,
        "size_mb": cost.size_mb,
        "latency_ms": latency_ms,
    }


def _final(final: FinalRecord, latency_ms: float | None) -> LastModel:
    return {
        **_model(final.metrics, final.cost, latency_ms),
        "macs_ratio": final.macs_ratio,
        "iteration": final.iteration,
        "stopped_by": final.stopped_by,
        "model_id": final.model_id,
        "test": final.test.model_dump(mode="json") if final.test else None,
        "baseline_test": final.baseline_test.model_dump(mode="json")
        if final.baseline_test
        else None,
    }


def _artifacts(workspace: Workspace, run_id: str, final: FinalRecord | None) -> dict[str, str]:
    """Name -> absolute path of each file that is there."""
    folder, root = workspace.run_dir(run_id), workspace.root
    found = {
        "run": folder,
        "config": folder / "config.json",
        "provenance": folder / "provenance.json",
        "events": folder / "events.jsonl",
        "log": folder / "log.txt",
        **({name: root / path for name, path in final.artifacts.items()} if final else {}),
    }
    return {name: str(path) for name, path in found.items() if path.exists()}


def _latencies(
    workspace: Workspace, run_dir: Path, final: FinalRecord | None
) -> tuple[dict[str, float | None], dict[str, object] | None, dict[str, str] | None]:
    """Median milliseconds by model; the way they were measured in; and how far their measurement
    is: {state: "measured", "being measured" or "not measured", problem, processor}. Of a goal in
    milliseconds what the run itself measured at its end, else what was measured on this computer's
    processor after it. None before the run has a model."""
    if final is None:
        return {}, None, None
    if final.latency_way is not None and final.goal_ratio is not None:
        whole = facts_in(run_dir / RUN_FILE).get("baseline_ms")
        if isinstance(whole, int | float):
            found: dict[str, float | None] = {
                "baseline": round(whole, 3),
                "final": round(final.goal_ratio * whole, 3),
            }
            return found, final.latency_way.as_dict(), _told("measured")
    speed = read_speed(workspace, final.model_id)
    state = state_of(workspace, final.model_id)
    if speed is not None and state != "being measured":
        way = Way(format="pytorch", hardware=speed.processor).as_dict() if speed.ms else None
        times = {"baseline": speed.beside_ms, "final": speed.ms}
        return times, way, _told(state, speed.problem, speed.processor)
    earlier = _of_the_check(run_dir)
    way = Way(format="pytorch").as_dict() if earlier else None
    return dict(earlier), way, _told("measured" if earlier else state)


def _told(state: str, problem: str = "", processor: str = "") -> dict[str, str]:
    return {"state": state, "problem": problem, "processor": processor}


def _of_the_check(run_dir: Path) -> dict[str, float]:
    """As runs before 2026-12 kept them: beside the result of the closing check, measured in PyTorch
    on the processor."""
    found: dict[str, float] = facts_in(run_dir / CHECK_FILE, Check).get("latency_ms", {})
    return found
