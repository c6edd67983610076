"""The file lab.sqlite: opened, checked, brought up to date, and moved aside when it is broken.

What goes wrong with it is of three kinds: it is broken (then it is built anew, since the run
folders are the truth), it is held by somebody for long, or the place cannot be written (a full or
read-only disk: then the index is built in a temporary folder, for looking only).
"""

from __future__ import annotations

import os
import sqlite3
import time
from enum import Enum
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy import event as sa_event

from msip_core.errors import WorkError

# Of the tables: a higher number has an index that an older program wrote built anew from the run
# folders.
VERSION = 1
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


def open_index(path: Path, tables: sa.MetaData) -> tuple[sa.Engine, bool]:
    """An engine whose tables are as this version knows them, and whether they are new and empty:
    there was no file, or an older version wrote it.

    Raises:
        sa.exc.DBAPIError: see `trouble_of`.
        WorkError: written by a newer version.
    """
    engine = make_engine(path)
    try:
        with engine.connect() as connection:
            version = _version(connection)
        if version > VERSION:
            raise WorkError(
                "lab.sqlite was written by a newer MSIP Lab ({unknown}). Update "
                "the program, or run 'runs reindex': it rebuilds the index from the run folders.",
                unknown=f"user_version {version}",
            )
        if version < VERSION:  # asked first: a reader need not wait for whoever writes
            with engine.execution_options(write=True).begin() as connection:
                if _version(connection) < VERSION:  # else another process was faster
                    tables.drop_all(connection)
                    tables.create_all(connection)
                    connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")
    except BaseException:
        engine.dispose()
        raise
    return engine, version < VERSION


def _version(connection: Connection) -> int:
    return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())


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
