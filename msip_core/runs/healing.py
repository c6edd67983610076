"""An index that mends itself: broken, it is moved aside and built anew from the run folders;
where nothing can be written, it is built in a temporary folder, for looking."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import sqlalchemy as sa
from filelock import FileLock, Timeout

from msip_core.errors import WorkError
from msip_core.runs.index_file import (
    Trouble,
    file_identity,
    has_columns,
    is_sound,
    make_engine,
    move_aside,
    open_index,
    trouble_of,
)
from msip_core.workspace import Workspace

logger = logging.getLogger(__name__)

_P = ParamSpec("_P")
_R = TypeVar("_R")
_REPAIR_WAIT = 60.0
_TRY_AGAIN = 5.0  # seconds until a place that could not be written is tried again

Filled = tuple[int, tuple[str, ...]]
Fill = Callable[[sa.Engine], Filled]


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


class _HasFile(Protocol):
    _file: Healing


def heals(method: Callable[Concatenate[Any, _P], _R]) -> Callable[Concatenate[Any, _P], _R]:
    """Decorate a method that reads or writes the index: after trouble with the file, mend it and
    try once more."""

    @wraps(method)
    def call(store: _HasFile, *args: _P.args, **kwargs: _P.kwargs) -> _R:
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
