"""What the modules of a YOLOv8 detector may consist of: settings, parts and tensors of each class.

Each setting has a check that lets through only what a detector can have, and each class a way to
make an empty module of it without running its constructor on anything that a file says unchecked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn
from ultralytics.nn.modules import DFL, SPPF, Bottleneck, C2f, Concat, Conv, Detect, DWConv

from msip_core.detector.c2f import C2fV2
from msip_core.messages import Message

_MOST = 64  # the largest kernel, padding, group... no detector comes near it

Fact = Callable[[Any], Any]  # checks a setting and brings it into one form; ValueError if wrong
Facts = Mapping[str, Any]  # settings of a module by name, as its constructor takes them
Make = Callable[[Facts, dict[str, Tensor]], nn.Module]


class UnfitError(Exception):
    """It is no detector that can be worked on; the text says why, for the end of a sentence."""

    def __init__(self, why: str = "", /, **values: object) -> None:
        super().__init__(Message(why, values))


class FusedError(UnfitError):
    """Batch norms were folded away for deployment."""


class HookedError(UnfitError):
    """It carries functions to be called."""


class Kind(NamedTuple):
    """What a module of one class may consist of.

    Attributes:
        make: an empty module, from the checked settings and the tensors.
        facts: its settings; one with a default may be missing.
        parts: for each module below the kinds that it may be of; None: any, any number.
        tensors: names of parameters and buffers; with "?" it may be missing.
    """

    make: Make
    facts: Mapping[str, tuple[Fact, Any]] = {}
    parts: Mapping[str, tuple[str, ...]] | None = {}
    tensors: tuple[str, ...] = ()


REQUIRED = object()


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


def _momentum(value: Any) -> float | None:
    """Of a batch norm; None is a plain mean over all batches."""
    return None if value is None else float(_number(0, 1)(value))


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
_ROUTING: dict[str, tuple[Fact, Any]] = {"f": (_sources, None), "i": (_whole(0, _MAX_LAYERS), None)}
_SMALL = _whole(0, 2**20)


def _bare(cls: type[nn.Module]) -> Make:
    """Ultralytics' blocks build their insides themselves; here these come from the description."""

    def make(facts: Facts, _: dict[str, Tensor]) -> nn.Module:
        module = cls.__new__(cls)
        nn.Module.__init__(module)
        for name, value in facts.items():
            if value is not None:
                setattr(module, name, value)
        return module

    return make


def _called(cls: type[nn.Module]) -> Make:
    return lambda facts, _: cls(**facts)


def _conv2d(facts: Facts, tensors: dict[str, Tensor]) -> nn.Module:
    weight, groups = tensors["weight"], facts["groups"]
    if weight.ndim != 4 or weight.numel() == 0 or weight.shape[0] % groups:
        raise UnfitError("a convolution has weights of a wrong shape")
    facts = {name: value for name, value in facts.items() if name not in _UNCHANGED}
    _require_no_growth(facts)
    return nn.Conv2d(
        weight.shape[1] * groups, weight.shape[0], bias="bias" in tensors, device="meta", **facts
    )


_UNCHANGED = ("transposed", "output_padding", *_ROUTING)


def _max_pool(facts: Facts, _: dict[str, Tensor]) -> nn.Module:
    _require_no_growth(facts)
    return nn.MaxPool2d(**facts)


def _require_no_growth(facts: Facts) -> None:
    """No output may be larger than its input: a chain of such would take all memory."""
    reach, around, steps = (
        value if isinstance(value, tuple) else (value, value)
        for value in (facts["kernel_size"], facts["padding"], facts["dilation"])
    )
    if any(2 * p > d * (k - 1) for k, p, d in zip(reach, around, steps, strict=True)):
        raise UnfitError("a layer is padded by more than its kernel covers")


def _batch_norm(facts: Facts, tensors: dict[str, Tensor]) -> nn.Module:
    facts = {name: facts[name] for name in ("eps", "momentum")}
    return nn.BatchNorm2d(len(tensors["weight"]), device="meta", **facts)


def _prelu(facts: Facts, tensors: dict[str, Tensor]) -> nn.Module:
    return nn.PReLU(tensors["weight"].numel(), device="meta")


_IN_PLACE = {"inplace": (_flag, False)}
_ACTIVATIONS: dict[str, Kind] = {
    **{
        cls.__name__: Kind(_called(cls), _IN_PLACE)
        for cls in (nn.SiLU, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Mish)
    },
    "LeakyReLU": Kind(
        _called(nn.LeakyReLU), {"negative_slope": (_number(0, 10), 0.01), **_IN_PLACE}
    ),
    "ELU": Kind(_called(nn.ELU), {"alpha": (_number(0, 10), 1.0), **_IN_PLACE}),
    "GELU": Kind(_called(nn.GELU), {"approximate": (_one_of("none", "tanh"), "none")}),
    "PReLU": Kind(_prelu, tensors=("weight",)),
}
_ANY_ACTIVATION = (*_ACTIVATIONS, "Identity")
_TWO = {"cv1": ("Conv",), "cv2": ("Conv",)}

KINDS: dict[str, Kind] = {
    **_ACTIVATIONS,
    "Identity": Kind(_bare(nn.Identity), _ROUTING),
    "Conv2d": Kind(
        _conv2d,
        {
            "kernel_size": (_pair(1), REQUIRED), "stride": (_pair(1), REQUIRED),
            "padding": (_pair(0), REQUIRED), "dilation": (_pair(1), REQUIRED),
            "groups": (_whole(1, 2**16), REQUIRED), "padding_mode": (_one_of("zeros"), "zeros"),
            "transposed": (_one_of(False), False),
            "output_padding": (_one_of((0, 0), [0, 0]), (0, 0)), **_ROUTING,
        },
        tensors=("weight", "bias?"),
    ),
    "BatchNorm2d": Kind(
        _batch_norm,
        {
            "eps": (_number(0, 1), REQUIRED), "momentum": (_momentum, REQUIRED),
            "affine": (_one_of(True), True), "track_running_stats": (_one_of(True), True),
        },
        tensors=("weight", "bias", "running_mean", "running_var", "num_batches_tracked?"),
    ),
    "MaxPool2d": Kind(
        _max_pool,
        {
            "kernel_size": (_pair(1), REQUIRED), "stride": (_pair(1), REQUIRED),
            "padding": (_pair(0), REQUIRED), "dilation": (_pair(1), 1),
            "return_indices": (_one_of(False), False), "ceil_mode": (_flag, False),
        },
    ),
    "Upsample": Kind(
        lambda facts, _: _routed(nn.Upsample(None, facts["scale_factor"], facts["mode"]), facts),
        {
            "scale_factor": (_doubling, REQUIRED), "size": (_one_of(None), None),
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
    "DWConv": Kind(
        _bare(DWConv), _ROUTING,
        {"conv": ("Conv2d",), "bn": ("BatchNorm2d",), "act": _ANY_ACTIVATION},
    ),
    "Bottleneck": Kind(_bare(Bottleneck), {"add": (_flag, REQUIRED), **_ROUTING}, _TWO),
    "C2f": Kind(
        _bare(C2f), {"c": (_SMALL, REQUIRED), **_ROUTING}, {**_TWO, "m": ("ModuleList",)}
    ),
    "C2fV2": Kind(
        _bare(C2fV2), {"c": (_SMALL, REQUIRED), **_ROUTING},
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
            "nc": (_whole(1, 100_000), REQUIRED), "nl": (_whole(1, 8), REQUIRED),
            "reg_max": (_whole(1, 256), REQUIRED), "no": (_SMALL, REQUIRED),
            "inplace": (_flag, True), **_ROUTING,
        },
        {"cv2": ("ModuleList",), "cv3": ("ModuleList",), "dfl": ("DFL", "Identity")},
    ),
    "DFL": Kind(_bare(DFL), {"c1": (_whole(1, 256), REQUIRED)}, {"conv": ("Conv2d",)}),
}  # fmt: skip
LISTED = {"Bottleneck", "Sequential", "Conv", "Conv2d"}  # what lists within a layer hold
LAYERS = {
    "Conv", "DWConv", "C2f", "C2fV2", "Bottleneck", "SPPF", "Upsample", "Concat", "Identity",
    "Detect",
}  # fmt: skip


def _routed(module: nn.Module, facts: Facts) -> nn.Module:
    for name in _ROUTING:
        setattr(module, name, facts[name])
    return module
