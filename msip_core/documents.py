"""JSON documents of a workspace, read again: others may have damaged them meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from msip_core.errors import InputError
from msip_core.events import Record
from msip_core.messages import restored
from msip_core.workspace import plain_bytes

R = TypeVar("R", bound=Record)
T = TypeVar("T")
_reader: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


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


def read_as(path: Path, kind: type[T]) -> T | None:
    """A document as this type; None where there is none, or it cannot be read or is damaged: for
    what is only a note of ours, without which things are as if nobody had written it."""
    try:
        found: T = _reader(kind).validate_json(plain_bytes(path))
        return found
    except (OSError, ValidationError):
        return None


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
