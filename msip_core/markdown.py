"""Text for places that read Markdown: what a person typed or brought is shown as it was typed.

    plain("![x](http://elsewhere/x.png)")       escaped: a reader sees these very characters
    rich("**{name}** {term}", name=..., term=...)   markup of our own around values
    md(text)                                    the Markdown of a text, for the call that draws it

A `Text` is an ordinary string (for tables, files, tests) that knows its Markdown as well: markup
stands in a template of our own, every value in it was escaped. `msip_core.language.t` returns such
texts. Any other string is somebody's (the name of a run, a class, a file, a line of a log): `md`
escapes it whole. So what is forgotten is shown with its asterisks; it is never obeyed.

Streamlit's Markdown is GitHub's with links that are found in the text, formulas (`$x$`), colours
and icons (`:red[x]`, `:material/home:`), emoji (`:+1:`) and arrows (`a -> b`). Some of these are
looked for after backslashes were taken away; there a word joiner (U+2060), which is not seen and
has no width, stands between the signs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import overload

_JOINER = "\N{WORD JOINER}"
_LINES = re.compile(r"\s*[\r\n\v\f\x85\u2028\u2029]\s*")
# What is looked for in the text as a reader sees it; the joiner comes behind the first group.
_SEEN = (
    re.compile(r"(:)(?=//)"),  # http://x
    re.compile(r"(\b[wW]{3})(?=\.)"),  # www.x
    re.compile(r"([\w.+-])(?=@[\w-])"),  # a@b.c
    re.compile(r"(:)(?=[\w+-]+:)"),  # :smile:
    re.compile(r"(:)(?=material/)"),
    re.compile(r"((?<!\S)(?:<?-|[<>~]))(?=[->=](?!\S))"),  # a -> b, a <= b, a -- b
)
_SIGNS = re.compile(r"[\\`*\[\]<>$~|&]")
_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")  # class_5 is no emphasis, _x_ is
_DIRECTIVE = re.compile(r":(?=[^\W\d_])")
_BEGINNING = re.compile(r"^(\s?)([-+](?=\s|$)|-(?=-)|[#=:])")  # headings, lists, rules
_NUMBERED = re.compile(r"^(\s?\d{1,9})([.)])(?=\s|$)")


class Text(str):
    """A string for reading, and the same for places that read Markdown."""

    __slots__ = ("markdown",)
    markdown: str

    def __new__(cls, words: str, markdown: str) -> Text:
        self = super().__new__(cls, words)
        self.markdown = markdown
        return self

    def __reduce__(self) -> tuple[type[Text], tuple[str, str]]:
        return Text, (str(self), self.markdown)

    def __add__(self, other: str) -> Text:
        return Text(str(self) + str(other), self.markdown + md(other))

    def __radd__(self, other: str) -> Text:
        return Text(str(other) + str(self), md(other) + self.markdown)


def plain(value: object) -> str:
    """Markdown that shows the value's own characters, on one line."""
    text = _LINES.sub(" ", str(value).expandtabs(1))
    text = re.sub(r"^\s{2,}", " ", text)  # four spaces would begin a listing
    for sign in _SEEN:
        text = sign.sub(rf"\1{_JOINER}", text)
    text = _SIGNS.sub(r"\\\g<0>", text)
    text = _UNDERSCORE.sub(r"\\_", text)
    text = _DIRECTIVE.sub(r"\\:", text)
    text = _BEGINNING.sub(r"\1\\\2", text)
    return _NUMBERED.sub(r"\1\\\2", text)


@overload
def md(text: str) -> str: ...
@overload
def md(text: None) -> None: ...
def md(text: str | None) -> str | None:
    """What to give to a call that reads Markdown: our own markup, everything else escaped."""
    if text is None:
        return None
    return text.markdown if isinstance(text, Text) else plain(text)


def rich(template: str, **values: object) -> Text:
    """Markup of our own around values; the template is to be a constant of the code."""
    return fill(template, values)


def fill(template: str, values: Mapping[str, object]) -> Text:
    """A template of our own with its {values}; those that are text are escaped in its Markdown."""
    if not values:
        return Text(template, template)
    escaped = {
        name: md(value) if isinstance(value, str) else value for name, value in values.items()
    }
    return Text(template.format(**values), template.format(**escaped))


def code(value: object) -> Text:
    """The value's own characters as a piece of code, also in the cell of a table."""
    text = _LINES.sub(" ", str(value)) or " "
    ticks = max((len(run) for run in re.findall(r"`+", text)), default=0) + 1
    space = " " if "`" in text else ""
    inside = text.replace("|", r"\|")
    return Text(text, f"{'`' * ticks}{space}{inside}{space}{'`' * ticks}")


def joined(separator: str, texts: Iterable[str]) -> Text:
    """Texts behind one another, with a separator of our own between them."""
    every = list(texts)
    return Text(separator.join(every), separator.join(md(text) for text in every))
