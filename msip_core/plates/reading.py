"""Pictures read ahead of the detector, on all processors, in confined processes.

    reader 1 ─► 000000.0.raw 000000.json ─┐
    reader 2 ─► 000008.0.raw 000008.json ─┼─► Ahead.take(0), take(1), … ─► the detector
      …                                   ┘   Ahead.done(0) removes what was seen

A reader waits while more of its pictures lie there than `_MOST_BYTES` or `_MOST_AHEAD`, so memory
and disk stay bounded however many images there are. Pixels lie as (height, width, 3) uint8 RGB,
row by row, so that a field of any size is written and read in parts.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msip_core import confined
from msip_core.data.regions import LARGE, Field
from msip_core.errors import Stopped
from msip_core.plates.pictures import Read, Source, opened
from msip_core.plates.plan import Item
from msip_core.processors import usable_cores

Pixels = NDArray[np.uint8]
Numbered = tuple[int, Item]
TakenPicture = tuple[Read, list[Field]]
_BLOCK = 8  # neighbours that one reader takes: planes of one file are read while it is open
_MOST_AHEAD, _MOST_BYTES = 32, 192 * 1024**2  # of one reader; one picture is always let through
_LOOK, _HEARTBEAT = 0.02, 0.5  # seconds


# --- the detector's side ---------------------------------------------------------


class Ahead:
    """Pictures in the order of the plan; see `reading_ahead`."""

    def __init__(self, folder: Path, source: Source, tick: Callable[[], None], most: int) -> None:
        self._folder, self._source, self._tick, self._most = folder, source, tick, most
        self._ready: set[int] = set()
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._work: list[Future[str]] = []

    def start(self, pool: ThreadPoolExecutor, shares: Sequence[Sequence[Numbered]]) -> None:
        for share in shares:
            work = partial(_read_share, self._source, self._folder, share, self._most)
            self._work.append(pool.submit(confined.run, work, self._said))

    def take_together(
        self, items: Sequence[Numbered]
    ) -> Iterator[list[tuple[Numbered, TakenPicture]]]:
        """Pictures for one look; in several looks where they are large, since readers wait until
        those are `done` that they have room for."""
        taken: list[tuple[Numbered, TakenPicture]] = []
        held = 0
        for one in items:
            read, fields = self.take(one[0])
            taken.append((one, (read, fields)))
            held += read.width * read.height * 3 * len(fields)
            if held >= _MOST_BYTES:
                yield taken
                taken, held = [], 0
        if taken:
            yield taken

    def take(self, number: int) -> TakenPicture:
        """Wait for one picture; a field for each recipe, none where it could not be read."""
        with self._news:
            while number not in self._ready:
                self._news.wait(_HEARTBEAT)
                self._tick()
                for work in self._work:
                    if work.done() and work.exception() is not None:
                        work.result()
        read = Read.model_validate_json(_document(self._folder, number).read_bytes())
        if read.problem is not None:
            return read, []
        paths = [_pixels(self._folder, number, n) for n in range(len(self._source.recipes))]
        return read, [_field(path, read) for path in paths]

    def done(self, number: int) -> None:
        """Its pixels are not needed any more."""
        for n in range(len(self._source.recipes)):
            _pixels(self._folder, number, n).unlink(missing_ok=True)

    def stop(self) -> None:
        self._stop.set()

    def _said(self, number: float, _: str) -> None:
        if self._stop.is_set():
            raise Stopped("cancel")
        if number >= 0:
            with self._news:
                self._ready.add(round(number))
                self._news.notify_all()


@contextmanager
def reading_ahead(
    source: Source,
    items: Sequence[Numbered],
    folder: Path,
    tick: Callable[[], None],
    *,
    at_once: int = 1,
) -> Iterator[Ahead]:
    """Read these pictures while the block runs; they are taken in their order.

    Args:
        folder: that pictures lie in meanwhile; emptied before and removed behind.
        tick: called while one is waited for; may raise to stop.
        at_once: most that are taken before the first of them is done.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    readers = max(1, min(usable_cores(), -(-len(items) // _BLOCK)))
    shares = [
        [one for at, one in enumerate(items) if at // _BLOCK % readers == reader]
        for reader in range(readers)
    ]
    ahead = Ahead(folder, source, tick, max(_MOST_AHEAD, at_once))
    with ThreadPoolExecutor(readers, "reader") as pool:
        try:
            ahead.start(pool, shares)
            yield ahead
        finally:
            ahead.stop()
    shutil.rmtree(folder, ignore_errors=True)


def _field(path: Path, read: Read) -> Field:
    row = read.width * 3

    def rows(top: int, bottom: int) -> Pixels:
        found = np.fromfile(path, np.uint8, (bottom - top) * row, offset=top * row)
        return found.reshape(bottom - top, read.width, 3)

    return Field(
        read.width, read.height, rows, read.width * read.height > LARGE,
        read.um_per_px, read.chosen, read.doubt,
    )  # fmt: skip


def _document(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.json"


def _pixels(folder: Path, number: int, recipe: int) -> Path:
    return folder / f"{number:06d}.{recipe}.raw"


# --- the readers' side -----------------------------------------------------------


def _read_share(
    source: Source,
    folder: Path,
    share: Sequence[Numbered],
    most: int,
    tell: Callable[[float, str], None],
) -> str:
    """Read one after the other; a zip is opened anew, since its place in the file is shared."""
    room = _Room(tell, most)
    with opened(source, folder) as pictures:
        for (number, item), _ in zip(share, confined.one_by_one([i.first for _, i in share])):
            # A stand-in may come by what its worker has read already.
            if not _document(folder, number).is_file():
                confined.on_the_whole()
                room.wait()
                paths = [_pixels(folder, number, n) for n in range(len(source.recipes))]
                found = pictures.write(item, paths)
                _document(folder, number).write_text(found.model_dump_json(), "utf-8")
                room.holds(paths)
            tell(number, "")
    return ""


class _Room:
    """What a reader may put there before somebody takes it."""

    def __init__(self, tell: Callable[[float, str], None], most: int) -> None:
        self._tell, self._most = tell, most
        self._held: dict[Path, int] = {}

    def holds(self, paths: Sequence[Path]) -> None:
        for path in paths:
            with suppress(FileNotFoundError):  # seen and removed already, or never made
                self._held[path] = path.stat().st_size

    def wait(self) -> None:
        """Until there is room. Says so meanwhile: whoever does not listen any more ends us."""
        said = time.monotonic()
        while self._is_full():
            time.sleep(_LOOK)
            if time.monotonic() - said > _HEARTBEAT:
                said = time.monotonic()
                self._tell(-1, "")

    def _is_full(self) -> bool:
        if len(self._held) < self._most and sum(self._held.values()) < _MOST_BYTES:
            return False
        self._held = {path: size for path, size in self._held.items() if path.exists()}
        return len(self._held) >= self._most or sum(self._held.values()) >= _MOST_BYTES
