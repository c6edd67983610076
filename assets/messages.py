"""Bring the translation catalogs up to date with the texts in the code.

    python assets/messages.py            writes msip_core/locale/<language>.po
    python assets/messages.py --check    fails if a text is missing there or not translated

Two kinds of texts: those that pages and views pass to `t`, `tn` and `mark` (Babel finds them), and
the sentences that are stored in English and translated when shown: the first argument of every
error of msip_core, and the messages of milestones and progress. Of an f-string the template is
kept, its values numbered: "{0} of {1} images".
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from msip_core.language import ENGLISH, LANGUAGES, LOCALE, SENTENCE  # noqa: E402

KEYWORDS = {"t": None, "tn": (1, 2), "mark": None}
SPOKEN = ("pages", "msip_core/views")  # where `t` is called
# Calls whose text is stored in English: the class, and where its text stands.
STORED = {"MilestoneRecord": "message", "ProgressRecord": "message"}
PROGRESS = ("report", "progress", "tell")  # callbacks of long work that take a message


def collect() -> Catalog:
    """Every text of the code, in the order of files and lines."""
    catalog = Catalog(project="MSIP Lab", charset="utf-8")
    for folder in SPOKEN:
        found = extract_from_dir(ROOT / folder, method_map=[("**.py", "python")], keywords=KEYWORDS)
        for file, _, message, _, _ in sorted(found, key=lambda item: (item[0], item[1])):
            catalog.add(message, locations=[(f"{folder}/{file}", 0)])
    for path in sorted((ROOT / "msip_core").rglob("*.py")):
        where = path.relative_to(ROOT).as_posix()
        for template in _sentences(ast.parse(path.read_text(encoding="utf-8"))):
            catalog.add(template, context=SENTENCE, locations=[(where, 0)])
    return catalog


def _sentences(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in STORED:
            texts = [k.value for k in node.keywords if k.arg == STORED[name]]
        elif name.endswith("Error") and node.args:
            texts = [node.args[0]]
        elif name in PROGRESS:
            texts = [*node.args, *(k.value for k in node.keywords)]
        else:
            continue
        for text in texts:
            yield from _templates(text)


def _templates(node: ast.expr) -> Iterator[str]:
    """Templates of a text; both of an either-or. Texts without a word are no sentences."""
    if isinstance(node, ast.IfExp):
        yield from _templates(node.body)
        yield from _templates(node.orelse)
        return
    pieces: list[str] = []
    slots = 0
    for part in node.values if isinstance(node, ast.JoinedStr) else [node]:
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            pieces.append(part.value)
        elif isinstance(part, ast.FormattedValue):
            pieces.append(f"{{{slots}}}")
            slots += 1
        else:
            return
    text = "".join(pieces)
    fixed = "".join(piece for piece in pieces if not piece.startswith("{"))
    if sum(sign.isalpha() for sign in fixed) >= 3:
        yield text


def updated(language: str) -> Catalog:
    """The catalog of a language with the texts of the code of now."""
    path = LOCALE / f"{language}.po"
    old = Catalog(locale=language)
    if path.is_file():
        with path.open("rb") as file:
            old = read_po(file, locale=language)
    new = Catalog(locale=language, project="MSIP Lab", charset="utf-8", fuzzy=False)
    new.revision_date = new.creation_date = datetime(2026, 1, 1, tzinfo=UTC)  # no needless diffs
    for message in collect():
        if message.id:
            known = old.get(message.id, context=message.context)
            new.add(
                message.id, known.string if known else None, locations=message.locations,
                context=message.context,
            )  # fmt: skip
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
            content = io.BytesIO()
            write_po(content, catalog, width=100, sort_by_file=True, include_lineno=False)
            (LOCALE / f"{language}.po").write_bytes(content.getvalue())
    sys.exit(bool(options.check and lacking))


if __name__ == "__main__":
    main()
