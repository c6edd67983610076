"""What is wrong with settings, in one sentence: pydantic's report, bounded and in our words."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from msip_core.messages import Message, joined, mark, msg

_MOST_NAMED = 8
_KINDS = ("train", "prune", "count")  # of runs, which no person set
# In our words, by pydantic's types of errors; what stands in braces is what it tells of them.
_WHOLE, _NUMBER = mark("it must be a whole number"), mark("it must be a number")
_WHY = {
    "value_error": mark("{error}"),
    "missing": mark("it is missing"),
    "extra_forbidden": mark("there is no such setting"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), _WHOLE),
    **dict.fromkeys(("float_type", "float_parsing"), _NUMBER),
    "literal_error": mark("it must be {expected}"),
    "enum": mark("it must be {expected}"),
    "greater_than": mark("it must be above {gt}"),
    "greater_than_equal": mark("it must be at least {ge}"),
    **dict.fromkeys(("bool_type", "bool_parsing"), mark("it must be true or false")),
    **dict.fromkeys(("tuple_type", "list_type"), mark("it must be a list")),
    **dict.fromkeys(("model_type", "dict_type"), mark("it has parts, which are set one by one")),
    **dict.fromkeys(
        ("union_tag_invalid", "union_tag_not_found"),
        mark("they do not say of which kind of run they are ('kind': 'train', 'prune' or 'count')"),
    ),
    "string_type": mark("it must be a text"),
    "too_short": mark("its number of entries must be at least {min_length}"),
    "too_long": mark("its number of entries must be at most {max_length}"),
    "string_too_short": mark("its number of characters must be at least {min_length}"),
    "string_too_long": mark("its number of characters must be at most {max_length}"),
    "multiple_of": mark("it must be a multiple of {multiple_of}"),
    "less_than": mark("it must be below {lt}"),
    "less_than_equal": mark("it must be at most {le}"),
}
_DECIMAL_COMMA = re.compile(r"\s*-?\d*,\d+\s*")
_PERCENT = 100.0


def explain(error: ValidationError) -> str:
    """Turn pydantic's report into one sentence that names each setting, value and limit."""
    parts = []
    for item in error.errors()[:_MOST_NAMED]:
        place = ".".join(str(p) for p in item["loc"] if p not in _KINDS) or "settings"
        parts.append(msg("{setting}: {why}", setting=short(place), why=_reason(item)))
    if error.error_count() > _MOST_NAMED:
        parts.append(msg("and {n} more", n=error.error_count() - _MOST_NAMED))
    return msg("These settings cannot be used: {wrong}.", wrong=joined("; ", parts))


def reason(error: ValidationError) -> str:
    """Why one value cannot be taken, and what it was."""
    return _reason(error.errors()[0])


def _reason(item: ErrorDetails) -> str:
    why, given = _why(item), item.get("input")
    if item["type"] == "value_error" and str(given) in why:  # it names the value itself
        return why
    return msg("{why} (got {got})", why=why, got=_got(given))


def _why(item: ErrorDetails) -> str:
    values = {  # it writes 1.0 as 1
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in item.get("ctx", {}).items()
    }
    if item["type"] not in _WHY:
        return short(item["msg"], 300)
    why, given = Message(_WHY[item["type"]], values), item.get("input")
    if item["type"] == "float_parsing" and _DECIMAL_COMMA.fullmatch(str(given)):
        return msg("it must be a number with a point, not a comma")
    limit = values.get("lt", values.get("le"))
    if limit == 1 and isinstance(given, int | float) and 1 < given <= _PERCENT:
        share = {"percent": f"{given:g}", "share": f"{given / _PERCENT:g}"}
        return msg("{why}; {percent} % is {share}", why=why, **share)
    return why


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
