"""A whole detector from its description: layers in order, head, classes, strides, each checked.

What passes here works in every room: its widths fit together, it takes three channels, it has one
name per class, and a small image goes through it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn.modules import Bottleneck, C2f, Concat, Conv, Detect

from msip_core.detector.blueprint import Part, build, is_finite, sketch
from msip_core.detector.c2f import C2fV2
from msip_core.detector.kinds import UnfitError
from msip_core.detector.library import DetectionModel, hyperparameters, reset
from msip_core.detector.pickles import Made, TensorRef

GAINS = ("box", "cls", "dfl")
_MOST_LAYERS, _MOST_CHANNELS, _MOST_DOUBLINGS = 500, 2**16, 4
_TRIAL = 64  # pixels
_LONGEST_NAME = 200
# Words that a description of YOLOv8 is made of. Stock Ultralytics evaluates `activation` when it
# builds a network from it, so nothing else than the name of one may stand there.
_MODULES = frozenset(
    {"Conv", "DWConv", "C2f", "SPPF", "nn.Upsample", "Concat", "Detect", "nn.Identity"}
)
_ACTIVATION = re.compile(r"(?:torch\.)?nn\.\w{2,20}\((?:inplace=(?:True|False))?\)")
_YAML_KEYS = ("nc", "scales", "scale", "yaml_file", "backbone", "head", "channels", "ch",
              "depth_multiple", "width_multiple", "activation", "inplace")  # fmt: skip


@dataclass
class Plan:
    """A detector, described.

    Attributes:
        yaml: Ultralytics' description of the unpruned network.
        names: class names, by number.
        gains: weights of the three losses, where the file says them.
        layers: the layers, as a Part of kind "Layers".
        stride: pixels per cell of each output, smallest first, as the file says.
    """

    yaml: dict[str, object]
    names: dict[int, str]
    gains: dict[str, float]
    layers: Part
    stride: Tensor | TensorRef


def plan_of(model: DetectionModel | Made, gains: Any = None) -> Plan:
    """The plan of a detector in memory, or of what a pickle says of one.

    Raises:
        UnfitError: it is none, or a part of the plan is missing or of the wrong kind.
    """
    state: Mapping[str, Any] = vars(model) if isinstance(model, nn.Module) else model.state
    if not isinstance(state, Mapping):
        raise UnfitError("it holds no model")
    modules = state.get("_modules")
    if not isinstance(modules, dict) or "model" not in modules:
        raise UnfitError("it has no layers")
    layers = sketch(modules["model"])
    if layers.kind != "Sequential":
        raise UnfitError("its layers are no sequence")
    layers = Part("Layers", {}, layers.tensors, layers.parts)
    source = gains if isinstance(gains, Mapping) else {}
    return Plan(
        _checked_yaml(state.get("yaml")),
        _checked_names(state.get("names")),
        {k: float(source[k]) for k in GAINS if _is_number(source.get(k))},
        layers,
        _checked_stride(state.get("stride")),
    )


def plan_from_json(document: Any, layers: Part) -> Plan:
    """The plan in a work file's description (see `plan_to_json`)."""
    if not isinstance(document, dict) or layers.kind != "Layers":
        raise UnfitError("its description is damaged")
    gains = document.get("gains")
    source = gains if isinstance(gains, dict) else {}
    stride = document.get("stride")
    if not isinstance(stride, list) or not all(_is_number(s) for s in stride):
        raise UnfitError("it does not say its strides")
    return Plan(
        _checked_yaml(document.get("yaml")),
        _checked_names(document.get("names")),
        {k: float(source[k]) for k in GAINS if _is_number(source.get(k))},
        layers,
        torch.tensor(stride),
    )


def plan_to_json(plan: Plan, stride: Tensor) -> dict[str, object]:
    """All of the plan but its layers, as JSON."""
    return {
        "yaml": plan.yaml,
        "names": list(plan.names.values()),
        "gains": plan.gains,
        "stride": stride.tolist(),
    }


def assemble(plan: Plan, read: Callable[[TensorRef], Tensor]) -> DetectionModel:
    """The detector: fp32, on the CPU, in eval mode, every parameter with gradients on.

    Args:
        read: gives the tensors that the plan only refers to.

    Raises:
        UnfitError: the parts do not make a detector of images in three channels.
    """
    if len(plan.layers.parts) > _MOST_LAYERS:
        raise UnfitError("it has more layers than any YOLOv8")
    layers: Any = build(plan.layers, read)
    model: Any = DetectionModel.__new__(DetectionModel)
    nn.Module.__init__(model)
    model.yaml, model.names, model.inplace, model.task = plan.yaml, plan.names, True, "detect"
    model.save = _check_routing(layers)
    model.model = layers
    model.args = hyperparameters(**plan.gains)
    head = _check_head(layers, plan.names)
    model.nc = head.nc
    _check_widths(layers)
    if not is_finite(layers):
        raise UnfitError(
            "some of its weights are not numbers (NaN or infinite), as after a training that went "
            "astray"
        )
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    reset(model)
    stride = _strides(model)
    told = read(plan.stride) if isinstance(plan.stride, TensorRef) else plan.stride
    if told.float().flatten().tolist() != stride.tolist():
        raise UnfitError("its strides are not those of its layers")
    head.stride = model.stride = stride
    return model


def _check_routing(layers: Any) -> list[int]:
    """Every layer reads earlier ones; returns the numbers of those that must be kept."""
    save: set[int] = set()
    for index, layer in enumerate(layers):
        source: Any = getattr(layer, "f", None)
        sources: list[Any] = source if isinstance(source, list) else [source]
        many = isinstance(layer, Concat | Detect)
        if getattr(layer, "i", None) != index or many != isinstance(source, list) or not sources:
            raise UnfitError("its layers are not in order")
        if any(s is None or not -1 <= s < index for s in sources):
            raise UnfitError("a layer reads from one that does not exist")
        save |= {s for s in sources if s != -1}
        layer.type = f"{type(layer).__module__}.{type(layer).__qualname__}"
        layer.np = sum(p.numel() for p in layer.parameters())
    return sorted(save)


def _check_head(layers: Any, names: dict[int, str]) -> Any:
    head = layers[-1] if len(layers) else None
    if not isinstance(head, Detect) or any(isinstance(x, Detect) for x in list(layers)[:-1]):
        raise UnfitError("it has no YOLOv8 detection head")
    branches = (list(head.cv2), list(head.cv3))
    if any(len(part) != head.nl for part in (*branches, head.f)):
        raise UnfitError("its head has another number of branches than it says")
    widths = (4 * head.reg_max, head.nc)
    for part, width in zip(branches, widths, strict=True):
        for branch in part:
            last = branch[-1] if isinstance(branch, nn.Sequential) and len(branch) else None
            if not isinstance(last, nn.Conv2d) or last.out_channels != width:
                raise UnfitError("its head has another number of classes than it says")
    if len(names) != head.nc or head.no != head.nc + 4 * head.reg_max:
        raise UnfitError("it has {n} class names for {nc} classes", n=len(names), nc=head.nc)
    if getattr(head.dfl, "c1", head.reg_max) != head.reg_max:
        raise UnfitError("its head does not fit together")
    return head


def _check_widths(layers: Any) -> None:
    """Channels from layer to layer, before anything is computed with them."""
    widths: list[int] = []
    doublings = 0
    for index, layer in enumerate(layers):
        sources = layer.f if isinstance(layer.f, list) else [layer.f]
        given = [widths[s if s >= 0 else index + s] if index else 3 for s in sources]
        if isinstance(layer, Detect):
            return
        first = _first(layer)
        if index == 0 and first is not None and first.in_channels != 3:
            raise UnfitError(
                "it takes {in_channels}-channel images, and every image here has three "
                "channels (a grey one has three equal ones): train it on three",
                in_channels=first.in_channels,
            )
        width = sum(given)
        if first is not None and first.in_channels != width:
            raise UnfitError(
                "layer {index} takes {in_channels} channels and gets {width}",
                index=index,
                in_channels=first.in_channels,
                width=width,
            )
        doublings += isinstance(layer, nn.Upsample)
        widths.append(_checked_width(layer, width))
        if widths[-1] > _MOST_CHANNELS or doublings > _MOST_DOUBLINGS:
            raise UnfitError("its layers grow beyond any YOLOv8")


def _first(layer: Any) -> nn.Conv2d | None:
    """The convolution that reads the layer's input."""
    if isinstance(layer, Conv):
        return layer.conv
    return layer.cv1.conv if hasattr(layer, "cv1") else None


def _checked_width(layer: Any, given: int) -> int:
    """Channels that a layer gives. Its second convolution must read what its first parts give."""
    if isinstance(layer, Conv):
        return int(layer.conv.out_channels)
    if not hasattr(layer, "cv2"):
        return given
    between = layer.cv1.conv.out_channels
    if isinstance(layer, C2f) and between % 2:
        raise UnfitError("layer {i} cannot be cut in halves", i=layer.i)
    if isinstance(layer, C2fV2):
        between += layer.cv0.conv.out_channels
    if isinstance(layer, C2f | C2fV2):
        between += sum(_bottleneck_width(block) for block in layer.m)
    elif not isinstance(layer, Bottleneck):
        between *= layer.n + 1
    second = layer.cv2.conv
    if second.in_channels != between:
        raise UnfitError(
            "layer {i} takes {in_channels} channels and gets {between}",
            i=layer.i,
            in_channels=second.in_channels,
            between=between,
        )
    return int(second.out_channels)


def _bottleneck_width(block: Any) -> int:
    if not isinstance(block, Bottleneck):
        raise UnfitError("one of its blocks is none of YOLOv8's")
    return int(block.cv2.conv.out_channels)


def _strides(model: Any) -> Tensor:
    """Pixels per cell of each output, from one small image that goes through the layers."""
    head = model.model[-1]
    head.stride = torch.ones(head.nl)
    try:
        with torch.inference_mode():
            _, found = model(torch.zeros(1, 3, _TRIAL, _TRIAL))
        strides = [_TRIAL / feature.shape[-2] for feature in found["feats"]]
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError) as error:
        raise UnfitError("its layers do not fit together") from error
    reset(model)
    if not all(s >= 1 and math.log2(s).is_integer() for s in strides):
        raise UnfitError("its strides are no powers of two")
    return torch.tensor(strides)


def _checked_stride(stride: Any) -> Tensor | TensorRef:
    if not isinstance(stride, Tensor | TensorRef):
        raise UnfitError("it does not say its strides")
    return stride


def _checked_names(names: Any) -> dict[int, str]:
    rows = dict(enumerate(names)) if isinstance(names, list | tuple) else names
    if not isinstance(rows, dict):
        raise UnfitError("it has no class names")
    try:
        numbered = {int(key): value for key, value in rows.items()}
    except (TypeError, ValueError) as error:
        raise UnfitError("its classes are not numbered") from error
    if sorted(numbered) != list(range(len(rows))) or not rows:
        raise UnfitError("its classes are not numbered from 0 without a gap")
    for value in numbered.values():
        if not isinstance(value, str | int | float) or not 0 < len(str(value)) <= _LONGEST_NAME:
            raise UnfitError("one of its class names is no name")
    return {key: str(numbered[key]) for key in sorted(numbered)}


def _checked_yaml(yaml: Any) -> dict[str, object]:
    """The description of the unpruned network, with nothing in it but YOLOv8's words."""
    if not isinstance(yaml, dict):
        raise UnfitError("it lacks the description of its network (yaml)")
    kept = {key: value for key, value in yaml.items() if key in _YAML_KEYS}
    rows = [row for part in ("backbone", "head") for row in _rows(kept.get(part))]
    modules = {str(row[2]) for row in rows}
    if "C2f" not in modules or not modules <= _MODULES:
        raise UnfitError("it is a detector of another family than YOLOv8")
    activation = kept.get("activation")
    if activation is not None and not (
        isinstance(activation, str) and _ACTIVATION.fullmatch(activation)
    ):
        raise UnfitError("its description holds code")
    if not _is_plain(kept, 0):
        raise UnfitError("its description is damaged")
    return kept


def _rows(part: Any) -> list[Any]:
    if not isinstance(part, list | tuple) or len(part) > _MOST_LAYERS:
        raise UnfitError("it lacks the description of its network (yaml)")
    if not all(isinstance(row, list | tuple) and len(row) == 4 for row in part):
        raise UnfitError("the description of its network (yaml) is damaged")
    return list(part)


def _is_plain(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        items = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple):
        items = list(value)
    else:
        is_word = isinstance(value, str) and len(value) <= _LONGEST_NAME
        is_count = isinstance(value, int) and abs(value) < 2**31
        return value is None or is_word or is_count or isinstance(value, float)
    return depth < 5 and len(items) <= 1000 and all(_is_plain(item, depth + 1) for item in items)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1e6
