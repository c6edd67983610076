"""One store for what was computed and can be made again: answers, statistics, scores, fits.

    <cache>/<key>/                      one value: whole, or not there
                 /result.json           marks a whole value; its age decides what goes first
           /.<key>.<process>-<random>/  what a process is writing, or clears away

A value is written beside its place and renamed; that renaming is the only lock. Whoever is killed
leaves a draft that the next trim clears away; of two that make the same, the first one's stays.
A disk that is full costs only the keeping.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import psutil

import msip_core
from msip_core.errors import MsipError
from msip_core.workspace import write_json

log = logging.getLogger(__name__)

MARK = "result.json"
# Kind -> how often the meaning of its values has changed, from the second on: kept ones from
# before a change are not given again.
_MEANING = {"shap": 2, "gradcam": 2, "estimate": 3, "preview": 3, "scores": 3, "statistics": 3}
_LIMIT = 4_000_000_000  # bytes of all values
_DAY = 86400.0  # seconds; a draft is given up after it, whoever has its process's number now
_LONGEST = 180 * _DAY  # nobody looked
_CLOCK = time.time() - time.monotonic()  # stays the same until somebody sets the clock
_PAUSE = 600.0  # seconds between two trims of one process
_KEY = re.compile(r"[A-Za-z0-9_-]{1,200}")
_DRAFT = re.compile(r"\..+\.(?P<pid>\d{1,9})(-[0-9a-f]+)?")
_trimmed: dict[Path, float] = {}

T = TypeVar("T")


def key_of(kind: str, *ingredients: Any) -> str:
    """The name of a value: sha256 over program version, meaning of the kind, and ingredients (JSON
    values: all that decides the value), 40 digits."""
    number = _MEANING.get(kind, 1)
    meant = kind if number == 1 else f"{kind} {number}"
    text = json.dumps(
        [msip_core.__version__, meant, *ingredients],
        sort_keys=True,
        ensure_ascii=False,
        default=str,
    )
    return hashlib.sha256(text.encode()).hexdigest()[:40]


class Form(NamedTuple, Generic[T]):
    """How a value lies in its folder.

    Attributes:
        write: puts it into the empty folder.
        read: gives it back; raises OSError, ValueError, TypeError or an MsipError if it is damaged.
    """

    write: Callable[[Path, T], None]
    read: Callable[[Path], T]


class ContentStore(Generic[T]):
    """Values of one form. Safe for many threads and processes.

    Args:
        cache: folder that holds what can be made again.
    """

    def __init__(self, cache: Path, form: Form[T]) -> None:
        self.cache, self._form = cache, form

    def get_or_make(self, key: str, make: Callable[[], T]) -> T:
        """The value under this key, made and kept if it is not there."""
        found = self.get(key)
        if found is None:
            found = make()
            self.keep(key, found)
        return found

    def get(self, key: str) -> T | None:
        """The value if it is kept; a damaged one is cleared away, so that it is made anew."""
        if not is_kept(self.cache, key):
            return None
        try:
            value = self._form.read(self.cache / key)
        except (OSError, ValueError, TypeError, MsipError) as error:
            log.warning("%s in %s cannot be used, so it is made anew: %s", key, self.cache, error)
            _remove(self.cache / key)
            return None
        with suppress(OSError):  # a workspace that can only be read
            os.utime(self.cache / key / MARK)  # what is looked at is the last to be cleared away
        return value

    def keep(self, key: str, value: T) -> None:
        """Keep a value; where that cannot be, the log says why."""
        try:
            with draft(self.cache, key) as folder:
                self._form.write(folder, value)
        except OSError as error:
            log.warning("%s could not be kept in %s: %s", key, self.cache, error)


def is_kept(cache: Path, key: str) -> bool:
    """Whether a whole value lies under this key, which may come from an address: `..` or a path
    from the root on would make any folder a value, and a damaged value is removed."""
    return _KEY.fullmatch(key) is not None and (cache / key / MARK).is_file()


@contextmanager
def draft(cache: Path, key: str) -> Iterator[Path]:
    """A folder to write into: it gets its name only if all went well."""
    folder = _beside(cache / key)
    folder.mkdir(parents=True)
    try:
        yield folder
        if not (folder / MARK).is_file():
            write_json(folder / MARK, {})
        if not is_kept(cache, key):
            _remove(cache / key)  # what an older program left half
            _settle(folder, cache / key)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if time.monotonic() - _trimmed.get(cache, -_PAUSE) >= _PAUSE:
        trim(cache)


def trim(cache: Path, limit: int = _LIMIT) -> None:
    """Remove drafts that nobody finishes, what nobody looked at for long, and what was
    looked at longest ago beyond `limit` bytes.

    Called at the start of a server, when its compute process has died, and now and then by whoever
    keeps something. Other files and folders stay.
    """
    _trimmed[cache] = time.monotonic()
    kept = []
    for folder in cache.iterdir():
        with suppress(OSError):  # another process clears it away as well
            if (is_draft := _DRAFT.fullmatch(folder.name)) and folder.is_dir():
                alive = psutil.pid_exists(int(is_draft["pid"]))
                if not alive or _age(folder.stat().st_mtime) > _DAY:
                    shutil.rmtree(folder, ignore_errors=True)
            elif is_kept(cache, folder.name):
                size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
                kept.append(((folder / MARK).stat().st_mtime, size, folder))
    total = 0
    for seen, size, folder in sorted(kept, reverse=True):
        total += size
        if total > limit or _age(seen) > _LONGEST:
            _remove(folder)


def _age(seen: float) -> float:
    """Seconds since then; 0 where the clock was set since this process began: nobody can tell."""
    was_set = abs(time.time() - time.monotonic() - _CLOCK) > _DAY / 2
    return 0.0 if was_set else time.time() - seen


def _settle(folder: Path, place: Path) -> None:
    try:
        folder.rename(place)
    except OSError:
        if not (place / MARK).is_file():  # else another process was faster
            raise


def _remove(folder: Path) -> None:
    """Out of its place in one step, so that nobody finds half of it."""
    aside = _beside(folder)
    with suppress(OSError):  # it is not there, or is not ours
        folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def _beside(folder: Path) -> Path:
    """A hidden name that tells which process uses it."""
    return folder.with_name(f".{folder.name}.{os.getpid()}-{secrets.token_hex(4)}")
