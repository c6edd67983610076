"""What is wrong with settings, in one sentence: pydantic's report, bounded and in our words."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from msip_core.messages import Message, joined, mark, msg

_MOST_NAMED = 8
_KINDS = ("train", "prune", "count")  # of runs, which no person set
# What pydantic says, by its types of errors.
_WHY = {
    "value_error": mark("Value error, {error}"),
    "missing": mark("Field required"),
    "extra_forbidden": mark("Extra inputs are not permitted"),
    "int_type": mark("Input should be a valid integer"),
    "float_type": mark("Input should be a valid number"),
    "greater_than": mark("Input should be greater than {gt}"),
    "greater_than_equal": mark("Input should be greater than or equal to {ge}"),
    "less_than": mark("Input should be less than {lt}"),
    "less_than_equal": mark("Input should be less than or equal to {le}"),
}


def explain(error: ValidationError) -> str:
    """Turn pydantic's report into one sentence that names each setting, value and limit."""
    parts = []
    for item in error.errors()[:_MOST_NAMED]:
        place = ".".join(str(p) for p in item["loc"] if p not in _KINDS) or "settings"
        got = _got(item.get("input"))
        parts.append(
            msg("{setting}: {why} (got {got})", setting=short(place), why=_why(item), got=got)
        )
    if error.error_count() > _MOST_NAMED:
        parts.append(msg("and {n} more", n=error.error_count() - _MOST_NAMED))
    return msg("These settings cannot be used: {wrong}.", wrong=joined("; ", parts))


def _why(item: ErrorDetails) -> str:
    said = short(item["msg"], 300)
    values = {  # it writes 1.0 as 1
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in item.get("ctx", {}).items()
    }
    known = Message(_WHY.get(item["type"], said), values)
    return known if known == said else said


def _got(value: Any) -> str:
    """A value that was given, as a person recognises it."""
    if isinstance(value, dict | list | tuple) and len(value) > _MOST_NAMED:
        return f"{len(value)} values"
    try:
        return short(repr(value))
    except (RecursionError, ValueError):  # too deep, or a number of thousands of digits
        return msg("a value of type {name}", name=type(value).__name__)


def short(text: str, most: int = 80) -> str:
    """One line of what was given, however long it was."""
    line = " ".join(text.split()) or text.strip()
    return line if len(line) <= most else f"{line[:most]}…"
