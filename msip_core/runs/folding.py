"""A run's story folded into what the index keeps: one row, and the newest of each record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from msip_core.config import AnyRun, PruneConfig, parse_kept_config
from msip_core.documents import damaged
from msip_core.errors import NotFoundError
from msip_core.messages import stored
from msip_core.runs.events_log import Event, EventLog
from msip_core.runs.slots import slot_of
from msip_core.runs.state import RunState

CONFIG_FILE = "config.json"
Row = dict[str, Any]  # of a table of the index, by column
_KEPT_KINDS = frozenset(
    {"baseline", "epoch", "iteration", "final", "counted", "milestone", "state"}
)


@lru_cache(maxsize=2048)
def config_of(text: str) -> AnyRun:
    """The checked config of its JSON. Configs are frozen, so long lists may share them."""
    return parse_kept_config(text)


def new_row(run_dir: Path) -> Row:
    """The row of a run whose history is still unread."""
    file = run_dir / CONFIG_FILE
    if not file.is_file():
        raise NotFoundError(
            "{run_dir} holds no {config_file}: this is not a run folder.",
            run_dir=run_dir,
            config_file=CONFIG_FILE,
        )
    try:
        text = file.read_text(encoding="utf-8")
        config = config_of(text)
    except (ValueError, RecursionError) as error:
        raise damaged(file) from error
    EventLog(run_dir).state()
    return {
        "id": run_dir.name, "name": config.name or run_dir.name, "kind": config.kind,
        "state": RunState.QUEUED.value, "stage": None, "iteration": 0,
        "iterations": config.iterations if isinstance(config, PruneConfig) else 0,
        "done": 0.0, "seconds_left": None, "message": "", "error": None, "exit_code": None,
        "created": file.stat().st_mtime, "queued": None, "started": None, "finished": None,
        "slot": slot_of(config.device), "config": text, "map50": None, "macs_ratio": None,
        "model_id": None, "seq": 0, "log_offset": 0, "damaged": 0,
    }  # fmt: skip


def fold(row: Row, log: EventLog) -> tuple[Row, list[Row]]:
    """Read on in the history from where `row` stands; the new row, and records to keep."""
    changed, kept = dict(row), []
    if log.size() < row["log_offset"]:  # somebody put an older copy of the folder here
        changed |= {"log_offset": 0, "damaged": 0}
    for line in log.lines(changed["log_offset"]):
        if line.event:
            _apply(line.event, changed)
            if line.event["kind"] in _KEPT_KINDS:
                kept.append(_record_row(row["id"], line.event))
        changed["log_offset"] = line.end
        changed["damaged"] += line.is_damaged
    return changed, kept


def _record_row(run_id: str, event: Event) -> Row:
    places: dict[str, Sequence[Any]] = {
        "epoch": (event.get("iteration"), event.get("phase"), event.get("epoch")),
        "iteration": (event.get("index"),),
        "baseline": (),
        "final": (),
        "counted": (event.get("role"),),
    }
    place = "/".join(map(str, places.get(event["kind"], (event["seq"],))))
    return {
        "run_id": run_id,
        "kind": event["kind"],
        "place": place,
        "seq": event["seq"],
        "time": event["time"],
        "payload": json.dumps(stored(event), ensure_ascii=False),
    }


def _apply(event: Event, row: Row) -> None:
    """What one event changes in the row of its run."""
    row["seq"] = event["seq"]
    match event["kind"]:
        case "state":
            _apply_state(event, row)
        case "stage":
            # Work around the iterations (checking, saving) names none: it takes none back.
            iteration = max(row["iteration"], event.get("iteration", 0))
            row.update(stage=event["stage"], iteration=iteration)
        case "progress":
            row.update(
                done=event["done"],
                seconds_left=event.get("seconds_left"),
                message=event.get("message", ""),
            )
        case "iteration":
            row.update(
                iteration=event["index"], map50=event["map50_after"], macs_ratio=event["macs_ratio"]
            )
        case "renamed":
            row["name"] = event["name"]
        case "final":
            row.update(
                map50=event["metrics"]["map50"],
                macs_ratio=event["macs_ratio"],
                model_id=event["model_id"],
                iteration=event["iteration"],
            )


def _apply_state(event: Event, row: Row) -> None:
    state = RunState(event["state"])
    row.update(state=state.value, error=event.get("reason"), exit_code=event.get("exit_code"))
    if row["log_offset"] == 0 and row["seq"] == 1:
        row["created"] = event["time"]
    match state:
        case RunState.QUEUED:
            # It waits for what was asked for, wherever it was before.
            slot = slot_of(config_of(row["config"]).device)
            row.update(queued=event["time"], finished=None, slot=slot)
        case RunState.RUNNING:
            row["started"] = row["started"] or event["time"]
            row["slot"] = event.get("device") or row["slot"]
        case RunState.COMPLETED:
            row.update(done=1.0, seconds_left=0.0)
    if not state.has_worker:
        row.update(stage=None, seconds_left=0.0 if state is RunState.COMPLETED else None)
    if state.is_finished:
        # Not before it began, whatever was done to the clock: estimates come from the difference.
        row["finished"] = max(event["time"], row["started"] or 0.0)
