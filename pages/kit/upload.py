"""Uploads go to the workspace's disk at once, in pieces, each into a folder of its own; the address
keeps which one."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol, cast

import streamlit as st

from msip_core.bounded import real_place
from msip_core.errors import DiskFullError, InputError
from msip_core.language import t
from msip_core.markdown import md
from msip_core.settings import get_settings
from msip_core.workspace import Workspace, atomic_path
from pages.kit.lab import lab

_PIECE = 4 * 1024 * 1024
_UNSAFE = re.compile(r"[^\w. ()+=-]")  # letters and digits of every script stay
# One upload, as `keep_upload` names it.
_KEPT = re.compile(r"upload-[0-9a-f]{16}(/(?!\.{1,2}$)[^/\\]+)?")
_LONGEST = 150  # bytes of a name without its suffix: disks take 255, temporary names are longer


class Upload(Protocol):
    """What Streamlit hands over: a file in the server's memory with a name."""

    name: str
    size: int
    file_id: str

    def seek(self, offset: int, whence: int = 0, /) -> int: ...
    def read(self, size: int = -1, /) -> bytes: ...


def files_field(label: str, kinds: Sequence[str], key: str, *, as_folder: bool) -> list[Upload]:
    """Files of the person's computer, or all of a folder."""
    limit = get_settings().upload_limit_mb
    text = t(
        "Up to {limit} MB in the browser. Larger sets: use a folder on the server.",
        limit=f"{limit:,}",
    )
    files = st.file_uploader(
        md(label),
        type=list(kinds),
        accept_multiple_files="directory" if as_folder else True,
        max_upload_size=limit,
        key=f"{key}:{as_folder}",
        help=md(text),
    )
    return cast(list[Upload], files)


def upload_of(files: Sequence[Upload]) -> Path | None:
    """Where these files are kept; without any, the upload that the address names: after a reload
    the browser's copy is gone, but the one on disk is not."""
    uploads = lab().workspace.uploads
    if files:
        kept = keep_upload(lab().workspace, files)
        st.query_params["source"] = kept.relative_to(uploads).as_posix()
        return kept
    name = st.query_params.get("source")
    # No name is too long to be asked for by `exists` of os.
    there = name and _KEPT.fullmatch(name) and os.path.exists(uploads / name)
    return uploads / name if name and there else None


def keep_upload(workspace: Workspace, files: Sequence[Upload]) -> Path:
    """Write what was dropped: one archive or weights file, or a folder of files.

    The place depends on Streamlit's ids of the files, so a rerun finds what is already written.

    Returns:
        The file (a single one), or the folder that holds the files. They keep their own names:
        labels are matched to images by name, and whatever is said of a file names it as its owner
        knows it.

    Raises:
        InputError: two files of a folder have the same name.
        DiskFullError: there is no room for them.
    """
    if not files:
        raise InputError("Nothing was uploaded: choose a file first.")
    _check_room(workspace.uploads, sum(file.size for file in files))
    ids = "|".join(sorted(file.file_id for file in files))
    folder = workspace.uploads / ("upload-" + hashlib.sha256(ids.encode()).hexdigest()[:16])
    if len(files) == 1:
        name = safe_relative(files[0].name)
        target = folder / (name.stem + name.suffix.lower())  # "mine.PT" is a weights file too
        if not target.is_file():
            _write(files[0], target)
        return target
    seen: set[str] = set()
    for file in files:
        relative = safe_relative(file.name)
        if str(relative).lower() in seen:
            raise InputError(
                "Two files are called '{name}': put the images into a zip instead.",
                name=file.name,
            )
        seen.add(str(relative).lower())
        target = folder / relative
        if not target.is_file():
            _write(file, target)
    return folder


def _check_room(uploads: Path, needed: int) -> None:
    free = shutil.disk_usage(uploads).free
    if needed > free:
        raise DiskFullError(
            "The upload needs {needed} GB, but only {free} GB are free in {folder}: free some "
            "room, then upload again.",
            needed=f"{needed / 1e9:.1f}",
            free=f"{free / 1e9:.1f}",
            folder=uploads,
        )


def safe_relative(name: str) -> PurePosixPath:
    """A browser's file name as a path that cannot leave its folder, at most three levels deep."""
    whole = PurePosixPath(unicodedata.normalize("NFC", name).replace("\\", "/"))
    parts = [part for part in whole.parts if part not in ("/", "..")]
    cleaned = [_shortened(_UNSAFE.sub("_", part).lstrip(".") or "_") for part in parts]
    return PurePosixPath(*(cleaned[-3:] or ["_"]))


def _shortened(name: str) -> str:
    """A name that a disk can take; image and label keep the same stem."""
    path = PurePosixPath(name)
    suffix = path.suffix if len(path.suffix) <= 10 else ""
    stem = name.removesuffix(suffix).encode()[:_LONGEST].decode(errors="ignore")
    return stem + suffix


def _write(file: Upload, target: Path) -> None:
    with atomic_path(target) as temporary, temporary.open("wb") as out:
        _copy(file, out)


def _copy(file: Upload, out: BinaryIO) -> None:
    file.seek(0)
    while piece := file.read(_PIECE):
        out.write(piece)


def server_path(text: str, roots: Sequence[Path]) -> Path:
    """A path on the server's disk that a page may read: below one of the configured roots.

    Raises:
        InputError: outside the roots (links are followed first), or not there.
    """
    path = real_place(text.strip())
    allowed = [root.expanduser().resolve() for root in roots]
    if not any(path.is_relative_to(root) for root in allowed):
        raise InputError(
            "'{path}' is outside the folders that this page may read ({folders}): set "
            "MSIP_IMPORT_ROOTS, or move the data there.",
            path=path,
            folders=", ".join(map(str, allowed)) or t("none is set"),
        )
    if not path.exists():
        raise InputError("There is nothing at '{path}': check the spelling.", path=path)
    return path
