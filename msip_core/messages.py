"""What is told to a person and shown elsewhere, later, perhaps in another language.

    msg("'{name}' cannot be read: {why}", name=path.name, why=error)    values, never an f-string
    mark("Waiting")                                                     a constant
    joined(" ", sentences)                                              some behind one another

A `Message` is an ordinary string, its English text, so errors, logs and other programs take it as
one. It keeps the template and the values too: `msip_core.language.told` puts both into the language
of whoever reads. Values are names, numbers, messages of their own, or lists of these.

Messages survive a pickle. In JSON the text stays where it was, and the object that holds it has one
field more, which says what the texts beside it were made of:

    {"message": "Measuring on cuda:0.",
     "told": {"message": {"template": "Measuring on {device}.", "values": {"device": "cuda:0"}}}}

`stored` and `restored` write and read that for plain dicts, `Telling` for models. A text without
that field (of an older log, or without values) is the template itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from numbers import Integral, Real
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    SerializerFunctionWrapHandler,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_serializer,
    model_validator,
)

TOLD = "told"  # the field of a JSON object that keeps templates and values
_SLOT = re.compile(r"\{\{|\}\}|\{(\w+)(?::(\+?,?(?:\.\d)?[dfge%]?))?\}")
_DEEPEST = 8  # messages within messages; ours take three


class Message(str):
    """An English text that knows its template and values.

    Attributes:
        template: with a {name} or {name:.0%} for each value; without values it is the text itself.
        values: names, numbers, messages, or lists of these.
    """

    __slots__ = ("template", "values")
    template: str
    values: Mapping[str, object]

    def __new__(cls, template: str, values: Mapping[str, object] = MappingProxyType({})) -> Message:
        if isinstance(template, Message):
            if not values:
                return template
            template = template.template
        kept = {name: _kept(value) for name, value in values.items()}
        self = super().__new__(cls, filled(template, kept))
        self.template, self.values = str(template), MappingProxyType(kept)
        return self

    def __reduce__(self) -> tuple[type[Message], tuple[str, dict[str, object]]]:
        return Message, (self.template, dict(self.values))

    def without(self, name: str) -> Message:
        """The message for a table that names the file in a column of its own: what begins with
        that name ("{file} is empty") loses it."""
        first = _SLOT.match(self.template)
        if first is None or self.values.get(str(first[1])) != name:
            return self
        return Message(self.template, {**self.values, str(first[1]): ""})


def msg(template: str, /, **values: object) -> str:
    """A text for readers; `template` is a literal, which assets/messages.py looks for."""
    return Message(template, values)


def mark(text: str) -> str:
    """A constant for readers: the label of a choice, the word for a state."""
    return Message(text)


def joined(separator: str, texts: Iterable[str]) -> str:
    """Messages behind one another. A list within a sentence is a list in its values instead."""
    values = {f"part{n}": text for n, text in enumerate(texts)}
    if len(values) == 1:
        return values["part0"]
    return Message(separator.join(f"{{{name}}}" for name in values), values)


def message_of(error: BaseException) -> Message:
    """What an error says: the message that it was raised with, or its text."""
    only = error.args[0] if len(error.args) == 1 else None
    return only if isinstance(only, Message) else Message(str(error))


def filled(
    template: str, values: Mapping[str, object], shown: Callable[[object], str] | None = None
) -> str:
    """The template with its values, each as `shown` puts it (English by default).

    Not `str.format`: a template may come from a file of a stranger.
    """
    if not values:
        return template
    show = shown or _english

    def one(slot: re.Match[str]) -> str:
        name, form = slot[1], slot[2] or ""
        if name is None:  # {{ or }}
            return slot[0][0]
        value = values.get(name, slot[0])
        return format(value, form) if isinstance(value, int | float) else show(value)

    text = _SLOT.sub(one, template)
    return text.lstrip() if template.startswith("{") else text  # see `without`


def _english(value: object) -> str:
    return ", ".join(map(_english, value)) if isinstance(value, list) else str(value)


def _kept(value: object) -> object:
    """The value as it is kept: of a kind that JSON holds as well."""
    found: object = str(value)
    if isinstance(value, Message):
        found = value
    elif isinstance(value, StrEnum):  # a word of our own
        found = Message(value.value)
    elif isinstance(value, BaseException):
        found = message_of(value)
    elif isinstance(value, list):
        found = list(map(_kept, value))
    elif isinstance(value, Integral) and not isinstance(value, bool):
        found = int(value)
    elif isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value):
        found = float(value)
    return found


# --- JSON -------------------------------------------------------------------------


def stored(value: Any) -> Any:
    """The value for `json.dumps`: every object says what the texts in it were made of."""
    if isinstance(value, list | tuple):
        return [stored(item) for item in value]
    if not isinstance(value, dict):
        return value
    plain = {name: stored(item) for name, item in value.items()}
    origins = _origins(value)
    return {**plain, TOLD: {**plain.get(TOLD, {}), **origins}} if origins else plain


def restored(value: Any) -> Any:
    """The reverse of `stored`: texts of objects that say so are messages again."""
    if isinstance(value, list):
        return [restored(item) for item in value]
    if not isinstance(value, dict):
        return value
    return _restored_texts({name: restored(item) for name, item in value.items()})


def _origins(value: Mapping[str, object]) -> dict[str, object]:
    every = ((name, _origin(item)) for name, item in value.items())
    return {name: origin for name, origin in every if origin is not None}


def _origin(value: object) -> object:
    """What a text, or a list of them, was made of; None where that is the text itself."""
    if isinstance(value, Message) and value.values:
        values = {name: _in_json(item) for name, item in value.values.items()}
        return {"template": value.template, "values": values}
    if isinstance(value, list | tuple):
        each = [_origin(item) if isinstance(item, str) else None for item in value]
        return each if any(origin is not None for origin in each) else None
    return None


def _in_json(value: object) -> object:
    if isinstance(value, list):
        return list(map(_in_json, value))
    if not isinstance(value, Message):
        return value
    return _origin(value) or {"template": value.template, "values": {}}


def _restored_texts(value: dict[str, object]) -> dict[str, object]:
    """One object with the texts that its field "told" speaks of; as it is, where it has none."""
    origins = value.get(TOLD)
    if not isinstance(origins, dict) or not all(map(_is_origin, origins.values())):
        return value
    rest = {name: item for name, item in value.items() if name != TOLD}
    for name, origin in origins.items():
        if name in rest:
            rest[name] = _with_origin(rest[name], origin)
    return rest


def _is_origin(value: object) -> bool:
    if isinstance(value, dict) and "template" not in value:
        return all(map(_is_origin, value.values()))
    return isinstance(value, list | dict)


def _with_origin(text: Any, origin: Any) -> Any:
    """The text as a message; as it is where it is not what its origin makes (changed by hand)."""
    if isinstance(text, list | tuple) and isinstance(origin, list) and len(text) == len(origin):
        return [_with_origin(one, its) for one, its in zip(text, origin)]
    if isinstance(text, dict) and isinstance(origin, dict):
        return {name: _with_origin(one, origin.get(name)) for name, one in text.items()}
    try:
        found = _out_of_json(origin, _DEEPEST)
    except ValueError:  # a number in a form that it cannot have
        return text
    return found if isinstance(found, Message) and found == text else text


def _out_of_json(value: Any, depth: int) -> object:
    if depth and isinstance(value, list):
        return [_out_of_json(item, depth - 1) for item in value]
    if depth and isinstance(value, dict):
        template, values = value.get("template"), value.get("values")
        if isinstance(template, str) and isinstance(values, dict):
            each = {name: _out_of_json(item, depth - 1) for name, item in values.items()}
            return Message(template, each)
    return value


def _as_message(value: object, check: ValidatorFunctionWrapHandler) -> Message:
    return value if isinstance(value, Message) else Message(check(value))


# The type of a model's field that holds a message; a plain text becomes one without values.
Words = Annotated[str, WrapValidator(_as_message)]


class Telling(BaseModel):
    """A model with fields of type `Words`, whose JSON keeps their templates and values."""

    @model_validator(mode="before")
    @classmethod
    def _restore(cls, value: Any) -> Any:
        return _restored_texts(value) if isinstance(value, dict) else value

    @model_serializer(mode="wrap", when_used="json")
    def _store(self, dump: SerializerFunctionWrapHandler) -> dict[str, object]:
        value: dict[str, object] = dump(self)
        own = {name: item for name, item in self.__dict__.items() if name in value}
        origins = _origins(own)
        for name, item in own.items():
            if isinstance(item, dict) and (each := _origins(item)):
                origins[name] = {str(key): origin for key, origin in each.items()}
        return {**value, TOLD: origins} if origins else value
