"""Pictures of stacks, read on all processors into a folder, before the dataset is built from them.

Each picture that is done stands there with a small document beside it, so an import that was ended
(the computer went down) goes on where it was. A worker holds two planes at a time and is confined
like everything that opens strangers' files.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tifffile
from filelock import FileLock, Timeout

from msip_core import confined
from msip_core.data.archive import FileTree, TreeOnDisk, open_tree
from msip_core.data.manifest import Problem, Told
from msip_core.data.pictures import Picture, Plan, Wish, plan_pictures
from msip_core.data.readers.registry import kind_of, load
from msip_core.data.taking import Planes, TreeFiles, take
from msip_core.errors import DatasetError, MsipError, Stopped, WorkError
from msip_core.events import Record
from msip_core.messages import Telling, Words, joined, msg
from msip_core.processors import usable_cores
from msip_core.questions.base import Progress
from msip_core.workspace import Workspace, write_text

Labelled = Callable[[FileTree], tuple[set[str], list[str]]]
_PREFIX = ".staged-"
_KEPT_SECONDS = 7 * 24 * 3600.0  # what an import that ended left, for the next to go on with
_POLL = 0.2


class Staged(Record, Telling):
    """One picture that is done.

    Attributes:
        name: by which the dataset knows it.
        file: in the folder of what was staged; "" where an image file of the source is taken as it
            is (`source`), or where nothing could be read.
        problem: why there is no picture.
    """

    name: str
    file: str = ""
    source: str = ""
    told: Told = Told()
    problem: Words | None = None


class StagedTree(FileTree):
    """A tree in which stacks are the pictures that were taken from them.

    See `archive.FileTree`; `told` says how each was chosen, `channels` which there are.
    """

    def __init__(self, tree: FileTree, plan: Plan, folder: Path | None) -> None:
        self._tree, self._folder = tree, folder
        staged = list(_results(plan, folder)) if folder else [_unread(p) for p in plan.pictures]
        self._staged = {item.name: item for item in staged if item.problem is None}
        self._sizes = {p.name: p.size for p in plan.pictures}
        hidden = set(plan.used) - {item.source for item in self._staged.values()}
        self.label = tree.label
        self.names = sorted({n for n in tree.names if n not in hidden} | set(self._staged))
        bad = [Problem(file=s.name, what=s.problem) for s in staged if s.problem is not None]
        self.refused = [*tree.refused, *plan.problems, *bad]
        self.notes = tree.notes
        self.told = {s.name: s.told for s in self._staged.values()}
        self.channels = plan.channels

    def size(self, name: str) -> int:
        item = self._staged.get(name)
        if item is None or item.source:
            return self._tree.size(name)
        return (
            self._sizes[name] if self._folder is None else (self._folder / item.file).stat().st_size
        )

    def head(self, name: str, most: int) -> bytes:
        item = self._staged.get(name)
        return self._tree.head(name, most) if item is None or item.source else b""

    def on_disk(self, name: str) -> Path | None:
        item = self._staged.get(name)
        if item is None or item.source:
            return self._tree.on_disk(name)
        confined.at_hand(name)
        return None if self._folder is None else self._folder / item.file

    def read(self, name: str) -> bytes:
        item = self._staged.get(name)
        if item is None or item.source:
            return self._tree.read(name)
        confined.at_hand(name)
        if self._folder is None:
            raise DatasetError("{name} is read when it is imported.", name=name)
        return (self._folder / item.file).read_bytes()


@dataclass(frozen=True)
class Asked:
    """Where the files come from, and what is wanted of those with several planes.

    Attributes:
        labelled: micrographs with labels, and all micrographs, of a tree.
    """

    source: Path
    wish: Wish
    labelled: Labelled


@contextmanager
def staged(
    workspace: Workspace, tree: FileTree, asked: Asked, tell: Progress
) -> Iterator[FileTree]:
    """The tree with pictures in the place of stacks; the tree itself where there are none.

    What was staged is gone afterwards, unless the process ends in a way that an import can go on
    from.
    """
    _sweep(workspace)
    tell(0.0, msg("Looking for stacks and microscope files"))
    with _folder(workspace, tree, asked) as folder:
        plan = _plan(tree, folder, asked)
        if not (plan.pictures or plan.used or plan.problems):
            yield tree
            return
        _render_all(asked, plan, folder, tell)
        yield StagedTree(tree, plan, folder)


def planned(tree: FileTree, asked: Asked, folder: Path) -> StagedTree:
    """The tree as `staged` would give it, without reading a plane; for a look at a source.

    Args:
        folder: for files of a zip that are unpacked to be read.
    """
    plan = plan_pictures(
        tree, asked.wish, TreeFiles(asked.source, tree, folder).path, asked.labelled
    )
    return StagedTree(tree, plan, None)


def load_readers(tree: FileTree) -> None:
    """Import the libraries that the tree's files are read by, before anything is forked."""
    for kind in {kind for name in tree.names if (kind := kind_of(name))}:
        load(kind)


def _unread(picture: Picture) -> Staged:
    name = picture.name
    return Staged(
        name=name, source=name if picture.files else "", told=Told(said=joined("; ", picture.said))
    )


# --- the folder ------------------------------------------------------------------


@contextmanager
def _folder(workspace: Workspace, tree: FileTree, asked: Asked) -> Iterator[Path]:
    folder = workspace.datasets / (_PREFIX + _key(asked.source, tree, asked.wish))
    lock = _lock_of(folder)
    try:
        lock.acquire(blocking=False)
    except Timeout:  # the same source is being imported by another process
        folder = folder.with_name(f"{folder.name}-{os.getpid()}-{threading.get_ident()}")
        lock = _lock_of(folder)
        lock.acquire()
    folder.mkdir(parents=True, exist_ok=True)
    keep = False
    try:
        yield folder
    except (MsipError, OSError, KeyboardInterrupt) as error:
        keep = isinstance(error, WorkError) and not isinstance(error, Stopped)
        raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def _key(source: Path, tree: FileTree, wish: Wish) -> str:
    """The same for the same files and the same wish."""
    digest = hashlib.sha256(repr((str(source.resolve()), wish.model_dump_json())).encode())
    if isinstance(tree, TreeOnDisk):
        for name in tree.names:
            try:
                stat = tree.path(name).stat()
            except OSError:
                continue  # gone meanwhile; whoever reads it says so
            digest.update(repr((name, stat.st_size, stat.st_mtime_ns)).encode())
    else:
        stat = source.stat()
        digest.update(repr((stat.st_size, stat.st_mtime_ns)).encode())
    return digest.hexdigest()[:20]


def _sweep(workspace: Workspace) -> None:
    """Remove what nobody went on with; what is at work holds its lock, however old it looks."""
    for folder in workspace.datasets.glob(f"{_PREFIX}*"):
        try:
            if folder.is_dir() and time.time() - folder.stat().st_mtime > _KEPT_SECONDS:
                lock = _lock_of(folder)
                with lock.acquire(blocking=False):
                    shutil.rmtree(folder, ignore_errors=True)
                    Path(lock.lock_file).unlink(missing_ok=True)
        except (OSError, Timeout):
            continue  # another import has just removed it, or is at it


def _lock_of(folder: Path) -> FileLock:
    return FileLock(folder.with_name(folder.name + ".lock"))


def _plan(tree: FileTree, folder: Path, asked: Asked) -> Plan:
    kept = folder / "plan.json"
    if kept.is_file():
        return Plan.model_validate_json(kept.read_text(encoding="utf-8"))
    files = TreeFiles(asked.source, tree, folder)
    text = confined.run(
        lambda _: plan_pictures(tree, asked.wish, files.path, asked.labelled).model_dump_json()
    )
    write_text(kept, text)
    return Plan.model_validate_json(text)


# --- reading ---------------------------------------------------------------------


def _render_all(asked: Asked, plan: Plan, folder: Path, tell: Progress) -> None:
    """Read all pictures that are not there yet, each processor its share of them."""
    total = len(plan.pictures)
    todo = [i for i in range(total) if not _document(folder, i).is_file()]
    if not todo:
        return
    workers = max(1, min(len(todo), usable_cores()))
    share = -(-len(todo) // workers)
    done = [0] * workers
    stop = threading.Event()

    def said(worker: int, number: float, _: str) -> None:
        done[worker] = round(number)
        if stop.is_set():
            raise Stopped("cancel")

    with ThreadPoolExecutor(workers) as pool:
        left = {
            pool.submit(
                confined.run,
                partial(_render_share, asked, plan, folder, todo[w * share : (w + 1) * share]),
                partial(said, w),
            )
            for w in range(workers)
        }
        try:
            while left:
                finished, left = wait(left, _POLL, FIRST_COMPLETED)
                for future in finished:
                    future.result()
                number = min(total, total - len(todo) + sum(done))
                tell(
                    number / total,
                    msg("Choosing planes: {number}/{total}", number=number, total=total),
                )
        except BaseException:
            stop.set()
            raise


def _render_share(
    asked: Asked, plan: Plan, folder: Path, numbers: list[int], tell: Progress
) -> str:
    """Read some of the pictures; a zip is opened anew, since its place in the file is shared."""
    with open_tree(asked.source) as tree:
        planes = Planes(tree, TreeFiles(asked.source, tree, folder), asked.wish)
        firsts = [plan.pictures[n].planes[0].file for n in numbers]
        for done, (number, _) in enumerate(zip(numbers, confined.one_by_one(firsts)), 1):
            if not _document(folder, number).is_file():  # else by a worker that a file ended
                result = _render(plan.pictures[number], planes, folder / f"{number:06d}.tif")
                write_text(_document(folder, number), result.model_dump_json())
            tell(done, "")
        planes.close()
    return ""


def _render(picture: Picture, planes: Planes, file: Path) -> Staged:
    """Take one picture; what is wrong with it is told and stops no other."""
    try:
        return _take(picture, planes, file)
    except DatasetError as error:
        what = error.message
        for name in (picture.name, picture.planes[0].file):
            what = what.without(name)
        return Staged(name=picture.name, problem=what)


def _take(picture: Picture, planes: Planes, file: Path) -> Staged:
    taken = take(picture, planes)
    if taken.pixels is None:  # an image file that stands for its field, byte for byte
        return Staged(name=taken.source, source=taken.source, told=taken.told)
    colours = "rgb" if taken.pixels.ndim == 3 else "minisblack"
    tifffile.imwrite(file, taken.pixels, photometric=colours, compression="zstd")
    return Staged(name=picture.name, file=file.name, told=taken.told)


def _document(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.json"


def _results(plan: Plan, folder: Path) -> Iterator[Staged]:
    for number in range(len(plan.pictures)):
        text = _document(folder, number).read_text(encoding="utf-8")
        yield Staged.model_validate_json(text)
