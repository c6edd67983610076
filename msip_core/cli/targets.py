"""Where a verb may write: every `--out` goes through here before any work is done.

What is refused would lose something or end in the middle: a device (renaming a finished file to
/dev/null replaces the device), a folder where a file is meant, a file where a folder is meant, a
file of another kind, a place that takes no files.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from msip_core.errors import InputError


def file_target(path: Path, *suffixes: str) -> Path:
    """`path` as an absolute path that a file can be written to.

    Args:
        suffixes: what the file is called at its end; an existing file that is not of this kind is
            not replaced.

    Raises:
        InputError: nothing can be written there, with the reason.
    """
    found = _resolved(path)
    try:
        if found.is_dir():
            raise InputError("{found} is a folder: add the name of the file to write.", found=found)
        if found.exists():
            if not found.is_file():
                raise InputError(
                    "{found} is a device or a pipe, not a file: choose another name.", found=found
                )
            if suffixes and found.suffix.lower() not in suffixes:
                raise InputError(
                    "{found} exists and is no {suffixes} file: it was left as it is; "
                    "choose another name.",
                    found=found,
                    suffixes=" or ".join(suffixes),
                )
    except OSError as error:
        raise _not_there(found, error) from error
    _check_place(found.parent)
    return found


def folder_target(path: Path) -> Path:
    """`path` as an absolute path of a folder that files can be written to; it is not made yet.

    Raises:
        InputError: nothing can be written there, with the reason.
    """
    found = _resolved(path)
    try:
        if found.exists() and not found.is_dir():
            raise InputError("{found} is not a folder: choose another name.", found=found)
    except OSError as error:
        raise _not_there(found, error) from error
    _check_place(found)
    return found


def _resolved(path: Path) -> Path:
    try:
        return path.expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links; no such home
        raise InputError(
            "'{path}' cannot be a place to write to ({error}).", path=path, error=error
        ) from error


def _check_place(folder: Path) -> None:
    """The nearest folder that exists takes files: tried, since rights alone do not tell."""
    try:
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir():
            raise InputError(
                "{folder} is a file, so nothing can be written below it.", folder=folder
            )
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _not_there(folder, error) from error


def _not_there(path: Path, error: OSError) -> InputError:
    return InputError(
        "Nothing can be written to {path} ({why}): choose another place with --out.",
        path=path,
        why=error.strerror or error,
    )
