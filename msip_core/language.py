"""The reader's language: English in the code, other languages in gettext catalogs.

    t("Keep this much of the work")                         a fixed text
    t("{n} of {total} images", n=41, total=44)              one with values: never an f-string
    tn("{n} image", "{n} images", 41)                       one that counts
    told(error.message)                                     what a `Message` says

Errors and diaries of runs are written by processes that know no reader. They carry messages
(`msip_core.messages`): English text, template and values. `told` puts them into the language of
whoever they are shown to.

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
from msip_core.messages import Message, filled, mark

__all__ = ["LANGUAGES", "current", "mark", "t", "tn", "told", "use"]
ENGLISH = "en"
LANGUAGES = MappingProxyType({ENGLISH: "English", "zh_CN": "简体中文"})
LOCALE = Path(__file__).parent / "locale"
_NARROW_STOP = re.compile(r"(?<=[。！？]) (?=[^\x00-\x7f])")  # no space between Chinese sentences


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
    return fill(text, _shown(values))


def tn(one: str, many: str, n: int, **values: object) -> Text:
    """Like `t`, for a text that counts {n}."""
    text = _texts(current()).get(one) if current() != ENGLISH else None
    text = text or (one if n == 1 else many)
    return fill(text, {"n": n, **_shown(values)})


def _shown(values: Mapping[str, object]) -> dict[str, object]:
    """The values, messages among them in the reader's language."""
    return {n: told(v) if isinstance(v, Message) else v for n, v in values.items()}


def told(message: str) -> str:
    """A message in the reader's language, and all messages in it; names stay as they are.

    A plain text is looked for as it stands: a word of ours, or a message of an old log.
    """
    language = current()
    if language == ENGLISH or not message:
        return str(message)
    return _NARROW_STOP.sub("", _told(_texts(language), Message(message)))


def _told(texts: Mapping[str, str], message: Message) -> str:
    def shown(value: object) -> str:
        if isinstance(value, Message):
            return _told(texts, value)
        if isinstance(value, list):
            comma = "、" if any(isinstance(item, Message) for item in value) else ", "
            return comma.join(map(shown, value))
        return str(value)

    return filled(texts.get(message.template) or message.template, message.values, shown)


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
        if message.id and not message.fuzzy:
            # One plural form or many: the languages here need no more than the first.
            texts[_first(message.id)] = _first(message.string)
    return texts


def _first(text: str | Sequence[str] | None) -> str:
    return text if isinstance(text, str) else text[0] if text else ""
