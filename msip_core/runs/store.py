"""The index of runs (SQLite, WAL): what lists, the queue and the curves read.

Derived from the run folders and nothing else: each run's row knows how far its events.jsonl was
read, `sync` reads on from there, and `reindex` builds all of it again. States change in the
run's own log (EventLog.transition, compare-and-set), so an index that lags can never decide.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event as sa_event

from msip_core.config import PruneConfig, TrainConfig, parse_run_config
from msip_core.errors import MsipError, NotFoundError, WorkError
from msip_core.runs.events_log import Event, EventLog
from msip_core.runs.migrations import migrate
from msip_core.runs.slots import slot_of
from msip_core.runs.state import RunState
from msip_core.workspace import Workspace

logger = logging.getLogger(__name__)

CONFIG_FILE = "config.json"
_META = sa.MetaData()
_RUNS = sa.Table(
    "runs", _META,
    sa.Column("id", sa.Text, primary_key=True),
    *(sa.Column(n, sa.Text) for n in ("name", "kind", "state", "stage", "message", "error",
                                      "slot", "config", "model_id")),
    *(sa.Column(n, sa.Integer) for n in ("iteration", "iterations", "exit_code", "seq",
                                         "log_offset")),
    *(sa.Column(n, sa.Float) for n in ("done", "seconds_left", "created", "queued", "started",
                                       "finished", "map50", "macs_ratio")),
)  # fmt: skip
_RECORDS = sa.Table(
    "records", _META,
    *(sa.Column(n, sa.Text, primary_key=True) for n in ("run_id", "kind", "place")),
    sa.Column("seq", sa.Integer), sa.Column("time", sa.Float), sa.Column("payload", sa.Text),
)  # fmt: skip
_KEPT_KINDS = frozenset({"baseline", "epoch", "iteration", "final", "milestone", "state"})


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run as lists show it. Times are seconds since 1970.

    Attributes:
        iteration, iterations: prune/fine-tune iteration now, and how many were asked for.
        done: share of the work done, 0 to 1.
        error: why it failed or was interrupted, one sentence.
        device: as set ("auto", "cpu", "cuda:0"); `slot` is the device it occupies.
        queue_position: 1 for the next to start on its device; None unless queued.
        map50, macs_ratio: of the finished run (validation; share of the baseline's MACs).
    """

    id: str
    name: str
    kind: str
    state: RunState
    stage: str | None
    iteration: int
    iterations: int
    done: float
    seconds_left: float | None
    message: str
    error: str | None
    exit_code: int | None
    created: float
    started: float | None
    finished: float | None
    device: str
    slot: str
    config: TrainConfig | PruneConfig
    queue_position: int | None
    map50: float | None
    macs_ratio: float | None
    model_id: str | None


@dataclass(frozen=True, slots=True)
class Found:
    """What `reindex` found: runs taken in, and folders left out with the reason."""

    runs: int
    skipped: tuple[str, ...]


class RunStore:
    """The index of one workspace. Safe to use from several threads and processes."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        fresh = not workspace.index_path.exists()
        self._engine = _engine(workspace.index_path)
        with self._writing() as connection:
            migrate(connection)
        if fresh and any(workspace.runs.glob(f"*/{CONFIG_FILE}")):
            self.reindex()

    # --- taking in ------------------------------------------------------------

    def add(self, run_id: str) -> None:
        """Take in a run whose folder is complete.

        Raises:
            ConfigError, NotFoundError: config.json or events.jsonl cannot be used.
        """
        row = _new_row(self.workspace.run_dir(run_id))
        with self._writing() as connection:
            connection.execute(sa.insert(_RUNS).prefix_with("OR REPLACE"), row)
        self.sync(run_id)

    def sync(self, run_id: str) -> None:
        """Read on in the run's story; cheap when nothing was added."""
        log = EventLog(self.workspace.run_dir(run_id))
        query = sa.select(_RUNS.c.log_offset).where(_RUNS.c.id == run_id)
        with self._engine.connect() as connection:
            if connection.execute(query).scalar_one_or_none() == log.size():
                return
        with self._writing() as connection:
            _take_in(connection, run_id, log)

    def sync_unfinished(self) -> None:
        """Sync every run that may still change."""
        for run_id in self.ids([s for s in RunState if not s.is_finished]):
            self.sync(run_id)

    def forget(self, run_id: str) -> None:
        """Take a run out of the index; its folder is not touched."""
        with self._writing() as connection:
            connection.execute(sa.delete(_RECORDS).where(_RECORDS.c.run_id == run_id))
            connection.execute(sa.delete(_RUNS).where(_RUNS.c.id == run_id))

    def transition(
        self,
        run_id: str,
        target: RunState,
        *,
        expected: Collection[RunState] | None = None,
        reason: str | None = None,
    ) -> RunState:
        """Compare-and-set in the run's log, then in the index; returns the state before."""
        log = EventLog(self.workspace.run_dir(run_id))
        before = log.transition(target, expected=expected, reason=reason)
        self.sync(run_id)
        return before

    def reindex(self) -> Found:
        """Forget the index and build it from the run folders."""
        skipped = []
        with self._writing() as connection:
            connection.execute(sa.delete(_RECORDS))
            connection.execute(sa.delete(_RUNS))
            folders = sorted(p for p in self.workspace.runs.iterdir() if _is_run_folder(p))
            for folder in folders:
                try:
                    connection.execute(sa.insert(_RUNS), _new_row(folder))
                except (MsipError, OSError, ValueError) as error:
                    logger.warning("%s is left out of the index: %s", folder, error)
                    skipped.append(f"{folder.name}: {error}")
                    continue
                _take_in(connection, folder.name, EventLog(folder))
        return Found(len(folders) - len(skipped), tuple(skipped))

    # --- reading --------------------------------------------------------------

    def rows(
        self,
        *,
        limit: int = 50,
        offset: int = 0,
        states: Collection[RunState] | None = None,
        kind: str | None = None,
    ) -> list[RunRow]:
        """A page of runs, newest first."""
        query = (
            _filtered(sa.select(_RUNS), states, kind)
            .order_by(_RUNS.c.created.desc(), _RUNS.c.id.desc())
            .limit(limit)
            .offset(offset)
        )
        with self._engine.connect() as connection:
            found = connection.execute(query).mappings().all()
            places = _queue_places(connection) if found else {}
        return [_row(values, places) for values in found]

    def row(self, run_id: str) -> RunRow:
        """One run, or NotFoundError."""
        with self._engine.connect() as connection:
            values = connection.execute(_RUNS.select().where(_RUNS.c.id == run_id)).mappings()
            found = values.one_or_none()
            places = _queue_places(connection) if found else {}
        if found is None:
            raise NotFoundError(f"There is no run '{run_id}': see 'runs list' for what is there.")
        return _row(found, places)

    def ids(self, states: Collection[RunState]) -> list[str]:
        """Ids of the runs in these states, in the order they entered the queue."""
        query = _filtered(sa.select(_RUNS.c.id), states, None)
        with self._engine.connect() as connection:
            return list(connection.execute(query.order_by(_RUNS.c.queued, _RUNS.c.id)).scalars())

    def slots(self, states: Collection[RunState]) -> dict[str, str]:
        """Run id -> the device it occupies or waits for, first in the queue first."""
        query = _filtered(sa.select(_RUNS.c.id, _RUNS.c.slot), states, None)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(_RUNS.c.queued, _RUNS.c.id)).all()
        return {row.id: row.slot for row in rows}

    def count(self, states: Collection[RunState] | None = None, kind: str | None = None) -> int:
        with self._engine.connect() as connection:
            query = _filtered(sa.select(sa.func.count()).select_from(_RUNS), states, kind)
            return int(connection.execute(query).scalar_one())

    def records(self, run_id: str, *kinds: str) -> list[Event]:
        """What the run reported, in the order of its telling, repeats replaced."""
        query = (
            sa.select(_RECORDS.c.payload)
            .where(_RECORDS.c.run_id == run_id, _RECORDS.c.kind.in_(kinds))
            .order_by(_RECORDS.c.seq)
        )
        with self._engine.connect() as connection:
            return [json.loads(text) for text in connection.execute(query).scalars()]

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with self._engine.execution_options(write=True).begin() as connection:
            yield connection


def _engine(path: Path) -> sa.Engine:
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})

    @sa_event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we begin transactions ourselves, below
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA foreign_keys=ON")
        except connection.DatabaseError as error:
            raise WorkError(
                f"The index {path} cannot be read ({error}). Move it away: it is built again "
                "from the run folders, nothing is lost."
            ) from error

    @sa_event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # IMMEDIATE: two writers wait for each other instead of failing half-way.
        write = connection.get_execution_options().get("write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _filtered(query: Any, states: Collection[RunState] | None, kind: str | None) -> Any:
    if states is not None:
        query = query.where(_RUNS.c.state.in_([s.value for s in states]))
    return query if kind is None else query.where(_RUNS.c.kind == kind)


def _queue_places(connection: sa.Connection) -> dict[str, int]:
    """Run id -> 1, 2, 3 … within the queue of its device."""
    place = sa.func.row_number().over(
        partition_by=_RUNS.c.slot, order_by=(_RUNS.c.queued, _RUNS.c.id)
    )
    query = sa.select(_RUNS.c.id, place).where(_RUNS.c.state == RunState.QUEUED.value)
    return {run_id: int(n) for run_id, n in connection.execute(query)}


@lru_cache(maxsize=2048)
def _config(text: str) -> TrainConfig | PruneConfig:
    # Configs are frozen, so lists of hundreds of runs may share one checked object per text.
    return parse_run_config(json.loads(text))


def _row(values: Any, places: dict[str, int]) -> RunRow:
    config = _config(values["config"])
    same = {name: values[name] for name in RunRow.__slots__ if name in values and name != "config"}
    same["state"] = RunState(values["state"])
    return RunRow(
        **same, config=config, device=config.device, queue_position=places.get(values["id"])
    )


def _is_run_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _new_row(run_dir: Path) -> dict[str, Any]:
    """The row of a run whose story is still unread."""
    file = run_dir / CONFIG_FILE
    if not file.is_file():
        raise NotFoundError(f"{run_dir} holds no {CONFIG_FILE}: this is not a run folder.")
    text = file.read_text(encoding="utf-8")
    config = _config(text)
    EventLog(run_dir).state()
    return {
        "id": run_dir.name, "name": config.name or run_dir.name, "kind": config.kind,
        "state": RunState.QUEUED.value, "stage": None, "iteration": 0,
        "iterations": config.iterations if isinstance(config, PruneConfig) else 0,
        "done": 0.0, "seconds_left": None, "message": "", "error": None, "exit_code": None,
        "created": file.stat().st_mtime, "queued": None, "started": None, "finished": None,
        "slot": slot_of(config.device), "config": text, "map50": None, "macs_ratio": None,
        "model_id": None, "seq": 0, "log_offset": 0,
    }  # fmt: skip


def _take_in(connection: sa.Connection, run_id: str, log: EventLog) -> None:
    mine = _RUNS.c.id == run_id
    row = connection.execute(_RUNS.select().where(mine)).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"There is no run '{run_id}': see 'runs list' for what is there.")
    offset = row["log_offset"]
    if log.size() < offset:  # a half line was cut off that an older reader had counted
        offset = 0
    events, end = log.read_from(offset)
    changed: dict[str, Any] = dict(row)
    kept = []
    for event in events:
        _apply(event, changed)
        if event["kind"] in _KEPT_KINDS:
            kept.append(_record_row(run_id, event))
    if kept:
        connection.execute(sa.insert(_RECORDS).prefix_with("OR REPLACE"), kept)
    changed["log_offset"] = end
    connection.execute(sa.update(_RUNS).where(mine).values(changed))


def _record_row(run_id: str, event: Event) -> dict[str, Any]:
    places: dict[str, Sequence[Any]] = {
        "epoch": (event.get("iteration"), event.get("phase"), event.get("epoch")),
        "iteration": (event.get("index"),),
        "baseline": (), "final": (),
    }  # fmt: skip
    place = "/".join(map(str, places.get(event["kind"], (event["seq"],))))
    return {
        "run_id": run_id, "kind": event["kind"], "place": place, "seq": event["seq"],
        "time": event["time"], "payload": json.dumps(event, ensure_ascii=False),
    }  # fmt: skip


def _apply(event: Event, row: dict[str, Any]) -> None:
    """What one event changes in the row of its run."""
    row["seq"] = event["seq"]
    match event["kind"]:
        case "state":
            _apply_state(event, row)
        case "stage":
            row.update(stage=event["stage"], iteration=event["iteration"])
        case "progress":
            row.update(
                done=event["done"], seconds_left=event["seconds_left"], message=event["message"]
            )
        case "iteration":
            row.update(
                iteration=event["index"], map50=event["map50_after"],
                macs_ratio=event["macs_ratio"],
            )  # fmt: skip
        case "final":
            row.update(
                map50=event["metrics"]["map50"], macs_ratio=event["macs_ratio"],
                model_id=event["model_id"], iteration=event["iteration"],
            )  # fmt: skip


def _apply_state(event: Event, row: dict[str, Any]) -> None:
    state = RunState(event["state"])
    row.update(state=state.value, error=event.get("reason"), exit_code=event.get("exit_code"))
    if row["log_offset"] == 0 and row["seq"] == 1:
        row["created"] = event["time"]
    match state:
        case RunState.QUEUED:
            row.update(queued=event["time"], finished=None)
        case RunState.RUNNING:
            row["started"] = row["started"] or event["time"]
        case RunState.COMPLETED:
            row.update(done=1.0, seconds_left=0.0)
    if not state.has_worker:
        row.update(stage=None, seconds_left=0.0 if state is RunState.COMPLETED else None)
    if state.is_finished:
        row["finished"] = event["time"]
