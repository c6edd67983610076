"""Datasets and models that a computer was sent, kept by content for the next run.

    <folder>/contents/<key>/            the files
                      <key>.json        their bytes; its time of change: when it was used last
                      .<key>.lock       held by the keeper that is being sent it
                      .making-<key>/    not ready yet

All together take at most `most_gb`: what was used longest ago goes first, never what a run uses
now.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from msip_core.documents import read_as
from msip_core.errors import DiskFullError, WorkError
from msip_core.runs.far.parcels import Piece
from msip_core.workspace import write_json

State = Literal["here", "wanted", "coming"]


class Contents:
    """The kept folders of one computer, seen from one keeper."""

    def __init__(self, root: Path, most_gb: float) -> None:
        self.root, self._most = root, most_gb * 1e9
        root.mkdir(parents=True, exist_ok=True)
        self._receiving: dict[str, FileLock] = {}
        self._digests: dict[str, hashlib._Hash] = {}  # of the files of what is just being sent

    def path(self, key: str) -> Path:
        return self.root / key

    def state(self, key: str) -> State:
        """It is here, the caller is to send it, or another keeper is being sent it."""
        if self._is_here(key):
            return "here"
        if key in self._receiving:
            return "wanted"
        lock = FileLock(self.root / f".{key}.lock", thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return "coming"
        if self._is_here(key):  # it came in this very moment
            lock.release()
            return "here"
        self._receiving[key] = lock
        return "wanted"

    def begin(self, key: str, size: int, used: Collection[str]) -> None:
        """Make room for something that will be sent.

        Args:
            used: keys that runs need now.

        Raises:
            DiskFullError: there is not enough room beside those.
        """
        with FileLock(self.root / ".sweep.lock"):
            self._make_room(size, used)
        for left in (self._making(key), self.path(key)):  # of a keeper that ended on the way
            shutil.rmtree(left, ignore_errors=True)
        self._making(key).mkdir()
        self._digests = {}

    def take(self, key: str, pieces: Sequence[Piece]) -> None:
        """The next pieces; those of a file come in their order."""
        write_pieces(self._making(key), pieces)
        for piece in pieces:
            self._digests.setdefault(piece.path, hashlib.sha256()).update(piece.data)

    def finish(self, key: str, files: dict[str, str]) -> None:
        """All pieces are here.

        Args:
            files: path -> SHA-256.

        Raises:
            WorkError: something came over wrong; it has to be sent again.
        """
        making = self._making(key)
        came = {name: digest.hexdigest() for name, digest in self._digests.items()}
        wrong = [name for name, sha in files.items() if came.get(name) != sha]
        if wrong:
            raise WorkError(
                "{wrong} changed while it was sent: it has to be sent again.", wrong=wrong[0]
            )
        size = sum((making / name).stat().st_size for name in files)
        making.rename(self.path(key))
        write_json(self._facts(key), {"bytes": size})
        self._receiving.pop(key).release()

    def use(self, key: str) -> Path:
        """The folder, which counts as used now."""
        os.utime(self._facts(key))
        return self.path(key)

    def close(self) -> None:
        """Give up what was not finished, so that another keeper may be sent it."""
        for key, lock in self._receiving.items():
            shutil.rmtree(self._making(key), ignore_errors=True)
            lock.release()
        self._receiving.clear()

    def _is_here(self, key: str) -> bool:
        return self._facts(key).is_file()

    def _facts(self, key: str) -> Path:
        return self.root / f"{key}.json"

    def _making(self, key: str) -> Path:
        return self.root / f".making-{key}"

    def _make_room(self, size: int, used: Collection[str]) -> None:
        kept = sorted(self.root.glob("*.json"), key=lambda facts: facts.stat().st_mtime)
        # Of one that is gone or damaged nothing is known to be there.
        sizes = {
            facts.stem: (read_as(facts, dict[str, int]) or {}).get("bytes", 0) for facts in kept
        }
        for key in [key for key in sizes if key not in used]:
            if sum(sizes.values()) + size <= self._most:
                return
            self._facts(key).unlink()  # first: without it the folder counts as not there
            shutil.rmtree(self.path(key), ignore_errors=True)
            del sizes[key]
        if sum(sizes.values()) + size > self._most:
            raise DiskFullError(
                "The data of runs may take {most:g} GB on this computer, and {size:.1f} GB more "
                "are needed beside what is in use: raise MSIP_NODE_CACHE_GB there.",
                most=self._most / 1e9,
                size=size / 1e9,
            )


def write_pieces(folder: Path, pieces: Iterable[Piece]) -> None:
    """Put pieces in their places below a folder, with the times that their files have."""
    for piece in pieces:
        path = folder / piece.path
        if not path.resolve().is_relative_to(folder.resolve()):
            raise WorkError("{path} lies outside the folder that it was sent for.", path=piece.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("r+b" if piece.start and path.is_file() else "wb") as file:
            file.seek(piece.start)
            file.write(piece.data)
        os.utime(path, ns=(piece.changed, piece.changed))
