"""The file lab.sqlite, which mends itself: opened, checked, moved aside when it is broken.

What goes wrong with it is of three kinds: it is broken (then it is built anew, since the run
folders are the truth), it is held by somebody for long, or the place cannot be written (a full or
read-only disk: then the index is built in a temporary folder, for looking only).
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from enum import Enum
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
from filelock import FileLock, Timeout
from sqlalchemy import event as sa_event

from msip_core.errors import WorkError
from msip_core.workspace import Workspace

logger = logging.getLogger(__name__)

_P = ParamSpec("_P")
_R = TypeVar("_R")
Filled = tuple[int, tuple[str, ...]]
Fill = Callable[[sa.Engine], Filled]

# Of the tables: a higher number has an index that an older program wrote built anew from the run
# folders.
VERSION = 1
_WAIT, _REPAIR_WAIT = 30.0, 60.0  # seconds for another writer; for one who builds it anew
_TRY_AGAIN = 5.0  # seconds until a place that could not be written is tried again


class Trouble(Enum):
    """What an error of SQLite means for us."""

    BROKEN = "broken"
    BUSY = "busy"
    NO_ROOM = "no room"  # full, read-only, or not to be opened


_CODES = {
    # Its plain ERROR is that of a table or column that is not there.
    Trouble.BROKEN: "CORRUPT NOTADB ERROR MISMATCH SCHEMA CONSTRAINT FORMAT",
    Trouble.BUSY: "BUSY LOCKED PROTOCOL",
    Trouble.NO_ROOM: "FULL READONLY CANTOPEN PERM IOERR",
}
_MEANING = {
    getattr(sqlite3, f"SQLITE_{code}"): trouble
    for trouble, codes in _CODES.items()
    for code in codes.split()
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


def _version(connection: sa.Connection) -> int:
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


class Healing:
    """The index file of one workspace, whatever state it is in."""

    def __init__(self, workspace: Workspace, tables: sa.MetaData, fill: Fill) -> None:
        """Opens nothing yet: `rebuild` must work where nothing can be opened."""
        self.path = workspace.index_path
        self._workspace, self._tables, self._fill = workspace, tables, fill
        self._guard = threading.RLock()
        self._engine: sa.Engine | None = None
        self._identity: tuple[int, int] | None = None
        self._temporary: Callable[[], object] | None = None  # removes the folder
        self._tried = 0.0

    def engine(self) -> sa.Engine:
        """Where to read and write now; another file under the name (built anew by another
        process) is noticed."""
        with self._guard:
            if self._temporary is not None:
                if time.monotonic() - self._tried > _TRY_AGAIN and self._workspace.is_writable:
                    self._close()
            elif self._engine is not None and file_identity(self.path) != self._identity:
                self._close()
            if self._engine is None:
                self._open()
            assert self._engine is not None
            return self._engine

    def mend(self, trouble: Trouble) -> None:
        """After an error: make `engine` give one that works, or say why there is none."""
        if trouble is Trouble.BUSY:
            raise _busy(self.path)
        with self._guard:
            if trouble is Trouble.BROKEN:
                self.rebuild()
            else:
                self._open_temporary()

    def rebuild(self) -> tuple[Path | None, Filled]:
        """Build the index from the run folders; where a broken one was moved to, and what was
        found. One process does it, others wait and take what it built."""
        with self._guard:
            if not self._workspace.is_writable:
                return None, self._open_temporary()
            try:
                with FileLock(self._workspace.root / "index.lock", timeout=_REPAIR_WAIT):
                    return self._rebuild()
            except Timeout:
                raise _busy(self.path) from None
            except sa.exc.DBAPIError as error:
                if (trouble := trouble_of(error)) is Trouble.BUSY:
                    raise _busy(self.path) from error
                if trouble is not Trouble.NO_ROOM:
                    raise
                return None, self._open_temporary()

    def _rebuild(self) -> tuple[Path | None, Filled]:
        self._close()
        moved = None
        if not self._is_usable():
            moved = move_aside(self.path)
            logger.warning("The index %s was broken: it is now %s", self.path, moved.name)
        engine, _ = open_index(self.path, self._tables)
        self._use(engine)
        return moved, self._fill(engine)

    def _is_usable(self) -> bool:
        if not self.path.exists():
            return True
        if not self.path.is_file():
            return False
        engine = make_engine(self.path)
        try:
            sound = is_sound(engine, self._tables) if self.path.stat().st_size else True
        finally:
            engine.dispose()
        if not sound:
            return False
        try:
            open_index(self.path, self._tables)[0].dispose()
        except WorkError:  # of a newer version
            return False
        return True

    def _open(self) -> None:
        if not self._workspace.is_writable:
            self._open_temporary()
            return
        try:
            if self.path.exists() and not self.path.is_file():
                self.rebuild()
                return
            engine, is_new = open_index(self.path, self._tables)
            self._use(engine)
            if not has_columns(engine, self._tables):
                self.rebuild()
            elif is_new:
                self._fill(engine)
        except sa.exc.DBAPIError as error:
            if (trouble := trouble_of(error)) is None:
                raise
            self.mend(trouble)

    def _open_temporary(self) -> Filled:
        logger.warning("%s cannot be written: the index is built elsewhere", self.path)
        self._close()
        self._tried = time.monotonic()
        folder = tempfile.mkdtemp(prefix="msip-index-")
        self._temporary = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._engine, _ = open_index(Path(folder) / self.path.name, self._tables)
        return self._fill(self._engine)

    def _use(self, engine: sa.Engine) -> None:
        self._engine, self._identity = engine, file_identity(self.path)

    def _close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None
        if self._temporary is not None:
            self._temporary()
            self._temporary = None


def heals(method: Callable[Concatenate[Any, _P], _R]) -> Callable[Concatenate[Any, _P], _R]:
    """Decorate a method that reads or writes the index: after trouble with the file, mend it and
    try once more."""

    @wraps(method)
    def call(store: Any, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return method(store, *args, **kwargs)
        except sa.exc.DBAPIError as error:
            if (trouble := trouble_of(error)) is None:
                raise
            store._file.mend(trouble)
        return method(store, *args, **kwargs)

    return call


def _busy(path: Path) -> WorkError:
    return WorkError(
        "Another program holds the index {path} for long. Close it (a database viewer, a backup) "
        "and try again; nothing is lost.",
        path=path,
    )
