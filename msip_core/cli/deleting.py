"""Deleting for good, the same for every kind of thing: what hangs on it is told, then one yes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from msip_core.cli.verbs import Answer
from msip_core.errors import ConfigError
from msip_core.messages import msg

if TYPE_CHECKING:
    from msip_core.studies.dependants import Dependants

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def delete_for_good(
    what: str, name: str, found: Dependants, delete: Callable[[], object], *, yes: bool
) -> Answer:
    """Ask, then delete.

    Args:
        what: the kind of thing ("dataset").
        found: what hangs on it.
        delete: does it; refuses where a run works on it.

    Raises:
        ConfigError: nobody can be asked and `--yes` is not there.
    """
    hanging = {"runs": found.runs, "models": found.models, "studies": found.studies}
    made = "; ".join(f"{kind}: {', '.join(ids)}" for kind, ids in hanging.items() if ids)
    if made:
        told = msg("What was made with '{name}' stays: {made}.", name=name, made=made)
    else:
        told = msg("Nothing was made with '{name}'.", name=name)
    if not (yes or found.working):
        if not sys.stdin.isatty():
            raise ConfigError(
                "{told} Add --yes to delete the {what} for good.", told=told, what=what
            )
        if not typer.confirm(f"{told} Delete the {what} for good?", err=True):
            return Answer({"deleted": None, **hanging}, "Nothing was deleted.", 1)
    delete()
    return Answer({"deleted": name, **hanging}, f"The {what} '{name}' is deleted. {told}")
