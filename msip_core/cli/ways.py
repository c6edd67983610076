"""Options of the table (msip_core.options) as Typer wants them, for runs and for studies."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from msip_core.options import OPTIONS, Kind, Option


def as_typer(option: Option, kind: Kind) -> Any:
    """Flag, help, limits and default of one option."""
    flags = [option.flag] if option.flag else []
    return typer.Option(
        *flags,
        help=option.help,
        metavar=option.metavar,
        min=option.least,
        max=option.most,
        show_default=option.default(kind) or False,
    )


def with_options(
    function: Callable[..., Any], kind: Kind, more: Mapping[str, tuple[Any, Any, Any]]
) -> Callable[..., Any]:
    """A verb `function(session, **given)` with all options of a kind of run.

    Args:
        more: name -> type, Typer's option and default, after those of the table.
    """
    table = {o.name: (o.type | None, as_typer(o, kind), None) for o in OPTIONS[kind]}
    session = next(iter(inspect.signature(function, eval_str=True).parameters.values()))
    parameters = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[type_, info]
        )
        for name, (type_, info, default) in {**table, **more}.items()
    ]
    function.__signature__ = inspect.Signature([session, *parameters])  # type: ignore[attr-defined]
    return function


_TIMED = {o.name: as_typer(o, "prune") for o in OPTIONS["prune"] if o.name.startswith("latency_")}
LatencyDevice = Annotated[str | None, _TIMED["latency_device"]]
LatencyFormatName = Annotated[str | None, _TIMED["latency_format"]]
LatencyPrecisionName = Annotated[str | None, _TIMED["latency_precision"]]
LatencyBatch = Annotated[int | None, _TIMED["latency_batch"]]


def gpu_of(latency_device: str | None) -> str | None:
    """The device of a run whose milliseconds are measured on this one, where that is a GPU by name:
    it is the one that the run is for."""
    return latency_device if (latency_device or "").startswith("cuda") else None
