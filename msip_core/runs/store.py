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
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from msip_core.config import AnyRun
from msip_core.errors import MsipError, NotFoundError
from msip_core.messages import Message, joined, message_of, msg, restored, stored
from msip_core.runs.events_log import Event, EventLog
from msip_core.runs.folding import CONFIG_FILE, Row, config_of, fold, new_row
from msip_core.runs.index_file import Healing, heals
from msip_core.runs.state import RunState
from msip_core.workspace import STUDY, Workspace, check_name, folders_in

logger = logging.getLogger(__name__)


class _Sentence(sa.TypeDecorator[str]):
    """A message; one with values as the JSON of its text and origin."""

    impl, cache_ok = sa.Text, True

    def process_bind_param(self, value: str | None, dialect: object) -> str | None:
        if isinstance(value, Message) and value.values:
            return json.dumps(stored({"text": value}), ensure_ascii=False)
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: object) -> str | None:
        if value is None or not value.startswith('{"text":'):
            return value
        return Message(restored(json.loads(value))["text"])


def _columns(kind: Any, known: str, unknown_at_first: str = "") -> list[sa.Column[Any]]:
    """Columns of one type, by their names; those of the first always have a value."""
    never_empty = known.split()
    names = [*never_empty, *unknown_at_first.split()]
    return [sa.Column(name, kind, nullable=name not in never_empty) for name in names]


# A change of these goes with another `index_file.VERSION`.
_META = sa.MetaData()
_RUNS = sa.Table(
    "runs",
    _META,
    sa.Column("id", sa.Text, primary_key=True),
    *_columns(sa.Text, "name kind state slot config", "stage model_id"),
    *_columns(_Sentence, "message", "error"),
    *_columns(sa.Integer, "iteration iterations seq log_offset damaged", "exit_code"),
    *_columns(sa.Float, "done created", "seconds_left queued started finished map50 macs_ratio"),
    sa.Index("runs_by_age", sa.text("created DESC"), sa.text("id DESC")),
    sa.Index("runs_by_state", "state", "queued"),
    sqlite_with_rowid=False,
)
# What a run reported, the newest of each (kind, place): a repeated epoch replaces the old.
_RECORDS = sa.Table(
    "records",
    _META,
    *(sa.Column(name, sa.Text, primary_key=True) for name in ("run_id", "kind", "place")),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
_UNFINISHED = tuple(state for state in RunState if not state.is_finished)
_SELECT_ROW = _RUNS.select().where(_RUNS.c.id == sa.bindparam("run"))
_SELECT_OFFSET = sa.select(_RUNS.c.log_offset).where(_RUNS.c.id == sa.bindparam("run"))
_PUT_ROW = sa.insert(_RUNS).prefix_with("OR REPLACE")
_PUT_RECORD = sa.insert(_RECORDS).prefix_with("OR REPLACE")


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run as lists show it. Times are seconds since 1970.

    Attributes:
        iteration, iterations: prune/fine-tune iteration now, and how many were asked for.
        done: share of the work done, 0 to 1.
        error: why it failed or was interrupted, one sentence.
        device: as set ("auto", "cpu", "cuda:0"); `slot` is the device it occupies or waits for
            (runs.slots.ANY_GPU: whichever is least busy when it starts).
        queue_position: 1 for the next to start on its device; None unless queued.
        map50, macs_ratio: of the finished run (validation; share of the baseline's MACs).
        damaged: lines of its history that cannot be used and are left out of all that is shown.
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
    config: AnyRun
    queue_position: int | None
    map50: float | None
    macs_ratio: float | None
    model_id: str | None
    damaged: int


@dataclass(frozen=True, slots=True)
class Found:
    """What `reindex` found: runs taken in, folders left out with the reason, and where the old
    index lies if it was broken."""

    runs: int
    skipped: tuple[str, ...]
    moved_to: str | None = None


# What a folder may do to who reads it: its files are missing, unreadable or not ours.
_UNREADABLE = (MsipError, OSError, ValueError, KeyError, TypeError, RecursionError)


class RunStore:
    """The index of one workspace. Safe to use from several threads and processes."""

    def __init__(self, workspace: Workspace, *, opened: bool = True) -> None:
        """Open the index, built anew where it is missing or broken.

        Args:
            opened: False for `reindex`, which must also do its work where the index belongs to a
                newer version.
        """
        self.workspace = workspace
        self._left_out: dict[str, tuple[float, str]] = {}  # folder -> when changed, why
        self._file = Healing(workspace, _META, self._fill)
        if opened:
            self._file.engine()

    # --- taking in ------------------------------------------------------------

    @heals
    def add(self, run_id: str) -> None:
        """Take in a run whose folder is complete.

        Raises:
            ConfigError, NotFoundError: config.json or events.jsonl cannot be used.
        """
        folder = self.workspace.run_dir(run_id)
        row, records = fold(new_row(folder), EventLog(folder))
        with self._writing() as connection:
            _put(connection, [row], records)

    @heals
    def sync(self, run_id: str) -> None:
        """Read on in the run's history; cheap when nothing was added."""
        log = EventLog(self.workspace.run_dir(run_id))
        with self._file.engine().connect() as connection:
            if connection.execute(_SELECT_OFFSET, {"run": run_id}).scalar() == log.size():
                return
        with self._writing() as connection:
            row = connection.execute(_SELECT_ROW, {"run": run_id}).mappings().one_or_none()
            if row is None:
                raise unknown_run(run_id)
            changed, records = fold(dict(row), log)
            _put(connection, [changed], records)

    @heals
    def sync_several(self, run_ids: Collection[str] | None = None) -> None:
        """Sync these runs, else every run that may still change."""
        query = sa.select(_RUNS.c.id, _RUNS.c.log_offset)
        if run_ids is None:
            query = _filtered(query, _UNFINISHED, None)
        else:
            query = query.where(_RUNS.c.id.in_(run_ids))
        with self._file.engine().connect() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            try:
                if EventLog(self.workspace.run_dir(row.id)).size() != row.log_offset:
                    self.sync(row.id)
            except _UNREADABLE as error:  # one bad folder must not hide all the others
                logger.warning("The run %s cannot be read on: %s", row.id, error)

    @heals
    def adopt_folders(self) -> tuple[str, ...]:
        """Take in run folders that the index does not know (copied here, or their maker died
        before it could tell), drop those that are gone; the folders left out, with the reason."""
        folders = {folder.name: folder for folder in folders_in(self.workspace.runs)}
        with self._file.engine().connect() as connection:
            known = set(connection.execute(sa.select(_RUNS.c.id)).scalars())
        for run_id in known - set(folders):
            self.forget(run_id)
        left_out = {name: why for name, why in self._left_out.items() if name in folders}
        for name in sorted(set(folders) - known):
            changed = _changed(folders[name])
            if name in left_out and left_out[name][0] == changed:
                continue
            try:
                _mend_history(folders[name])
                self.add(name)
                left_out.pop(name, None)
            except _UNREADABLE as error:
                logger.warning("%s is left out of the index: %s", folders[name], error)
                left_out[name] = (changed, _reason(error))
        self._left_out = left_out
        return tuple(joined(": ", (name, why)) for name, (_, why) in sorted(left_out.items()))

    @heals
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
        device: str | None = None,
        node: str | None = None,
    ) -> RunState:
        """Compare-and-set in the run's log, then in the index; returns the state before."""
        log = EventLog(self.workspace.run_dir(run_id))
        before = log.transition(target, expected=expected, reason=reason, device=device, node=node)
        self.sync(run_id)
        return before

    def why_left_out(self, run_id: str) -> str | None:
        """Why `adopt_folders` could not take a folder in, or None."""
        return self._left_out[run_id][1] if run_id in self._left_out else None

    def reindex(self) -> Found:
        """Forget the index and build it from the run folders; a broken one is moved aside."""
        moved, (runs, skipped) = self._file.rebuild()
        return Found(runs, skipped, None if moved is None else str(moved))

    def _fill(self, engine: sa.Engine) -> tuple[int, tuple[str, ...]]:
        """Put every run folder into an index, in place of what it held."""
        rows, records, skipped = [], [], []
        for folder in folders_in(self.workspace.runs):
            try:
                check_name(folder.name, "run")
                _mend_history(folder)
                row, kept = fold(new_row(folder), EventLog(folder))
            except _UNREADABLE as error:
                logger.warning("%s is left out of the index: %s", folder, error)
                skipped.append(f"{folder.name}: {_reason(error)}")
                continue
            rows.append(row)
            records += kept
        with engine.execution_options(write=True).begin() as connection:
            connection.execute(sa.delete(_RECORDS))
            connection.execute(sa.delete(_RUNS))
            _put(connection, rows, records)
        return len(rows), tuple(skipped)

    # --- reading --------------------------------------------------------------

    @heals
    def rows(
        self,
        *,
        run_ids: Collection[str] | None = None,
        limit: int = 50,
        offset: int = 0,
        states: Collection[RunState] | None = None,
        kind: str | None = None,
        of_studies: bool | None = None,
    ) -> list[RunRow]:
        """A page of runs, newest first, or all of `run_ids`; only those of studies (True),
        without them (False)."""
        query = _filtered(sa.select(_RUNS), states, kind, of_studies)
        if run_ids is None:
            newest = (_RUNS.c.created.desc(), _RUNS.c.id.desc())
            query = query.order_by(*newest).limit(limit).offset(offset)
        else:
            query = query.where(_RUNS.c.id.in_(run_ids))
        with self._file.engine().connect() as connection:
            found = connection.execute(query).mappings().all()
            places = _queue_places(connection) if found else {}
        rows = []
        for values in found:
            try:
                rows.append(_row(values, places))
            except _UNREADABLE as error:  # a setting that this version does not know
                logger.warning("The run %s cannot be shown: %s", values["id"], error)
        return rows

    @heals
    def row(self, run_id: str) -> RunRow:
        """One run, or NotFoundError."""
        with self._file.engine().connect() as connection:
            found = connection.execute(_SELECT_ROW, {"run": run_id}).mappings().one_or_none()
            places = _queue_places(connection) if found else {}
        if found is None:
            raise unknown_run(run_id)
        return _row(found, places)

    @heals
    def ids(self, states: Collection[RunState]) -> list[str]:
        """Ids of the runs in these states, in the order they entered the queue."""
        query = _filtered(sa.select(_RUNS.c.id), states, None)
        with self._file.engine().connect() as connection:
            return list(connection.execute(query.order_by(_RUNS.c.queued, _RUNS.c.id)).scalars())

    @heals
    def slots(self, states: Collection[RunState]) -> dict[str, str]:
        """Run id -> the device it occupies or waits for, first in the queue first."""
        query = _filtered(sa.select(_RUNS.c.id, _RUNS.c.slot), states, None)
        with self._file.engine().connect() as connection:
            rows = connection.execute(query.order_by(_RUNS.c.queued, _RUNS.c.id)).all()
        return {row.id: row.slot for row in rows}

    @heals
    def count(
        self,
        states: Collection[RunState] | None = None,
        kind: str | None = None,
        of_studies: bool | None = None,
    ) -> int:
        query = _filtered(sa.select(sa.func.count()).select_from(_RUNS), states, kind, of_studies)
        with self._file.engine().connect() as connection:
            return int(connection.execute(query).scalar_one())

    @heals
    def records(self, run_id: str, *kinds: str) -> list[Event]:
        """What the run reported, in the order of its telling, repeats replaced."""
        query = (
            sa.select(_RECORDS.c.payload)
            .where(_RECORDS.c.run_id == run_id, _RECORDS.c.kind.in_(kinds))
            .order_by(_RECORDS.c.seq)
        )
        with self._file.engine().connect() as connection:
            return [restored(json.loads(text)) for text in connection.execute(query).scalars()]

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with self._file.engine().execution_options(write=True).begin() as connection:
            yield connection


def _put(connection: sa.Connection, rows: Sequence[Row], records: Sequence[Row]) -> None:
    if rows:
        connection.execute(_PUT_ROW, rows)
    if records:
        connection.execute(_PUT_RECORD, records)


def unknown_run(run_id: str) -> NotFoundError:
    """What is said of a run that is not there."""
    return NotFoundError(
        "There is no run '{run_id}': see 'runs list' for what is there.", run_id=run_id
    )


def _filtered(
    query: Any,
    states: Collection[RunState] | None,
    kind: str | None,
    of_studies: bool | None = None,
) -> Any:
    if states is not None:
        query = query.where(_RUNS.c.state.in_([s.value for s in states]))
    if of_studies is not None:
        made = _RUNS.c.id.like(f"{STUDY}-%")
        query = query.where(made if of_studies else ~made)
    return query if kind is None else query.where(_RUNS.c.kind == kind)


def _queue_places(connection: sa.Connection) -> dict[str, int]:
    """Run id -> 1, 2, 3 … within the queue of its device."""
    place = sa.func.row_number().over(
        partition_by=_RUNS.c.slot, order_by=(_RUNS.c.queued, _RUNS.c.id)
    )
    query = sa.select(_RUNS.c.id, place).where(_RUNS.c.state == RunState.QUEUED.value)
    return {run_id: int(n) for run_id, n in connection.execute(query)}


def _row(values: Any, places: dict[str, int]) -> RunRow:
    config = config_of(values["config"])
    same = {name: values[name] for name in RunRow.__slots__ if name in values and name != "config"}
    same["state"] = RunState(values["state"])
    return RunRow(
        **same, config=config, device=config.device, queue_position=places.get(values["id"])
    )


def _changed(folder: Path) -> float:
    """Another number once the files that decide about a run, or the rights to them, change."""
    try:
        files = (folder / CONFIG_FILE, EventLog(folder).path)
        return sum(file.stat().st_ctime for file in files if file.is_file())
    except OSError:
        return folder.lstat().st_ctime


def _mend_history(folder: Path) -> None:
    """A run whose history was lost is shown all the same: it can be resumed from its files."""
    log = EventLog(folder)
    if (folder / CONFIG_FILE).is_file() and log.last("state") is None:
        log.restart(
            msg(
                "The story of this run (events.jsonl) is missing or damaged. Resume it: it goes on "
                "from its last finished stage."
            )
        )


def _reason(error: BaseException) -> str:
    """The first line of what went wrong, with the name of errors that say nothing else."""
    if (own := message_of(error)).values:
        return own
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
