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
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from ultralytics.nn.modules import DFL, SPPF, Bottleneck, C2f, Concat, Conv, Detect

from msip_core.detector.c2f import C2fV2
from msip_core.detector.pickles import Made, TensorRef

MAX_PARTS = 20_000  # with repetition; a YOLOv8x has a thousand
_MAX_DEPTH = 16
_MOST = 64  # the largest kernel, padding, group... no detector comes near it

Fact = Callable[[Any], Any]  # checks a setting and brings it into one form; ValueError if wrong


class UnfitError(Exception):
    """It is no detector that can be worked on; the text says why, for the end of a sentence."""


class FusedError(UnfitError):
    """Batch norms were folded away for deployment."""


class HookedError(UnfitError):
    """It carries functions to be called."""


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
    facts: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)


class Kind(NamedTuple):
    """What a module of one class may consist of.

    Attributes:
        make: an empty module, from the checked settings and the tensors.
        facts: its settings; one with a default may be missing.
        parts: for each module below the kinds that it may be of; None: any, any number.
        tensors: names of parameters and buffers; with "?" it may be missing.
    """

    make: Callable[[dict[str, Any], dict[str, Tensor]], nn.Module]
    facts: Mapping[str, tuple[Fact, Any]] = {}
    parts: Mapping[str, tuple[str, ...]] | None = {}
    tensors: tuple[str, ...] = ()


_REQUIRED = object()


def _whole(low: int, high: int) -> Fact:
    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError
        return value

    return check


def _number(low: float, high: float) -> Fact:
    def check(value: Any) -> float:
        if type(value) not in (int, float) or not low <= value <= high:
            raise ValueError
        return float(value)

    return check


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _one_of(*values: Any) -> Fact:
    def check(value: Any) -> Any:
        if not any(type(value) is type(v) and value == v for v in values):
            raise ValueError
        return value

    return check


def _pair(low: int, high: int = _MOST) -> Fact:
    single = _whole(low, high)

    def check(value: Any) -> Any:
        if isinstance(value, list | tuple):
            if len(value) != 2:
                raise ValueError
            return single(value[0]), single(value[1])
        return single(value)

    return check


def _doubling(value: Any) -> float:
    values = list(value) if isinstance(value, list | tuple) else [value]
    if len(values) not in (1, 2) or any(v != 2 or isinstance(v, bool) for v in values):
        raise ValueError
    return 2.0


def _sources(value: Any) -> Any:
    one = _whole(-_MAX_LAYERS, _MAX_LAYERS)
    if isinstance(value, list | tuple):
        return [one(source) for source in value]
    return one(value)


_MAX_LAYERS = 2_000
# What the detector's forward reads of a layer: where its input comes from, and its own number.
_ROUTING: dict[str, tuple[Fact, Any]] = {
    "f": (_sources, None), "i": (_whole(0, _MAX_LAYERS), None),
}  # fmt: skip
_SMALL = _whole(0, 2**20)


def _bare(cls: type[nn.Module]) -> Callable[[dict[str, Any], dict[str, Tensor]], nn.Module]:
    """Ultralytics' blocks build their insides themselves; here these come from the description."""

    def make(facts: dict[str, Any], _: dict[str, Tensor]) -> nn.Module:
        module = cls.__new__(cls)
        nn.Module.__init__(module)
        for name, value in facts.items():
            if value is not None:
                setattr(module, name, value)
        return module

    return make


def _called(cls: type[nn.Module]) -> Callable[[dict[str, Any], dict[str, Tensor]], nn.Module]:
    return lambda facts, _: cls(**facts)


def _conv2d(facts: dict[str, Any], tensors: dict[str, Tensor]) -> nn.Module:
    weight, groups = tensors["weight"], facts["groups"]
    if weight.ndim != 4 or weight.numel() == 0 or weight.shape[0] % groups:
        raise UnfitError("a convolution has weights of a wrong shape")
    facts = {name: value for name, value in facts.items() if name not in _UNCHANGED}
    _require_no_growth(facts)
    return nn.Conv2d(
        weight.shape[1] * groups, weight.shape[0], bias="bias" in tensors, device="meta", **facts
    )


_UNCHANGED = ("transposed", "output_padding", *_ROUTING)


def _max_pool(facts: dict[str, Any], _: dict[str, Tensor]) -> nn.Module:
    _require_no_growth(facts)
    return nn.MaxPool2d(**facts)


def _require_no_growth(facts: dict[str, Any]) -> None:
    """No output may be larger than its input: a chain of such would take all memory."""
    reach, around, steps = (
        value if isinstance(value, tuple) else (value, value)
        for value in (facts["kernel_size"], facts["padding"], facts["dilation"])
    )
    if any(2 * p > d * (k - 1) for k, p, d in zip(reach, around, steps, strict=True)):
        raise UnfitError("a layer is padded by more than its kernel covers")


def _batch_norm(facts: dict[str, Any], tensors: dict[str, Tensor]) -> nn.Module:
    facts = {name: facts[name] for name in ("eps", "momentum")}
    return nn.BatchNorm2d(len(tensors["weight"]), device="meta", **facts)


def _prelu(facts: dict[str, Any], tensors: dict[str, Tensor]) -> nn.Module:
    return nn.PReLU(tensors["weight"].numel(), device="meta")


_IN_PLACE = {"inplace": (_flag, False)}
_ACTIVATIONS: dict[str, Kind] = {
    **{cls.__name__: Kind(_called(cls), _IN_PLACE)
       for cls in (nn.SiLU, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Mish)},
    "LeakyReLU": Kind(
        _called(nn.LeakyReLU), {"negative_slope": (_number(0, 10), 0.01), **_IN_PLACE}
    ),
    "ELU": Kind(_called(nn.ELU), {"alpha": (_number(0, 10), 1.0), **_IN_PLACE}),
    "GELU": Kind(_called(nn.GELU), {"approximate": (_one_of("none", "tanh"), "none")}),
    "PReLU": Kind(_prelu, tensors=("weight",)),
}  # fmt: skip
_ANY_ACTIVATION = (*_ACTIVATIONS, "Identity")
_TWO = {"cv1": ("Conv",), "cv2": ("Conv",)}

KINDS: dict[str, Kind] = {
    **_ACTIVATIONS,
    "Identity": Kind(_bare(nn.Identity), _ROUTING),
    "Conv2d": Kind(
        _conv2d,
        {
            "kernel_size": (_pair(1), _REQUIRED), "stride": (_pair(1), _REQUIRED),
            "padding": (_pair(0), _REQUIRED), "dilation": (_pair(1), _REQUIRED),
            "groups": (_whole(1, 2**16), _REQUIRED), "padding_mode": (_one_of("zeros"), "zeros"),
            "transposed": (_one_of(False), False),
            "output_padding": (_one_of((0, 0), [0, 0]), (0, 0)), **_ROUTING,
        },
        tensors=("weight", "bias?"),
    ),
    "BatchNorm2d": Kind(
        _batch_norm,
        {
            "eps": (_number(0, 1), _REQUIRED), "momentum": (_number(0, 1), _REQUIRED),
            "affine": (_one_of(True), True), "track_running_stats": (_one_of(True), True),
        },
        tensors=("weight", "bias", "running_mean", "running_var", "num_batches_tracked?"),
    ),
    "MaxPool2d": Kind(
        _max_pool,
        {
            "kernel_size": (_pair(1), _REQUIRED), "stride": (_pair(1), _REQUIRED),
            "padding": (_pair(0), _REQUIRED), "dilation": (_pair(1), 1),
            "return_indices": (_one_of(False), False), "ceil_mode": (_flag, False),
        },
    ),
    "Upsample": Kind(
        lambda facts, _: _routed(nn.Upsample(None, facts["scale_factor"], facts["mode"]), facts),
        {
            "scale_factor": (_doubling, _REQUIRED), "size": (_one_of(None), None),
            "mode": (_one_of("nearest", "bilinear"), "nearest"), **_ROUTING,
        },
    ),
    "Layers": Kind(_bare(nn.Sequential), parts=None),  # of the whole detector
    "Sequential": Kind(_bare(nn.Sequential), _ROUTING, parts=None),
    "ModuleList": Kind(_bare(nn.ModuleList), parts=None),
    "Conv": Kind(
        _bare(Conv), _ROUTING,
        {"conv": ("Conv2d",), "bn": ("BatchNorm2d",), "act": _ANY_ACTIVATION},
    ),
    "Bottleneck": Kind(_bare(Bottleneck), {"add": (_flag, _REQUIRED), **_ROUTING}, _TWO),
    "C2f": Kind(
        _bare(C2f), {"c": (_SMALL, _REQUIRED), **_ROUTING}, {**_TWO, "m": ("ModuleList",)}
    ),
    "C2fV2": Kind(
        _bare(C2fV2), {"c": (_SMALL, _REQUIRED), **_ROUTING},
        {"cv0": ("Conv",), **_TWO, "m": ("ModuleList",)},
    ),
    "SPPF": Kind(
        _bare(SPPF), {"n": (_whole(1, 16), 3), "add": (_flag, False), **_ROUTING},
        {**_TWO, "m": ("MaxPool2d",)},
    ),
    "Concat": Kind(_bare(Concat), {"d": (_one_of(1), 1), **_ROUTING}),
    "Detect": Kind(
        _bare(Detect),
        {
            "nc": (_whole(1, 100_000), _REQUIRED), "nl": (_whole(1, 8), _REQUIRED),
            "reg_max": (_whole(1, 256), _REQUIRED), "no": (_SMALL, _REQUIRED),
            "inplace": (_flag, True), **_ROUTING,
        },
        {"cv2": ("ModuleList",), "cv3": ("ModuleList",), "dfl": ("DFL", "Identity")},
    ),
    "DFL": Kind(_bare(DFL), {"c1": (_whole(1, 256), _REQUIRED)}, {"conv": ("Conv2d",)}),
}  # fmt: skip
_LISTED = {"Bottleneck", "Sequential", "Conv", "Conv2d"}  # what lists within a layer hold
_LAYERS = {"Conv", "C2f", "C2fV2", "Bottleneck", "SPPF", "Upsample", "Concat", "Identity", "Detect"}


def _routed(module: nn.Module, facts: dict[str, Any]) -> nn.Module:
    for name in _ROUTING:
        setattr(module, name, facts[name])
    return module


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
        raise UnfitError(f"it holds a {name}, which is no part of YOLOv8")
    if "forward" in state:
        raise FusedError
    if any(value for key, value in state.items() if str(key).endswith("_hooks")):
        raise HookedError
    below = _table(state, "_modules")
    if name == "Conv" and "bn" not in below:
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


def to_json(part: Part) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """A flat list of parts, each after those that it holds, and the tensors by "number.name"."""
    rows: list[dict[str, Any]] = []
    tensors: dict[str, Tensor] = {}
    places: dict[int, int] = {}

    def place(part: Part) -> int:
        if id(part) not in places:
            parts = {name: place(below) for name, below in part.parts.items()}
            places[id(part)] = len(rows)
            tensors.update({f"{len(rows)}.{name}": t for name, t in part.tensors.items()})
            rows.append({"kind": part.kind, "facts": part.facts, "parts": parts,
                         "tensors": list(part.tensors)})  # fmt: skip
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
        raise UnfitError(f"it holds a {part.kind}, which is no part of YOLOv8")
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
        allowed = _LAYERS if part.kind == "Layers" else _LISTED
        for name, below in part.parts.items():
            if below.kind not in allowed or not name.isdecimal():
                raise UnfitError(f"a {below.kind} lies where YOLOv8 has none")
        return
    for name, kinds in kind.parts.items():
        if name not in part.parts:
            raise UnfitError(f"a {part.kind} lacks its part '{name}'")
        if part.parts[name].kind not in kinds:
            raise UnfitError(f"a {part.kind} has a {part.parts[name].kind} for '{name}'")
    for name in part.parts:
        if name not in kind.parts:
            raise UnfitError(f"a {part.kind} has a part more than in YOLOv8, '{name[:80]}'")


def _checked_facts(part: Part, kind: Kind) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for name, (check, default) in kind.facts.items():
        value = part.facts.get(name, default)
        if value is _REQUIRED:
            raise UnfitError(f"a {part.kind} lacks its setting '{name}'")
        if value is default:
            facts[name] = value
            continue
        try:
            facts[name] = check(value)
        except (ValueError, TypeError, IndexError) as error:
            raise UnfitError(f"a {part.kind} has a '{name}' that cannot be") from error
    return facts


def _checked_tensors(
    part: Part, kind: Kind, read: Callable[[TensorRef], Tensor]
) -> dict[str, Tensor]:
    needed = {name.rstrip("?"): not name.endswith("?") for name in kind.tensors}
    tensors: dict[str, Tensor] = {}
    for name, must in needed.items():
        value = part.tensors.get(name)
        if value is None and must:
            raise UnfitError(f"a {part.kind} lacks its '{name}'")
        if value is None:
            continue
        if not isinstance(value, Tensor | TensorRef):
            raise UnfitError(f"a {part.kind} has no numbers for '{name}'")
        value = read(value) if isinstance(value, TensorRef) else value
        counts = name == "num_batches_tracked"
        if counts == value.is_floating_point():
            raise UnfitError(f"the numbers of a {part.kind}, '{name}', are of the wrong type")
        tensors[name] = value if counts else value.float()
    if set(part.tensors) - set(needed):
        raise UnfitError(f"a {part.kind} has weights more than in YOLOv8")
    return tensors


def _place(module: nn.Module, name: str, value: Tensor) -> None:
    """Put a tensor where the empty module has one of its shape."""
    old = getattr(module, name, None)
    if not isinstance(old, Tensor) or old.shape != value.shape:
        raise UnfitError(f"the '{name}' of a {type(module).__name__} has the wrong shape")
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
