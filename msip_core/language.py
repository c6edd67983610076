"""The reader's language: English in the code, other languages in gettext catalogs.

    t("Keep this much of the work")                         a fixed text
    t("{n} of {total} images", n=41, total=44)              one with values: never an f-string
    tn("{n} image", "{n} images", 41)                       one that counts
    mark("Waiting")                                         a constant: translated where it is shown
    say("The file 'a.tif' cannot be read: …")               a finished English sentence

Stored sentences (errors, diaries of runs) stay English on disk, since they are written by
processes that know no reader. `say` translates them when they are shown: the catalog holds the
template of every sentence that the code can raise, and the one that fits gives its values back.

Which language is read is asked of the resolver that a front end sets with `use`: the pages answer
per session, the command line not at all (English). Figures, captions and reports for papers do not
pass through here: they stay English.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po

from msip_core.markdown import Text, fill

ENGLISH = "en"
LANGUAGES = MappingProxyType({ENGLISH: "English", "zh_CN": "简体中文"})
LOCALE = Path(__file__).parent / "locale"
SENTENCE = "sentence"  # the gettext context of templates that `say` matches
_SLOT = re.compile(r"\{(\w*)\}")
_WIDE_STOP = re.compile(r"(?<=[。！？]) (?=[^\x00-\x7f])")  # no space between Chinese sentences


class _Reader:
    """Who asks for the language: one per process, set once by a front end."""

    resolve: Callable[[], str] = staticmethod(lambda: ENGLISH)


def use(resolver: Callable[[], str]) -> None:
    """Let `resolver` say, at every text, in which of `LANGUAGES` it is read."""
    _Reader.resolve = staticmethod(resolver)


def current() -> str:
    """The language that is read now."""
    return _Reader.resolve()


def t(message: str, **values: object) -> Text:
    """The text in the reader's language, its {values} filled in; English where it is missing.

    The values are somebody's names and files: the Markdown of the text has them escaped.
    """
    text = _texts(current()).get(message) or message
    return fill(text, values)


def tn(one: str, many: str, n: int, **values: object) -> Text:
    """Like `t`, for a text that counts {n}."""
    text = _texts(current()).get(one) if current() != ENGLISH else None
    text = text or (one if n == 1 else many)
    return fill(text, {"n": n, **values})


def mark(message: str) -> str:
    """Name a constant for the catalog; it is translated by `t` where it is shown."""
    return message


def say(sentence: str) -> str:
    """A finished English sentence, in the reader's language if the catalog has its template."""
    language = current()
    if language == ENGLISH or not sentence:
        return sentence
    return _said(language, sentence)


@lru_cache(maxsize=1024)
def _said(language: str, sentence: str) -> str:
    whole = _fitted(language, sentence)
    if whole is not None:
        return whole
    # Several sentences in one message are each looked for on their own.
    parts = re.split(r"(?<=[.!?]) (?=[A-Z'“])", sentence)
    if len(parts) == 1:
        return sentence
    joined = " ".join(_fitted(language, part) or part for part in parts)
    return _WIDE_STOP.sub("", joined)


def _fitted(language: str, sentence: str) -> str | None:
    for pattern, names, text in _templates(language):
        found = pattern.fullmatch(sentence)
        if found is not None:
            given = (value or "" for value in found.groups())
            values = {
                # What stands in quotes is a name: a dataset called "test" keeps it.
                name: value if f"'{value}'" in sentence else _said_value(value)
                for name, value in zip(names, given)
            }
            return _filled(text, values).strip()
    return None


def _said_value(value: str) -> str:
    """A value of a sentence; lists ("pause, cancel") are read item by item if all are known."""
    said, items = say(value), value.split(", ")
    if said != value or len(items) == 1:
        return said
    each = [say(item) for item in items]
    return value if any(a == b for a, b in zip(items, each)) else "、".join(each)


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _SLOT.sub(lambda slot: values.get(slot[1], slot[0]), text)


@lru_cache(maxsize=len(LANGUAGES))
def read_catalog(language: str) -> Catalog:
    """The catalog of a language, read once."""
    with (LOCALE / f"{language}.po").open("rb") as file:
        return read_po(file, locale=language)


@lru_cache(maxsize=len(LANGUAGES))
def _texts(language: str) -> dict[str, str]:
    if language == ENGLISH:
        return {}
    texts: dict[str, str] = {}
    for message in read_catalog(language):
        if message.id and message.context != SENTENCE and not message.fuzzy:
            # One plural form or many: the languages here need no more than the first.
            texts[_first(message.id)] = _first(message.string)
    return texts


def _first(text: str | Sequence[str] | None) -> str:
    return text if isinstance(text, str) else text[0] if text else ""


@lru_cache(maxsize=len(LANGUAGES))
def _templates(language: str) -> list[tuple[re.Pattern[str], list[str], str]]:
    """Pattern, names of its slots, translation; those with most fixed words first."""
    found = [
        (str(message.id), str(message.string))
        for message in read_catalog(language)
        if message.context == SENTENCE and message.string and not message.fuzzy
    ]
    found.sort(key=lambda pair: -len(_SLOT.sub("", pair[0])))
    return [(_pattern(template), _SLOT.findall(template), text) for template, text in found]


def _pattern(template: str) -> re.Pattern[str]:
    pieces = [re.escape(piece) for piece in _SLOT.split(template)[::2]]
    if re.match(r"\{\w*\} [a-z]", template):
        # "{0} is empty": reports leave the file away, which they name in a column of its own.
        pieces[:2] = ["(?:(.+?) )?" + pieces[1].removeprefix(re.escape(" "))]
    return re.compile("(.+?)".join(pieces), re.DOTALL)
