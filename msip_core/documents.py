"""JSON documents of a workspace, read again: others may have damaged them meanwhile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from msip_core.errors import InputError
from msip_core.events import Record
from msip_core.messages import restored

R = TypeVar("R", bound=Record)


def read_json(path: Path) -> Any | None:
    """What `write_json` wrote; None where there is no file.

    Raises:
        InputError: it is damaged.
    """
    if not path.is_file():
        return None
    try:
        return restored(json.loads(path.read_bytes()))
    except (ValueError, RecursionError) as error:
        raise damaged(path) from error


def read_object(path: Path) -> dict[str, Any]:
    """The same of a document that is an object; {} where there is no file."""
    value = read_json(path)
    if not isinstance(value, dict | None):
        raise damaged(path)
    return value or {}


def read_record(path: Path, kind: type[R]) -> R | None:
    """The same of a document that is one record."""
    try:
        return kind.model_validate_json(path.read_bytes()) if path.is_file() else None
    except ValidationError as error:
        raise damaged(path) from error


def facts_in(path: Path) -> dict[str, Any]:
    """What a document tells that only accompanies others; {} where it is missing or damaged."""
    try:
        return read_object(path)
    except (InputError, OSError):
        return {}


def damaged(path: Path) -> InputError:
    return InputError(
        "{path} is damaged and cannot be read. Restore it from a backup, or begin its run or study "
        "anew.",
        path=path,
    )
