"""How a function becomes a verb: it takes a Session and returns an Answer.

Every verb gets `--json` and `--workspace`, which may also stand before the verb. What the verb
returns is printed once, by `main`: as one JSON document, or as text for a person.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from msip_core.cli.console import clean_stdout
from msip_core.errors import ConfigError
from msip_core.settings import get_settings
from msip_core.workspace import Workspace

JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON document on stdout; progress goes to stderr.")
]
WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        help="Folder with datasets, models and runs.",
        metavar="DIR",
        show_default=False,
    ),
]


_LARGEST = 2**63 - 1  # that databases and tables hold


@dataclass(frozen=True, slots=True)
class Session:
    """Where a verb works. The workspace folder is made when a verb first asks for it."""

    root: Path | None = None

    @property
    def workspace(self) -> Workspace:
        return Workspace.open(self.root or get_settings().workspace)

    def isolated_workspace(self) -> Workspace:
        """The workspace, for verbs that go on to import torch and Ultralytics."""
        workspace = self.workspace
        workspace.isolate_libraries()
        return workspace


@dataclass(frozen=True, slots=True)
class Answer:
    """What a verb found out.

    Attributes:
        document: plain JSON values.
        text: the same for a person.
        exit_code: 0 done, 1 the work did not end well.
    """

    document: Mapping[str, object]
    text: str
    exit_code: int = 0


def verb(app: typer.Typer, name: str | None = None) -> Callable[..., Callable[..., Answer]]:
    """Register `function(session, …) -> Answer` as a verb of `app`.

    The parameters after `session` are the verb's own, declared as Typer wants them. One whose type
    is a dataclass stands for its fields: options that several verbs share.
    """

    def register(function: Callable[..., Answer]) -> Callable[..., Answer]:
        asked = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        shared: dict[str, Any] = {p.name: p.annotation for p in asked if is_dataclass(p.annotation)}
        parameters = [_parameter("context", typer.Context)]
        for p in asked:
            own = _options(p.annotation) if p.name in shared else [p]
            parameters += [o.replace(kind=inspect.Parameter.KEYWORD_ONLY) for o in own]
        parameters += [
            _parameter("json", JsonOption, False),
            _parameter("workspace", WorkspaceOption, None),
        ]

        @wraps(function)
        def call(**given: Any) -> Answer:
            before_the_verb: Path | None = given.pop("context").obj
            given.pop("json")  # `main` asks the words themselves: it must know before they parse
            _check_numbers(given)
            root = given.pop("workspace") or before_the_verb
            for group, kind in shared.items():
                given[group] = kind(**{o.name: given.pop(o.name) for o in _options(kind)})
            with clean_stdout():
                return function(Session(root), **given)

        # Typer reads both: the signature for defaults, the annotations for options and help.
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in parameters}
        app.command(name)(call)
        return function

    return register


def _check_numbers(given: Mapping[str, object]) -> None:
    """Refuse numbers that nothing can be set to; ranges of options let NaN pass."""
    for name, value in given.items():
        for number in value if isinstance(value, list | tuple) else (value,):
            is_float, is_int = isinstance(number, float), isinstance(number, int)
            if (is_float and not math.isfinite(number)) or (is_int and abs(number) > _LARGEST):
                raise ConfigError(
                    "--{replace} cannot be {number}: give a finite number.",
                    replace=name.strip("_").replace("_", "-"),
                    number=str(number)[:40],
                )


def _options(kind: type) -> list[inspect.Parameter]:
    """The fields of a dataclass, as parameters."""
    return list(inspect.signature(kind, eval_str=True).parameters.values())


def _parameter(
    name: str, annotation: Any, default: Any = inspect.Parameter.empty
) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )
