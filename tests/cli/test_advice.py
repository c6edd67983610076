"""What messages and the README tell people to type is there: every option, every verb."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from msip_core.cli.main import app
from tests.fresh import ROOT

_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
_COMMAND = re.compile(r"python -m msip_core(?!\.)((?: [a-z-]+)+)")
# Options of other programs that the code calls or names.
_OF_OTHERS = {
    "msip_core/gpus.py", "msip_core/runs/provenance.py", "msip_core/runs/verify.py",
    "msip_core/runs/worker.py", "msip_core/runs/fresh_process.py", "msip_core/computers.py",
    "msip_core/data/readers/registry.py", "msip_core/runs/computers.py",
    "msip_core/runs/far/keeper.py", "msip_core/runs/far/ray_cluster.py",
    "msip_core/runs/executors.py", "msip_core/views/inline.py", "msip_core/views/paper_runs.py",
    "pages/kit/machine.py",
}  # fmt: skip


def _verbs(command: click.Command, path: str = "") -> Iterator[tuple[str, click.Command]]:
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from _verbs(inner, f"{path} {name}".strip())
    else:
        yield path, command


@pytest.fixture(scope="module")
def verbs() -> dict[str, click.Command]:
    return dict(_verbs(typer.main.get_command(app)))


def _options(command: click.Command) -> set[str]:
    found = {"--help", "--json", "--workspace"}
    for parameter in command.params:
        found |= {word for word in (*parameter.opts, *parameter.secondary_opts) if word[:2] == "--"}
    return found


def _sentences() -> Iterator[tuple[str, int, str]]:
    """Every text of the code that is not a docstring: f-strings with {} for their values."""
    for folder in ("msip_core", "pages"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            where = path.relative_to(ROOT).as_posix()
            tree = ast.parse(path.read_text(encoding="utf-8"))
            docs = {
                id(node.body[0].value)
                for node in ast.walk(tree)
                if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
                and node.body
                and isinstance(node.body[0], ast.Expr)
            }
            for node in ast.walk(tree):
                if isinstance(node, ast.JoinedStr):
                    parts = [p.value if isinstance(p, ast.Constant) else "{}" for p in node.values]
                    yield where, node.lineno, "".join(map(str, parts))
                elif isinstance(node, ast.Constant) and id(node) not in docs:
                    yield where, node.lineno, str(node.value)


def test_every_option_that_a_message_names_is_an_option(verbs: dict[str, click.Command]) -> None:
    known = set().union(*map(_options, verbs.values()))
    unknown = [
        f"{where}:{line}: {option}"
        for where, line, text in _sentences()
        if where not in _OF_OTHERS
        for option in _OPTION.findall(text)
        if option not in known
    ]

    assert unknown == []


def test_a_message_of_one_verb_names_options_of_that_verb(verbs: dict[str, click.Command]) -> None:
    """A function that is a verb may only speak of its own options."""
    wrong = []
    for name, command in verbs.items():
        callback = getattr(command.callback, "__wrapped__", command.callback)
        code = callback.__code__
        text = " ".join(c for c in code.co_consts if isinstance(c, str) and c != callback.__doc__)
        said = set(_OPTION.findall(text))
        wrong += [f"{name}: {option}" for option in said - _options(command)]

    assert wrong == []


def test_every_command_that_a_message_names_is_a_verb(verbs: dict[str, click.Command]) -> None:
    wrong = []
    for where, line, text in _sentences():
        for words in _COMMAND.findall(text):
            first = words.split()
            if not any(path.split() == first[: len(path.split())] for path in verbs):
                wrong.append(f"{where}:{line}: {words.strip()}")

    assert wrong == []


def _readme_commands(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"python -m msip_core (?!\{)[^`\n]*", text)
    return [line.partition("#")[0].strip() for line in lines]


@pytest.mark.parametrize("line", _readme_commands(ROOT / "README.md"))
def test_the_readme_can_be_typed(line: str, verbs: dict[str, click.Command]) -> None:
    words = shlex.split(line)[3:]
    path = next(
        name
        for name in sorted(verbs, key=len, reverse=True)
        if name.split() == words[: len(name.split())]
    )

    # Parsed as the command line would, and not run: a wrong option or value raises.
    verbs[path].make_context(path, words[len(path.split()) :])
