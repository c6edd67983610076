"""A folder or a zip as one read-only tree of files, read one at a time.

A zip is never unpacked to disk: entries are read into memory one by one, so a name with `..`
or a link in it has nowhere to go. What cannot be trusted is left out and named.
"""

from __future__ import annotations

import lzma
import os
import stat
import struct
import unicodedata
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from msip_core import confined
from msip_core.bounded import at_home, real_place
from msip_core.data.encodings import decode_zip_names
from msip_core.data.manifest import Problem, Told
from msip_core.errors import DatasetError, NotFoundError
from msip_core.messages import msg

MAX_FILES = 1_000_000
# A file is held in memory as a whole while it is read, beside what is made of it.
MAX_FILE_BYTES = 640 * 1024**2
# Deeper and longer names than any system makes by itself; beyond, no other program could open them.
MAX_DEPTH = 64
MAX_NAME_BYTES = 255
MAX_TOTAL_BYTES = 1024**4
# Micrographs hardly shrink in a zip; text shrinks ten- to twentyfold. A zip that grows more
# than this, by more than a gibibyte, is a bomb.
MAX_RATIO = 100
FREE_BYTES = 1024**3
# Read in pieces, because a compression may give far more than the zip declares.
_PIECE = 64 * 1024

# An OME-Zarr is a folder with the files of one image or plate.
ZARR = ".zarr"
# Files that are a source by themselves.
ALONE = (".czi", ".lif", ".nd2", ".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp")

_NOISE = (
    "__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information",
    "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot",
)  # fmt: skip
_CLOUD = ".icloud"  # a Mac leaves .a.png.icloud where a.png was
_NOISE_FILES = ("thumbs.db", "ehthumbs.db", "desktop.ini")


@dataclass
class FileTree(ABC):
    """Files by POSIX path relative to the top, in sorted order.

    Attributes:
        label: name of the folder or zip, for the report.
        names: every file that may be read.
        refused: what was left out, and why.
        notes: what had to be decided, one sentence each.
        told: of pictures that were taken from a stack, how; by name.
    """

    label: str
    names: list[str] = field(default_factory=list, kw_only=True)
    refused: list[Problem] = field(default_factory=list, kw_only=True)
    notes: list[str] = field(default_factory=list, kw_only=True)
    told: dict[str, Told] = field(default_factory=dict, kw_only=True)

    @abstractmethod
    def size(self, name: str) -> int:
        """Bytes of one file."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content of one file. Raises DatasetError if it cannot be read."""

    @abstractmethod
    def head(self, name: str, most: int) -> bytes:
        """The first bytes of a file; none where it cannot be read."""

    @abstractmethod
    def on_disk(self, name: str) -> Path | None:
        """Where it lies, to be read in parts; None in a zip."""


@contextmanager
def open_tree(path: Path) -> Iterator[FileTree]:
    """Open a folder or a zip for reading.

    Raises:
        NotFoundError: no such path.
        DatasetError: neither a folder nor a zip, or a zip that is damaged or a bomb.
    """
    path = at_home(path)
    if path.is_dir() and path.name.lower().endswith(ZARR):
        yield TreeOnDisk(path.name, path.parent, names=[path.name])
        return
    if path.is_dir():
        yield _folder_tree(path)
        return
    if not path.is_file():
        raise NotFoundError(
            "There is no folder or zip at {path}: check the path.", path=printable(str(path))
        )
    if path.name.lower().endswith(ALONE):
        yield TreeOnDisk(path.name, path.parent, names=[path.name])
        return
    try:
        archive = zipfile.ZipFile(path)
    # A damaged directory of a zip raises all of these.
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError, LookupError,
            OverflowError, struct.error) as error:  # fmt: skip
        raise DatasetError(
            "{name} is neither a folder nor a complete zip ({error}): pack the images and "
            "labels into a .zip and try again.",
            name=path.name,
            error=error,
        ) from error
    with archive:
        yield _zip_tree(archive, path)


def joined_tree(paths: Sequence[Path]) -> TreeOnDisk:
    """Several folders and files as one tree, below the folder that holds them all.

    Raises:
        NotFoundError, DatasetError: as `open_tree`; or one of them is a zip.
    """
    trees: list[TreeOnDisk] = []
    for path in map(real_place, paths):
        with open_tree(path) as tree:
            if not isinstance(tree, TreeOnDisk):
                raise DatasetError("{name} is a zip: give it alone.", name=path.name)
            trees.append(tree)
    root = Path(os.path.commonpath([tree.root for tree in trees]))
    joined = TreeOnDisk(root.name, root)
    for tree in trees:
        below = tree.root.relative_to(root)
        joined.names += [(below / name).as_posix() for name in tree.names]
        joined.refused += [
            p.model_copy(update={"file": (below / p.file).as_posix()}) for p in tree.refused
        ]
    joined.names = sorted(set(joined.names))
    return joined


# --- folder -------------------------------------------------------------------


@dataclass
class TreeOnDisk(FileTree):
    """A folder, or one file of it."""

    root: Path

    def path(self, name: str) -> Path:
        """Where a file lies, for a reader that wants to open it by itself.

        Raises:
            DatasetError: a folder that is read as one file holds a link.
        """
        path = self.root / name
        if path.is_dir() and any(entry.is_symlink() for entry in path.rglob("*")):
            raise DatasetError("{name} holds a link; links are not followed", name=name)
        return path

    def on_disk(self, name: str) -> Path:
        confined.at_hand(name)
        return self.path(name)

    def size(self, name: str) -> int:
        try:
            return (self.root / name).stat().st_size
        except OSError:
            return 0  # gone meanwhile; `read` says so

    def head(self, name: str, most: int) -> bytes:
        """The first bytes of a file; none where it cannot be read."""
        confined.at_hand(name)
        try:
            with (self.root / name).open("rb") as file:
                return file.read(most)
        except OSError:
            return b""  # `read` says so

    def read(self, name: str) -> bytes:
        confined.at_hand(name)
        path = self.root / name
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise DatasetError("{name} {why}", name=name, why=_TOO_LARGE)
            return path.read_bytes()
        except OSError as error:
            raise DatasetError(
                "{name} cannot be read ({why})", name=name, why=error.strerror or error
            ) from error


def _folder_tree(root: Path) -> TreeOnDisk:
    tree = TreeOnDisk(root.resolve().name, root)
    folders = [""]
    while folders:
        for name, is_folder, reason in _entries(root, folders.pop()):
            if reason:
                tree.refused.append(Problem(file=printable(name), what=reason))
            elif is_folder and not name.lower().endswith(ZARR):
                folders.append(name)
            elif len(tree.names) >= MAX_FILES:
                raise DatasetError(
                    "{label} holds more than {most:,} files.", label=tree.label, most=MAX_FILES
                )
            else:
                tree.names.append(name)
    tree.names.sort()
    tree.refused.sort(key=lambda problem: problem.file)
    return tree


def _entries(root: Path, folder: str) -> Iterator[tuple[str, bool, str | None]]:
    """(path, whether a folder, why it is not read) of what lies in a folder, noise left out.

    Links are named and not followed: they may lead anywhere. Devices, sockets and pipes are no
    files.
    """
    try:
        entries = list(os.scandir(root / folder))
    except OSError as error:
        yield (
            folder or ".",
            True,
            msg("is a folder that cannot be read ({why})", why=error.strerror),
        )
        return
    for entry in entries:
        name = f"{folder}/{entry.name}" if folder else entry.name
        if _is_noise(name):
            continue
        if entry.is_symlink():
            yield name, False, msg("is a link; links are not followed")
        elif entry.is_dir(follow_symlinks=False):
            yield name, True, _odd_name(name)
        elif entry.is_file(follow_symlinks=False):
            yield name, False, _odd_name(name)
        else:
            yield name, False, msg("is a device or a pipe, not a file")


# --- zip ----------------------------------------------------------------------


# zipfile and the compressions report damage through all of these.
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, RuntimeError,
    ValueError, LookupError, OverflowError,
)  # fmt: skip


@dataclass
class _Zip(FileTree):
    archive: zipfile.ZipFile
    entries: dict[str, zipfile.ZipInfo] = field(default_factory=dict)

    def on_disk(self, name: str) -> None:
        return None

    def size(self, name: str) -> int:
        return self.entries[name].file_size

    def head(self, name: str, most: int) -> bytes:
        try:
            with self.archive.open(self.entries[name]) as file:
                return file.read(most)
        except _DAMAGE:
            return b""  # `read` says so

    def read(self, name: str) -> bytes:
        confined.at_hand(name)
        try:
            # zipfile stops at the declared size and checks the CRC, so the bounds that were
            # checked on the directory hold for the content too.
            with self.archive.open(self.entries[name]) as file:
                return b"".join(iter(lambda: file.read(_PIECE), b""))
        except NotImplementedError as error:
            raise DatasetError(
                "{name} uses a zip compression that is not known here: pack it anew", name=name
            ) from error
        except _DAMAGE as error:
            raise DatasetError(
                "{name} is damaged inside the zip ({error})", name=name, error=error
            ) from error


def _zip_tree(archive: zipfile.ZipFile, path: Path) -> _Zip:
    infos = [info for info in archive.infolist() if not info.filename.endswith("/")]
    if len(infos) > MAX_FILES:
        raise DatasetError("{name} holds more than {most:,} files.", name=path.name, most=MAX_FILES)
    total = sum(info.file_size for info in infos)
    if total > MAX_TOTAL_BYTES or total > FREE_BYTES + MAX_RATIO * path.stat().st_size:
        raise DatasetError(
            "{name} would unpack to {total:,.0f} GiB from "
            "{size:,.0f} MiB: it looks like a zip bomb and was refused.",
            name=path.name,
            total=total / 1024**3,
            size=path.stat().st_size / 1024**2,
        )
    tree = _Zip(path.name, archive)
    renamed, note = decode_zip_names(infos, lambda info: _content(tree, info))
    tree.notes += [note] if note else []
    names = [(renamed.get(i.filename, i.filename).replace("\\", "/"), i) for i in infos]
    for name, info in sorted(names, key=lambda pair: pair[0]):
        inside = name.lower().find(f"{ZARR}/")
        if inside > 0 and not _is_noise(name[:inside]):  # a folder that is read as one file
            whole = name[: inside + len(ZARR)]
            if whole not in tree.entries:
                tree.entries[whole] = info
                tree.names.append(whole)
            continue
        if _is_noise(name):
            continue
        reason = refusal(name, info)
        if reason is None and name in tree.entries:
            reason = msg("occurs twice in the zip; the first one was taken")
        if reason:
            tree.refused.append(Problem(file=printable(name), what=reason))
        else:
            tree.entries[name] = info
            tree.names.append(name)
    return tree


def _content(tree: _Zip, info: zipfile.ZipInfo) -> bytes | None:
    """An entry by its directory record, before names are settled; None if it cannot be read."""
    key = f"\0{info.filename}"  # no entry's name
    tree.entries[key] = info
    try:
        return tree.read(key)
    except DatasetError:
        return None  # named when the entry itself is read
    finally:
        del tree.entries[key]


def refusal(name: str, info: zipfile.ZipInfo) -> str | None:
    """Why an entry of a zip is not read, or None."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]):
        return msg("its path leads out of the zip")
    if stat.S_ISLNK(info.external_attr >> 16):
        return msg("is a link; links are not followed")
    if info.flag_bits & 0x1:
        return msg("is encrypted; unpack it with its password first")
    if info.file_size > MAX_FILE_BYTES:
        return _TOO_LARGE
    return _odd_name(name)


_TOO_LARGE = msg(
    "is larger than {most} MB: export single planes or tiles", most=MAX_FILE_BYTES // 1024**2
)


def _odd_name(name: str) -> str | None:
    """Why a file of this name is not read, or None. Names go into reports, tables and lists."""
    parts = name.split("/")
    if name.endswith(_CLOUD):
        return msg("lies in iCloud and was not downloaded: open it once, or copy the folder again")
    if not name.strip("/. "):
        return msg("has no name")
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name):
        return msg("its name is no plain text (control characters, or not UTF-8): rename it")
    if len(parts) > MAX_DEPTH:
        return msg("lies more than {most} folders deep", most=MAX_DEPTH)
    if any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        return msg("its name is longer than {most} bytes: rename it", most=MAX_NAME_BYTES)
    return None


def printable(name: str) -> str:
    """A name of any bytes as one line of text, cut in the middle where it is very long."""
    text = "".join(
        c if unicodedata.category(c) not in ("Cc", "Cs", "Zl", "Zp", "Cf") else ascii(c)[1:-1]
        for c in name
    )
    return text if len(text) <= 300 else f"{text[:150]} … {text[-100:]}"


def _is_noise(name: str) -> bool:
    """Files that operating systems leave behind: hidden ones, thumbnails, resource forks."""
    parts = PurePosixPath(name).parts
    return (
        any(part in _NOISE or _is_hidden(part) for part in parts)
        or name.rpartition("/")[2].lower() in _NOISE_FILES
        or name.rpartition("/")[2].startswith("~$")  # of an open Office file
    )


def _is_hidden(part: str) -> bool:
    return part.startswith(".") and part not in ("..", ".") and not part.endswith(_CLOUD)
