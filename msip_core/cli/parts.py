"""Which module knows which verb: a command loads the one it needs, `--help` all of them."""

from __future__ import annotations

from importlib import import_module

import typer

# In the order that `--help` shows.
PARTS: dict[str, tuple[str, ...]] = {
    "house": ("doctor", "serve", "demo", "methods"),
    "data": ("data",),
    "work": ("train", "prune"),
    "plate": ("plate",),
    "runs": ("runs",),
    "computers": ("computers",),
    "models": ("models",),
    "studies": ("study",),
    "look": ("predict", "compare", "latency", "export"),
    "explaining": ("explain",),
}


def parts_for(word: str | None) -> tuple[str, ...]:
    """The modules that a command needs whose first word this is; all, where that is no verb."""
    found = tuple(part for part, verbs in PARTS.items() if word in verbs)
    return found or tuple(PARTS)


def add_part(root: typer.Typer, part: str) -> None:
    """Give the root the verbs of one module."""
    module = import_module(f"msip_core.cli.{part}")
    if hasattr(module, "register"):
        module.register(root)
    else:
        root.add_typer(module.app)
