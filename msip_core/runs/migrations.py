"""Numbered steps from an empty file to today's index. Add a step at the end; never change one."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import Connection

from msip_core.errors import WorkError


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
