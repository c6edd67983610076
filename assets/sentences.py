"""Find the texts of msip_core that are stored in English and translated when they are shown.

They have no mark in the code, since the processes that write them know no reader: an error, a line
of a run's diary, the reason why a file was left out, the label of a method. So every text that
reads like language is taken: a sentence, or a phrase of two words ("well {0}" is a name). Single
words are taken where only a reader can be meant: errors, messages of progress, labels, members of a
StrEnum, values within a sentence. What stays English is known by its place (`SILENT`, `MUTE`).

Of a text with values the template is kept, "{0} of {1} images". Texts that are put together, also
over several lines of a function, give one template for every way that they can come out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

# Terminal, figures and pictures stay English (not their errors); SQL and pickles are no language.
SILENT = (
    "cli", "views", "demo.py", "data/preview.py", "runs/migrations.py", "runs/store.py",
    "runs/index_file.py", "repair.py",
    "detector/pickles.py", "studies/outputs.py", "studies/report.py",
)  # fmt: skip
# Calls whose texts no reader of the screen sees: logs, patterns, looking up, the terminal.
MUTE = frozenset((
    "debug", "info", "warning", "error", "exception", "basicConfig", "compile", "add_argument",
    "ArgumentParser", "Field", "get", "startswith", "endswith", "removeprefix",
))  # fmt: skip
TOLD = frozenset(("report", "progress", "tell"))  # callbacks of long work that take a message
NAMED = frozenset(("message", "reason", "note", "what", "found"))  # arguments that are texts
LABELS = {"Entry": 2, "_criterion": 1}  # calls of the catalog, and where their label stands
# Words that the code puts into sentences from elsewhere, or in front of them.
WORDS = (
    "Failed. {0}", "Interrupted. {0}", "Cancelled. {0}", "baseline: {0}", "pruned: {0}",
    "{0}.pt: {1}", "failed: {0}", "interrupted: {0}", "cancelled: {0}",
    "Train", "Pretrain", "train", "val", "test", "dataset", "model", "run",
    "donor", "series", "plate", "well", "channels", "pages",
    # pydantic's, in the sentence on settings that cannot be used
    "Value error, {0}", "Field required", "Extra inputs are not permitted",
    "Input should be a valid integer", "Input should be a valid number",
    "Input should be greater than {0}", "Input should be greater than or equal to {0}",
    "Input should be less than {0}", "Input should be less than or equal to {0}",
)  # fmt: skip

Pieces = tuple[str | None, ...]  # a text; None is a value
Scope = Mapping[str, Sequence[ast.expr]]  # what the names of a function can stand for
_ASIDE = ("annotation", "returns", "slice", "key")
_ENOUGH = 12  # ways of one text; with more, a value is a value
_SENTENCE = re.compile(r"(?=.*[a-z]{3})[A-Z'{][^\n]*[.!?]")
_WORD = re.compile(r"(?<![\w/.-])(?:[A-Za-z]+|\{\d+\})(?![\w/])")
_LONG = re.compile(r"(?<![\w/.-])[A-Za-z]{3,}(?![\w/])")
_ONE = re.compile(r"\W*[A-Za-z-]+\W*")
_NOT_LANGUAGE = re.compile(r"[\n`]|^[,;:.]|^\s|\s$|\b(?:19|20)\d\d\b")  # parts, code, citations


def sentences(root: Path) -> Iterator[tuple[str, str]]:
    """(template, file that holds it) for all of msip_core, in the order of files and lines."""
    for path in sorted((root / "msip_core").rglob("*.py")):
        where = path.relative_to(root).as_posix()
        silent = where.removeprefix("msip_core/").startswith(SILENT)
        finder = _Finder(silent)
        for template in finder.walk(ast.parse(path.read_text(encoding="utf-8")), {}):
            yield template, where
    for word in WORDS:
        yield word, "assets/sentences.py"


class _Finder:
    """Walks through a module; `silent`: only its errors are for readers."""

    def __init__(self, silent: bool) -> None:
        self.silent = silent

    def walk(self, node: ast.AST, scope: Scope, loose: bool = False) -> Iterator[str]:
        """Templates below `node`; `loose`: one word is enough."""
        if _is_text(node):
            for pieces in _ways(node, scope):
                template = _template(pieces)
                if _reads(template, loose) and (loose or not self.silent):
                    yield template
            for value in _values(node, scope):
                yield from self.walk(value, {}, loose=loose or not self.silent)
        elif isinstance(node, ast.Call):
            yield from self._call(node, scope)
        elif isinstance(node, ast.IfExp | ast.BoolOp):
            for child in ast.iter_child_nodes(node):
                yield from self.walk(child, scope, loose)
        else:
            if isinstance(node, ast.FunctionDef):
                scope = {**scope, **_bound(node.body, {})}
            words = isinstance(node, ast.ClassDef) and "StrEnum" in map(_name, node.bases)
            for child in _children(node):
                is_word = words and isinstance(child, ast.Assign)
                yield from self.walk(child.value if is_word else child, scope, bool(is_word))

    def _call(self, node: ast.Call, scope: Scope) -> Iterator[str]:
        name = _name(node.func)
        yield from self.walk(node.func, scope)
        if name in MUTE:
            return
        for place, argument in enumerate(node.args):
            told = name in TOLD and not self.silent
            first = place == 0 and name.endswith("Error")
            label = place == LABELS.get(name)
            yield from self.walk(argument, scope, loose=told or first or label)
        for keyword in node.keywords:
            yield from self.walk(keyword.value, scope, keyword.arg in NAMED and not self.silent)


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """Without docstrings, annotations, keys, what is compared, and lists of signs to look for."""
    is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    is_signs = isinstance(node, ast.Assign) and re.match("_[A-Z]", _name(node.targets[0]))
    if is_docstring or isinstance(node, ast.Compare) or (is_signs and _is_plain(node.value)):
        return
    for field, value in ast.iter_fields(node):
        if field in _ASIDE or (field == "keys" and isinstance(node, ast.Dict)):
            continue
        values = value if isinstance(value, list) else [value]
        yield from (v for v in values if isinstance(v, ast.AST))


def _is_plain(node: ast.expr) -> bool:
    return not any(isinstance(part, ast.Call) for part in ast.walk(node))


def _is_text(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _is_text(node.left) or _is_text(node.right)
    if isinstance(node, ast.IfExp):
        return False
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


# --- the ways that a text can come out ---------------------------------------------


def _ways(node: ast.expr, scope: Scope) -> list[Pieces]:
    ways: list[Pieces] = []
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        ways = [(node.value,)]
    elif isinstance(node, ast.JoinedStr):
        ways = _joined([_part_ways(node.values, place, scope) for place in range(len(node.values))])
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        ways = _joined([_ways(node.left, scope), _ways(node.right, scope)])
    elif isinstance(node, ast.IfExp):
        ways = _ways(node.body, scope) + _ways(node.orelse, scope)
    elif isinstance(node, ast.Name):
        # Without itself: `text = text + "."`.
        rest = {name: values for name, values in scope.items() if name != node.id}
        ways = [way for value in scope.get(node.id, ()) for way in _ways(value, rest)]
    return ways if 0 < len(ways) <= _ENOUGH else [(None,)]


def _part_ways(parts: Sequence[ast.expr], place: int, scope: Scope) -> list[Pieces]:
    """Of one part of an f-string. A value that may be nothing, or with but a space to the next
    value, could not be told from its neighbours: it is written out."""
    part = parts[place]
    if not isinstance(part, ast.FormattedValue):
        return _ways(part, scope)
    ways = _ways(part.value, scope)
    near = [p.value for p in parts[max(0, place - 1) : place + 2] if isinstance(p, ast.Constant)]
    return ways if ("",) in ways or " " in near else [(None,)]


def _joined(parts: list[list[Pieces]]) -> list[Pieces]:
    return [tuple(piece for way in ways for piece in way) for ways in product(*parts)]


def _template(pieces: Pieces) -> str:
    text, slots = "", 0
    for before, piece in zip((..., *pieces), pieces):
        if piece is not None:
            text += piece
        elif before is not None:  # two values side by side are one
            text += f"{{{slots}}}"
            slots += 1
    return text.removesuffix("\n")


def _values(node: ast.AST, scope: Scope) -> Iterator[ast.expr]:
    """The values in a text, and the texts that they can stand for."""
    if isinstance(node, ast.JoinedStr):
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                yield part.value
                found = scope.get(_name(part.value), ())
                yield from (v for v in found if isinstance(v, ast.IfExp) or _is_text(v))
    elif isinstance(node, ast.BinOp):
        for side in (node.left, node.right):
            yield from _values(side, scope) if _is_text(side) else [side]


def _bound(body: Sequence[ast.stmt], scope: dict[str, list[ast.expr]]) -> Scope:
    """What each name of a function can stand for; `text += …` makes it longer."""
    for statement in body:
        if isinstance(statement, ast.Assign):
            for name, value in _assigned(statement.targets[0], statement.value):
                scope.setdefault(name, []).append(value)
        elif isinstance(statement, ast.AugAssign) and isinstance(statement.op, ast.Add):
            name = _name(statement.target)
            scope[name] = [
                ast.BinOp(old, ast.Add(), statement.value) for old in scope.get(name, ())
            ]
        for inner in ("body", "orelse", "finalbody"):
            shorter = {name: list(values) for name, values in scope.items()}
            _bound(getattr(statement, inner, []), scope)
            for name, values in shorter.items():
                scope[name] += [value for value in values if value not in scope[name]]
    return scope


def _assigned(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, its in zip(target.elts, value.elts):
            yield from _assigned(one, its)


def _reads(template: str, loose: bool) -> bool:
    """Whether a text is for readers."""
    if _NOT_LANGUAGE.search(template):
        return False
    if loose:
        fixed = re.sub(r"\{\d+\}", "", template)
        enough = sum(sign.isalpha() for sign in fixed) >= 3
        return enough and (" " in template or bool(_ONE.fullmatch(template)))
    if _SENTENCE.fullmatch(template):
        return True
    words = _WORD.findall(template)
    fixed = [word for word in words if not word.startswith("{")]
    return " " in template and bool(_LONG.search(template)) and (len(fixed) > 1 or len(words) > 2)
