"""A YOLOv8 detector as a description: what it is made of, in words and numbers, without code.

A `Part` is one module: its kind, its settings, its tensors and the parts below it. It is sketched
from a module in memory or from what a pickle says of one, and built into a new module whose kind,
settings and shapes were checked. Nothing else of the original comes along: no hook, no method, no
attribute that this version of YOLOv8 does not read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from msip_core.detector.kinds import (
    KINDS,
    LAYERS,
    LISTED,
    REQUIRED,
    Facts,
    FusedError,
    HookedError,
    Kind,
    UnfitError,
)
from msip_core.detector.pickles import Made, TensorRef

MAX_PARTS = 20_000  # with repetition; a YOLOv8x has a thousand
_MAX_DEPTH = 16


class Row(TypedDict):
    """A part of a flat list: `parts` are numbers of rows before it, by name."""

    kind: str
    facts: Facts
    parts: dict[str, int]
    tensors: list[str]


@dataclass(eq=False)
class Part:
    """One module.

    Attributes:
        kind: a key of KINDS.
        facts: settings by name, as they were found.
        tensors: parameters and buffers by name; TensorRef until they are read.
        parts: the modules below, by name, in order.
    """

    kind: str
    facts: Facts = field(default_factory=dict)
    tensors: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)


# --- from a module, in memory or pickled ----------------------------------------


def sketch(module: nn.Module | Made) -> Part:
    """The description of a module, tensors as they are. Modules that are shared stay shared.

    Raises:
        UnfitError: it holds something that no YOLOv8 detector is made of.
    """
    return _sketch(module, {}, ())


def _sketch(module: Any, known: dict[int, Part], above: tuple[int, ...]) -> Part:
    if id(module) in known:
        return known[id(module)]
    if id(module) in above:
        raise UnfitError("one of its layers contains itself")
    if len(above) > _MAX_DEPTH:
        raise UnfitError("its layers lie deeper in each other than in any YOLOv8")
    name, state = _what(module)
    kind = KINDS.get(name)
    if kind is None:
        raise UnfitError("it holds a {name}, which is no part of YOLOv8", name=name)
    if "forward" in state:
        raise FusedError
    if any(value for key, value in state.items() if str(key).endswith("_hooks")):
        raise HookedError
    below = _table(state, "_modules")
    if name in ("Conv", "DWConv") and "bn" not in below:
        raise FusedError
    part = Part(
        name,
        {fact: state[fact] for fact in kind.facts if fact in state},
        {
            tensor: value
            for place in ("_parameters", "_buffers")
            for tensor, value in _table(state, place).items()
            if value is not None
        },
        {
            str(key): _sketch(item, known, (*above, id(module)))
            for key, item in below.items()
            if item is not None
        },
    )
    known[id(module)] = part
    return part


def _what(module: Any) -> tuple[str, Mapping[str, Any]]:
    if isinstance(module, nn.Module):
        return type(module).__name__, vars(module)
    if isinstance(module, Made) and isinstance(module.state, dict):
        return module.name.rpartition(".")[2], module.state
    raise UnfitError("one of its layers is no layer")


def _table(state: Mapping[str, Any], name: str) -> dict[Any, Any]:
    value = state.get(name)
    if not isinstance(value, dict):
        raise UnfitError("one of its layers has lost its parts")
    return value


# --- to and from JSON ---------------------------------------------------------------


def to_json(part: Part) -> tuple[list[Row], dict[str, Tensor]]:
    """A flat list of parts, each after those that it holds, and the tensors by "number.name"."""
    rows: list[Row] = []
    tensors: dict[str, Tensor] = {}
    places: dict[int, int] = {}

    def place(part: Part) -> int:
        if id(part) not in places:
            parts = {name: place(below) for name, below in part.parts.items()}
            places[id(part)] = len(rows)
            tensors.update({f"{len(rows)}.{name}": t for name, t in part.tensors.items()})
            rows.append(Row(kind=part.kind, facts=part.facts, parts=parts, tensors=[*part.tensors]))
        return places[id(part)]

    place(part)
    return rows, tensors


def from_json(rows: Any, tensors: Mapping[str, Any]) -> Part:
    """The description whose last row is the whole (see `to_json`).

    Raises:
        UnfitError: the rows do not describe one.
    """
    made: list[Part] = []
    try:
        for row in rows:
            if not 0 <= min(row["parts"].values(), default=0) <= len(made):
                raise IndexError
            made.append(
                Part(
                    str(row["kind"]),
                    dict(row["facts"]),
                    {name: tensors[f"{len(made)}.{name}"] for name in row["tensors"]},
                    {str(name): made[place] for name, place in row["parts"].items()},
                )
            )
        return made[-1]
    except (TypeError, KeyError, IndexError, AttributeError, ValueError) as error:
        raise UnfitError("its description is damaged") from error


# --- to a module -----------------------------------------------------------------------


def build(part: Part, read: Callable[[TensorRef], Tensor]) -> nn.Module:
    """A new module as described: fp32, on the CPU, in eval mode.

    Args:
        read: gives the tensors that are still references.

    Raises:
        UnfitError: kinds, settings or shapes that do not belong together.
    """
    if _size(part, {}, 0) > MAX_PARTS:
        raise UnfitError("it has more parts than any YOLOv8")
    return _build(part, read, {}).eval()


def _size(part: Part, known: dict[int, int], depth: int) -> int:
    if depth > _MAX_DEPTH:
        raise UnfitError("its layers lie deeper in each other than in any YOLOv8")
    if id(part) not in known:
        known[id(part)] = 1 + sum(_size(p, known, depth + 1) for p in part.parts.values())
    return known[id(part)]


def _build(
    part: Part, read: Callable[[TensorRef], Tensor], made: dict[int, nn.Module]
) -> nn.Module:
    if id(part) in made:
        return made[id(part)]
    kind = KINDS.get(part.kind)
    if kind is None:
        raise UnfitError("it holds a {kind}, which is no part of YOLOv8", kind=part.kind)
    _check_parts(part, kind)
    facts = _checked_facts(part, kind)
    tensors = _checked_tensors(part, kind, read)
    module = kind.make(facts, tensors)
    for name, value in tensors.items():
        _place(module, name, value)
    for name, below in part.parts.items():
        module.add_module(name, _build(below, read, made))
    made[id(part)] = module
    return module


def _check_parts(part: Part, kind: Kind) -> None:
    if kind.parts is None:
        allowed = LAYERS if part.kind == "Layers" else LISTED
        for name, below in part.parts.items():
            if below.kind not in allowed or not name.isdecimal():
                raise UnfitError("a {kind} lies where YOLOv8 has none", kind=below.kind)
        return
    for name, kinds in kind.parts.items():
        if name not in part.parts:
            raise UnfitError("a {kind} lacks its part '{name}'", kind=part.kind, name=name)
        if part.parts[name].kind not in kinds:
            raise UnfitError(
                "a {kind} has a {found} for '{name}'",
                kind=part.kind,
                found=part.parts[name].kind,
                name=name,
            )
    for name in part.parts:
        if name not in kind.parts:
            raise UnfitError(
                "a {kind} has a part more than in YOLOv8, '{name}'", kind=part.kind, name=name[:80]
            )


def _checked_facts(part: Part, kind: Kind) -> Facts:
    facts: dict[str, object] = {}
    for name, (check, default) in kind.facts.items():
        value = part.facts.get(name, default)
        if value is REQUIRED:
            raise UnfitError("a {kind} lacks its setting '{name}'", kind=part.kind, name=name)
        if value is default:
            facts[name] = value
            continue
        try:
            facts[name] = check(value)
        except (ValueError, TypeError, IndexError) as error:
            raise UnfitError(
                "a {kind} has a '{name}' that cannot be", kind=part.kind, name=name
            ) from error
    return facts


def _checked_tensors(
    part: Part, kind: Kind, read: Callable[[TensorRef], Tensor]
) -> dict[str, Tensor]:
    needed = {name.rstrip("?"): not name.endswith("?") for name in kind.tensors}
    tensors: dict[str, Tensor] = {}
    for name, must in needed.items():
        value = part.tensors.get(name)
        if value is None and must:
            raise UnfitError("a {kind} lacks its '{name}'", kind=part.kind, name=name)
        if value is None:
            continue
        if not isinstance(value, Tensor | TensorRef):
            raise UnfitError("a {kind} has no numbers for '{name}'", kind=part.kind, name=name)
        value = read(value) if isinstance(value, TensorRef) else value
        counts = name == "num_batches_tracked"
        if counts == value.is_floating_point():
            raise UnfitError(
                "the numbers of a {kind}, '{name}', are of the wrong type",
                kind=part.kind,
                name=name,
            )
        tensors[name] = value if counts else value.float()
    if set(part.tensors) - set(needed):
        raise UnfitError("a {kind} has weights more than in YOLOv8", kind=part.kind)
    return tensors


def _place(module: nn.Module, name: str, value: Tensor) -> None:
    """Put a tensor where the empty module has one of its shape."""
    old = getattr(module, name, None)
    if not isinstance(old, Tensor) or old.shape != value.shape:
        raise UnfitError(
            "the '{name}' of a {type_name} has the wrong shape",
            name=name,
            type_name=type(module).__name__,
        )
    if isinstance(old, nn.Parameter):
        setattr(module, name, nn.Parameter(value.detach()))
    else:
        setattr(module, name, value.detach())


def is_finite(module: nn.Module) -> bool:
    """Whether every weight is a number, neither NaN nor infinite."""
    return all(
        math.isfinite(float(v.sum())) or bool(torch.isfinite(v).all())
        for v in module.state_dict().values()
        if v.is_floating_point()
    )
