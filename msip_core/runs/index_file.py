"""The file lab.sqlite: opened, checked, brought up to date, and moved aside when it is broken.

What goes wrong with it is of three kinds: it is broken (then it is built anew, since the run
folders are the truth), it is held by somebody for long, or the place cannot be written (a full or
read-only disk: then the index is built in a temporary folder, for looking only).
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy import event as sa_event

from msip_core.errors import WorkError

_WAIT = 30.0  # seconds for another writer


class Trouble(Enum):
    """What an error of SQLite means for us."""

    BROKEN = "broken"
    BUSY = "busy"
    NO_ROOM = "no room"  # full, read-only, or not to be opened


_MEANING = {
    sqlite3.SQLITE_CORRUPT: Trouble.BROKEN,
    sqlite3.SQLITE_NOTADB: Trouble.BROKEN,
    sqlite3.SQLITE_ERROR: Trouble.BROKEN,  # no such table, no such column
    sqlite3.SQLITE_MISMATCH: Trouble.BROKEN,
    sqlite3.SQLITE_SCHEMA: Trouble.BROKEN,
    sqlite3.SQLITE_CONSTRAINT: Trouble.BROKEN,
    sqlite3.SQLITE_FORMAT: Trouble.BROKEN,
    sqlite3.SQLITE_BUSY: Trouble.BUSY,
    sqlite3.SQLITE_LOCKED: Trouble.BUSY,
    sqlite3.SQLITE_PROTOCOL: Trouble.BUSY,
    sqlite3.SQLITE_FULL: Trouble.NO_ROOM,
    sqlite3.SQLITE_READONLY: Trouble.NO_ROOM,
    sqlite3.SQLITE_CANTOPEN: Trouble.NO_ROOM,
    sqlite3.SQLITE_PERM: Trouble.NO_ROOM,
    sqlite3.SQLITE_IOERR: Trouble.NO_ROOM,
}


def trouble_of(error: sa.exc.DBAPIError) -> Trouble | None:
    """What the error means; None: a fault of our own."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return None if code is None else _MEANING.get(code & 0xFF)


def open_index(path: Path) -> sa.Engine:
    """An engine whose tables are as this version knows them; empty where there was no file.

    Raises:
        sa.exc.DBAPIError: see `trouble_of`.
        WorkError: written by a newer version.
    """
    engine = make_engine(path)
    try:
        with engine.connect() as connection:
            ready = is_up_to_date(connection)
        if not ready:  # asked first: a reader need not wait for whoever writes
            with engine.execution_options(write=True).begin() as connection:
                migrate(connection)
    except BaseException:
        engine.dispose()
        raise
    return engine


def make_engine(path: Path) -> sa.Engine:
    """Connections as we want them; opens nothing yet."""
    engine = sa.create_engine(
        # Not a text: in one, "?", "#" and "%" of a path would mean something.
        sa.URL.create("sqlite", database=str(path)),
        connect_args={"timeout": _WAIT},
    )

    @sa_event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we begin transactions ourselves, below
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    @sa_event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # IMMEDIATE: two writers wait for each other instead of failing half-way.
        write = connection.get_execution_options().get("write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def is_sound(engine: sa.Engine, tables: sa.MetaData) -> bool:
    """Every page can be read and every column is there (reads the whole file)."""
    try:
        with engine.connect() as connection:
            if connection.exec_driver_sql("PRAGMA quick_check(1)").scalar() != "ok":
                return False
        return has_columns(engine, tables)
    except sa.exc.DBAPIError as error:
        if trouble_of(error) is Trouble.BROKEN:
            return False
        raise


def has_columns(engine: sa.Engine, tables: sa.MetaData) -> bool:
    """Every table is there, with every column."""
    found = sa.inspect(engine)
    return all(
        found.has_table(table.name)
        and {c.name for c in table.columns} <= {c["name"] for c in found.get_columns(table.name)}
        for table in tables.tables.values()
    )


def move_aside(path: Path) -> Path:
    """Rename a broken index with its -wal and -shm; nothing of it is thrown away."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    target, n = path.with_name(f"{path.name}.broken-{stamp}"), 1
    while target.exists():
        n += 1
        target = path.with_name(f"{path.name}.broken-{stamp}-{n}")
    for end in ("", "-wal", "-shm"):
        part = path.with_name(path.name + end)
        if part.exists():
            os.replace(part, target.with_name(target.name + end))
    return target


def file_identity(path: Path) -> tuple[int, int] | None:
    """Tells one file from another that took its name."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def m001_runs(connection: Connection) -> None:
    """One row per run: what lists and the queue show."""
    connection.exec_driver_sql(
        """
        CREATE TABLE runs (
            id TEXT PRIMARY KEY, name TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL,
            stage TEXT, iteration INTEGER NOT NULL, iterations INTEGER NOT NULL,
            done REAL NOT NULL, seconds_left REAL, message TEXT NOT NULL, error TEXT,
            exit_code INTEGER, created REAL NOT NULL, queued REAL, started REAL, finished REAL,
            slot TEXT NOT NULL, config TEXT NOT NULL, map50 REAL, macs_ratio REAL, model_id TEXT,
            seq INTEGER NOT NULL, log_offset INTEGER NOT NULL
        ) WITHOUT ROWID
        """
    )
    connection.exec_driver_sql("CREATE INDEX runs_by_age ON runs (created DESC, id DESC)")
    connection.exec_driver_sql("CREATE INDEX runs_by_state ON runs (state, queued)")


def m002_records(connection: Connection) -> None:
    """What a run reported, the newest of each (kind, key): a repeated epoch replaces the old."""
    connection.exec_driver_sql(
        """
        CREATE TABLE records (
            run_id TEXT NOT NULL,
            kind TEXT NOT NULL, place TEXT NOT NULL, seq INTEGER NOT NULL, time REAL NOT NULL,
            payload TEXT NOT NULL,
            PRIMARY KEY (run_id, kind, place)
        ) WITHOUT ROWID
        """
    )


def m003_damaged(connection: Connection) -> None:
    """How many lines of a history are damaged: counted when a run is looked at, and read again."""
    connection.exec_driver_sql("ALTER TABLE runs ADD COLUMN damaged INTEGER NOT NULL DEFAULT 0")
    connection.exec_driver_sql("UPDATE runs SET log_offset = 0")


# From an empty file to today's index. Add a step at the end; never change one.
MIGRATIONS: tuple[Callable[[Connection], None], ...] = (m001_runs, m002_records, m003_damaged)


def is_up_to_date(connection: Connection) -> bool:
    """Exactly the steps of this version were applied."""
    tables = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migrations'"
    if connection.exec_driver_sql(tables).scalar() is None:
        return False
    applied = {row[0] for row in connection.exec_driver_sql("SELECT name FROM migrations")}
    return applied == {step.__name__ for step in MIGRATIONS}


def migrate(connection: Connection) -> None:
    """Apply the steps that are missing; the caller holds the write lock.

    Raises:
        WorkError: the index was written by a newer version of the program.
    """
    connection.exec_driver_sql(
        "CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied REAL NOT NULL)"
    )
    applied = {row[0] for row in connection.exec_driver_sql("SELECT name FROM migrations")}
    known = [step.__name__ for step in MIGRATIONS]
    if unknown := applied.difference(known):
        raise WorkError(
            "lab.sqlite was written by a newer MSIP Lab ({unknown}). Update "
            "the program, or run 'runs reindex': it rebuilds the index from the run folders.",
            unknown=", ".join(sorted(unknown)),
        )
    for step in MIGRATIONS:
        if step.__name__ not in applied:
            step(connection)
            connection.exec_driver_sql(
                "INSERT INTO migrations VALUES (?, ?)", (step.__name__, time.time())
            )
