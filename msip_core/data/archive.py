"""A folder or a zip as one read-only tree of files, read one at a time.

A zip is never unpacked to disk: entries are read into memory one by one, so a name with `..`
or a link in it has nowhere to go. What cannot be trusted is left out and named.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from msip_core.data.manifest import Problem
from msip_core.errors import DatasetError, NotFoundError

MAX_FILES = 1_000_000
MAX_FILE_BYTES = 2 * 1024**3
MAX_TOTAL_BYTES = 1024**4
# Micrographs hardly shrink in a zip; text shrinks ten- to twentyfold. A zip that grows more
# than this, by more than a gibibyte, is a bomb.
MAX_RATIO = 100
FREE_BYTES = 1024**3

_NOISE = ("__MACOSX", "@eaDir")
_NOISE_FILES = ("thumbs.db", "desktop.ini")


class FileTree(Protocol):
    """Files by POSIX path relative to the top, in sorted order.

    Attributes:
        label: name of the folder or zip, for the report.
        names: every file that may be read.
        refused: what was left out, and why.
    """

    label: str
    names: list[str]
    refused: list[Problem]

    def size(self, name: str) -> int:
        """Bytes of one file."""

    def read(self, name: str) -> bytes:
        """The content of one file. Raises DatasetError if it cannot be read."""


@contextmanager
def open_tree(path: Path) -> Iterator[FileTree]:
    """Open a folder or a zip for reading.

    Raises:
        NotFoundError: no such path.
        DatasetError: neither a folder nor a zip, or a zip that is damaged or a bomb.
    """
    path = path.expanduser()
    if path.is_dir():
        yield _folder_tree(path)
        return
    if not path.is_file():
        raise NotFoundError(f"There is no folder or zip at {path}: check the path.")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise DatasetError(
            f"{path.name} is neither a folder nor a complete zip ({error}): pack the images and "
            "labels into a .zip and try again."
        ) from error
    with archive:
        yield _zip_tree(archive, path)


# --- folder -------------------------------------------------------------------


@dataclass
class _Folder:
    root: Path
    label: str
    names: list[str] = field(default_factory=list)
    refused: list[Problem] = field(default_factory=list)

    def size(self, name: str) -> int:
        return (self.root / name).stat().st_size

    def read(self, name: str) -> bytes:
        path = self.root / name
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise DatasetError(f"{name} is larger than {MAX_FILE_BYTES // 1024**3} GiB")
            return path.read_bytes()
        except OSError as error:
            raise DatasetError(f"{name} cannot be read ({error.strerror or error})") from error


def _folder_tree(root: Path) -> _Folder:
    tree = _Folder(root, root.resolve().name)
    for path in sorted(_walk(root, tree), key=lambda p: p.relative_to(root).as_posix()):
        tree.names.append(path.relative_to(root).as_posix())
    return tree


def _walk(folder: Path, tree: _Folder) -> Iterator[Path]:
    """Files below `folder`; links are named and not followed: they may lead anywhere."""
    for path in folder.iterdir():
        relative = path.relative_to(tree.root).as_posix()
        if _is_noise(relative):
            continue
        if path.is_symlink():
            tree.refused.append(Problem(file=relative, what="is a link; links are not followed"))
        elif path.is_dir():
            yield from _walk(path, tree)
        elif path.is_file():
            if len(tree.names) >= MAX_FILES:
                raise DatasetError(f"{tree.label} holds more than {MAX_FILES:,} files.")
            yield path


# --- zip ----------------------------------------------------------------------


@dataclass
class _Zip:
    archive: zipfile.ZipFile
    label: str
    entries: dict[str, zipfile.ZipInfo] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    refused: list[Problem] = field(default_factory=list)

    def size(self, name: str) -> int:
        return self.entries[name].file_size

    def read(self, name: str) -> bytes:
        try:
            # zipfile stops at the declared size and checks the CRC, so the bounds that were
            # checked on the directory hold for the content too.
            return self.archive.read(self.entries[name])
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
            raise DatasetError(f"{name} is damaged inside the zip ({error})") from error
        except NotImplementedError as error:
            raise DatasetError(f"{name} uses a zip compression that is not known here") from error


def _zip_tree(archive: zipfile.ZipFile, path: Path) -> _Zip:
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if len(infos) > MAX_FILES:
        raise DatasetError(f"{path.name} holds more than {MAX_FILES:,} files.")
    total = sum(info.file_size for info in infos)
    if total > MAX_TOTAL_BYTES or total > FREE_BYTES + MAX_RATIO * path.stat().st_size:
        raise DatasetError(
            f"{path.name} would unpack to {total / 1024**3:,.0f} GiB from "
            f"{path.stat().st_size / 1024**2:,.0f} MiB: it looks like a zip bomb and was refused."
        )
    tree = _Zip(archive, path.name)
    for info in sorted(infos, key=lambda info: info.filename):
        name = info.filename.replace("\\", "/")
        if _is_noise(name):
            continue
        reason = _refusal(name, info)
        if reason is None and name in tree.entries:
            reason = "occurs twice in the zip; the first one was taken"
        if reason:
            tree.refused.append(Problem(file=name, what=reason))
        else:
            tree.entries[name] = info
            tree.names.append(name)
    return tree


def _refusal(name: str, info: zipfile.ZipInfo) -> str | None:
    """Why an entry of a zip is not read, or None."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        return "its path leads out of the zip"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a link; links are not followed"
    if info.flag_bits & 0x1:
        return "is encrypted; unpack it with its password first"
    if info.file_size > MAX_FILE_BYTES:
        return f"is larger than {MAX_FILE_BYTES // 1024**3} GiB"
    return None


def _is_noise(name: str) -> bool:
    """Files that operating systems leave behind: hidden ones, thumbnails, resource forks."""
    parts = PurePosixPath(name).parts
    return (
        any(part in _NOISE or (part.startswith(".") and part not in ("..", ".")) for part in parts)
        or parts[-1].lower() in _NOISE_FILES
    )
