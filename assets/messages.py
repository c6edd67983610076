"""Bring the translation catalogs up to date with the texts in the code.

    python assets/messages.py            writes msip_core/locale/<language>.po
    python assets/messages.py --check    fails if a text is missing there or not translated

Texts are the literals that the code passes to `t`, `tn`, `msg` and `mark`, and to its own errors.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from msip_core.language import ENGLISH, LANGUAGES, LOCALE  # noqa: E402

SPOKEN = ("pages", "msip_core")
_CALLS = frozenset(("t", "msg", "mark"))
_ERRORS = frozenset(("MsipError", "UnfitError"))  # these, and what is derived from them
# Nothing in it changes with the day or the person, so that a new text is all that a diff shows.
HEADER = """\
# Texts of MSIP Lab. Written by assets/messages.py; only the lines of msgstr are for translators.
msgid ""
msgstr ""
"Project-Id-Version: MSIP Lab\\n"
"Language: {language}\\n"
"Plural-Forms: {plural}\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"

"""


def collect() -> Catalog:
    """Every text of the code, in the order of files and lines."""
    trees = read_code()
    calls = _CALLS | errors(trees.values())
    catalog = Catalog()
    for where, tree in trees.items():
        for message in texts(tree, calls):
            catalog.add(message, locations=[(where, 0)])
    return catalog


def read_code() -> dict[str, ast.Module]:
    """Path below the root -> its syntax tree, of all files that may hold texts."""
    files = [path for folder in SPOKEN for path in sorted((ROOT / folder).rglob("*.py"))]
    return {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in files
    }


def texts(tree: ast.Module, calls: Collection[str] = _CALLS) -> Iterator[str | tuple[str, str]]:
    """First arguments of `calls`, the first two of `tn`. By the syntax tree: up to Python 3.11
    Babel does not look into f-strings, and it takes no either-or."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    for call in sorted(found, key=lambda node: (node.lineno, node.col_offset)):
        name = call.func.id if isinstance(call.func, ast.Name) else ""
        if name in calls:
            yield from _constants(call.args[0])
        elif name == "tn":
            one, many = (next(_constants(text)) for text in call.args[:2])
            yield one, many
        elif name == "_term":  # of the glossary: each of its words is one
            yield from chain.from_iterable(map(_constants, call.args))


def _constants(text: ast.expr) -> Iterator[str]:
    if isinstance(text, ast.IfExp):
        yield from _constants(text.body)
        yield from _constants(text.orelse)
    elif isinstance(text, ast.Constant) and isinstance(text.value, str):
        yield text.value


def errors(trees: Iterable[ast.Module]) -> set[str]:
    """Names of the classes of errors that take a message with its values."""
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    known = set(_ERRORS)
    while more := {name for name, above in bases.items() if above & known} - known:
        known |= more
    return known


def updated(language: str) -> Catalog:
    """The catalog of a language with the texts of the code of now."""
    path = LOCALE / f"{language}.po"
    old = Catalog(locale=language)
    if path.is_file():
        with path.open("rb") as file:
            old = read_po(file, locale=language)
    new = Catalog(locale=language, fuzzy=False)
    for message in collect():
        if message.id:
            known = old.get(message.id)
            new.add(message.id, known.string if known else None, locations=message.locations)
    return new


def missing(catalog: Catalog) -> list[str]:
    """Texts without a translation, or whose {values} are not those of the translation."""
    bad = []
    for message in catalog:
        if not message.id:
            continue
        first = message.id[0] if message.pluralizable else message.id
        text = message.string[0] if message.pluralizable else message.string
        if not text or _slots(first) - {"n"} != _slots(text) - {"n"}:
            bad.append(first)
    return bad


def _slots(text: str) -> set[str]:
    return set(re.findall(r"\{(\w*)[^}]*\}", text))


def _file(language: str, catalog: Catalog) -> bytes:
    content = io.BytesIO()
    content.write(HEADER.format(language=language, plural=catalog.plural_forms).encode())
    write_po(content, catalog, width=100, omit_header=True, sort_by_file=True, no_location=True)
    return content.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail if not complete")
    options = parser.parse_args()
    lacking = 0
    for language in LANGUAGES:
        if language == ENGLISH:
            continue
        catalog = updated(language)
        left = missing(catalog)
        lacking += len(left)
        for text in left:
            print(f"{language}: {text!r}")
        print(f"{language}: {len(list(catalog)) - 1} texts, {len(left)} to translate")
        if not options.check:
            (LOCALE / f"{language}.po").write_bytes(_file(language, catalog))
    sys.exit(bool(options.check and lacking))


if __name__ == "__main__":
    main()
