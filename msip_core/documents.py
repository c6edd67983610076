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
        InputError: it is damaged, or cannot be read.
    """
    try:
        return restored(json.loads(path.read_bytes())) if path.is_file() else None
    except OSError as error:
        raise _unreadable(path, error) from error
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
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValidationError as error:
        raise damaged(path) from error


class _Hardware(Record):
    processor: str | None = None
    gpus: tuple[str, ...] | None = None
    memory_gb: float | None = None


class Provenance(Record):
    """provenance.json, as far as its parts are looked into."""

    versions: dict[str, str | None] = {}
    hardware: _Hardware = _Hardware()
    model: dict[str, Any] | None = None
    dataset: dict[str, Any] | None = None
    attempts: list[Any] = []


class Summary(Record):
    """summary.json of a dataset, as far as its parts are looked into."""

    images: int = 0
    splits: dict[str, int] = {}
    boxes: dict[str, int] = {}
    classes: tuple[str, ...] = ()
    pixel_size_um: float | None = None
    labels_version: int = 1


class Check(Record):
    """check.json of a run, as far as its parts are looked into."""

    latency_ms: dict[str, float | None] = {}
    largest_difference: float | None = None


def facts_in(path: Path, parts: type[Record] = Record) -> dict[str, Any]:
    """What a document tells that only accompanies others; {} where it is missing or damaged.

    Args:
        parts: what must be of which kind, or the document is damaged.
    """
    try:
        found = read_object(path)
        parts.model_validate(found)
    except (InputError, OSError, ValidationError):
        return {}
    return found


def _unreadable(path: Path, error: OSError) -> InputError:
    """Somebody else's file or a broken disk: one of it hides nothing beside it."""
    return InputError("{path} cannot be read ({why}).", path=path, why=error.strerror or error)


def damaged(path: Path) -> InputError:
    return InputError(
        "{path} is damaged and cannot be read. Restore it from a backup, or begin its run or study "
        "anew.",
        path=path,
    )
