"""Grad-CAM, LayerCAM and EigenCAM of one detection.

One forward pass and one short backward pass serve all layers; what is read from the device are the
finished maps. Tests compare with pytorch-grad-cam. It is not used itself: a pass for each layer,
all activations and gradients copied to the processor, six seconds to import; and its min-max
scaling hides the energy of a map, its full SVD needs gigabytes on large maps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from msip_core.boxes import Box
from msip_core.catalog import HEAT_MAPS, HeatMap
from msip_core.detector.frame import Frame
from msip_core.detector.library import DetectionModel
from msip_core.errors import ConfigError
from msip_core.explain.targets import BoxTarget, Candidates, choose_target, private_copy
from msip_core.groups.hooks import heard
from msip_core.messages import joined, mark, msg

Method = HeatMap
NO_GRADIENT = mark("no gradient of this detection reaches it")
EMPTY = mark("its map is empty: nothing there raises the score")


@dataclass(frozen=True, slots=True)
class CamResult:
    """Where the score of one detection is sensitive.

    Attributes:
        heat: float32 (H, W) of the micrograph, >= 0, sums to 1 (to 0 when every layer was
            skipped): mean over the used layers of ReLU map / its sum.
        maps: raw ReLU map of each used layer, float32 at the layer's own resolution.
        layers: layers used, for example "P3 (layer 15)".
        skipped: layer -> why it was left out.
        target: the anchors and class explained.
        note: what a reader must know, or "".
    """

    heat: NDArray[np.float32]
    maps: Mapping[str, NDArray[np.float32]]
    layers: tuple[str, ...]
    skipped: Mapping[str, str]
    target: BoxTarget
    note: str


def gradcam_map(activation: Tensor, gradient: Tensor) -> Tensor:
    """ReLU(sum_c mean_hw(g_c) * A_c) of (C, h, w). Selvaraju et al. 2017, arXiv:1610.02391."""
    return (gradient.mean(dim=(1, 2), keepdim=True) * activation).sum(dim=0).relu()


def layercam_map(activation: Tensor, gradient: Tensor) -> Tensor:
    """ReLU(sum_c ReLU(g_c) * A_c) of (C, h, w). Jiang et al. 2021, IEEE TIP 30."""
    return (gradient.relu() * activation).sum(dim=0).relu()


def eigencam_map(activation: Tensor) -> Tensor:
    """ReLU of centred A projected on its first principal direction; knows no class.

    Muhammad & Yeasin 2020, arXiv:2008.00299. The sign is arbitrary: flipped when |min| > |max|.
    """
    return torch.from_numpy(principal_map(activation.cpu().numpy()[None])[0]).relu()


_OF_GRADIENTS = {"gradcam": gradcam_map, "layercam": layercam_map}


def principal_map(activations: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Projection of activations (n, C, H, W) on their first principal direction: (n, H, W).

    Uses the C x C scatter matrix, so memory does not grow with the square of H * W.
    """
    count, channels, height, width = activations.shape
    flat = activations.reshape(count, channels, -1).astype(np.float64)
    flat = flat - flat.mean(axis=2, keepdims=True)
    _, vectors = np.linalg.eigh(flat @ flat.transpose(0, 2, 1))  # ascending
    projected = np.einsum("nc,ncp->np", vectors[:, :, -1], flat)
    flip = np.abs(projected.min(axis=1)) > np.abs(projected.max(axis=1))
    projected[flip] *= -1
    return projected.reshape(count, height, width).astype(np.float32)


def detect_layers(model: DetectionModel) -> dict[str, int]:
    """The inputs of Detect by name: {"P3 (layer 15)": 15, ...}; the number is the stride's log2.

    Read from the graph, not by index 15/18/21: an unrolled pruned model has other indices.
    """
    detect = model.model[-1]
    before = len(model.model) - 1
    indices = [index if index >= 0 else before + index for index in detect.f]
    return {
        f"P{round(math.log2(stride))} (layer {index})": index
        for index, stride in zip(indices, detect.stride.tolist())
    }


def choose_layers(model: DetectionModel, wanted: Sequence[str | int] | None) -> dict[str, int]:
    """The layers to look at: all inputs of Detect, or those named "P3", "P4", "P5" or by index.

    Raises:
        ConfigError: a name is not an input of Detect of this model.
    """
    known = detect_layers(model)
    if wanted is None:
        return known
    chosen = {n: i for n, i in known.items() if {n, n.split(" ")[0], i, str(i)} & set(wanted)}
    if not chosen or len(chosen) < len(set(wanted)):
        raise ConfigError(
            "Cannot look at layers {wanted}; this model has {known}.",
            wanted=", ".join(map(str, wanted)),
            known=", ".join(known),
        )
    return chosen


@contextmanager
def _outputs_kept(model: DetectionModel, layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """Outputs of these layers in the passes of the block, with gradients from the first on.

    The autograd graph begins at the first of them: the backbone needs no backward pass.
    """
    kept: dict[int, Tensor] = {}

    def keep(index: int, _inputs: Any, output: Tensor) -> Tensor:
        if torch.is_grad_enabled() and not output.requires_grad:
            output = output.detach().requires_grad_(True)
        kept[index] = output
        return output

    with heard({index: model.model[index] for index in layers}, keep):
        yield kept


def raw_maps(
    network: Candidates, images: Tensor, layers: Sequence[int], target: BoxTarget, method: Method
) -> dict[int, NDArray[np.float32] | None]:
    """Raw ReLU map (h, w) of each layer of one image, or None where no gradient reaches it."""
    make = _OF_GRADIENTS.get(method)
    with torch.set_grad_enabled(make is not None), _outputs_kept(network.model, layers) as kept:
        output = network(images)[0]
        if make is None:
            maps = {index: eigencam_map(kept[index][0]) for index in layers}
            return {index: found.numpy().astype(np.float32) for index, found in maps.items()}
        slopes = torch.autograd.grad(
            target(output), [kept[index] for index in layers], allow_unused=True
        )
    found: dict[int, NDArray[np.float32] | None] = dict.fromkeys(layers)
    for index, slope in zip(layers, slopes):
        # Detect joins all anchors, so layers that the target never reads get zeros, not None.
        if slope is not None and bool(slope.any()):
            found[index] = make(kept[index][0].detach(), slope[0]).cpu().numpy()
    return found


def explain_target(
    model: DetectionModel,
    frame: Frame,
    images: Tensor,
    target: BoxTarget,
    *,
    method: Method,
    layers: Sequence[str | int] | None = None,
) -> CamResult:
    """`explain_detection` once the target is chosen; `model` must be a private copy."""
    network = Candidates(model).eval()
    maps: dict[str, NDArray[np.float32]] = {}
    skipped: dict[str, str] = {}
    heat = np.zeros(frame.image, np.float32)
    chosen = choose_layers(model, layers)
    found = raw_maps(network, images, tuple(chosen.values()), target, method)
    for name, index in chosen.items():
        raw = found[index]
        if raw is None:
            skipped[name] = NO_GRADIENT
            continue
        energy = upsampled_energy(raw, frame)
        if energy is None:
            skipped[name] = EMPTY
            continue
        maps[name] = raw
        heat += energy
    note = target.note
    if maps:
        heat /= len(maps)
    else:
        note = joined(" ", filter(None, (note, msg("No layer gave a map for this detection."))))
    return CamResult(
        heat, MappingProxyType(maps), tuple(maps), MappingProxyType(skipped), target, note
    )


def upsampled_energy(raw: NDArray[np.float32], frame: Frame) -> NDArray[np.float32] | None:
    """A raw map bilinearly at micrograph size, divided by its sum; None if it has no energy."""
    small = torch.from_numpy(raw)[None, None]
    large = functional.interpolate(small, frame.size, mode="bilinear", align_corners=False)
    heat = frame.map_to_image(large[0, 0].numpy()).astype(np.float64)
    total = heat.sum()
    return (heat / total).astype(np.float32) if total > 0 else None


def explain_detection(
    model: DetectionModel,
    image: NDArray[np.uint8],
    box: Box,
    *,
    imgsz: int,
    method: Method = "gradcam",
    layers: Sequence[str | int] | None = None,
) -> CamResult:
    """Where the class score of the detection `box` is sensitive.

    Layers = the inputs of Detect, averaged; layers that no gradient reaches are skipped and named.

    Args:
        model: a YOLOv8 detector (C2f, C2f_v2 or unrolled); left exactly as it is.
        image: uint8 (H, W, 3) RGB.
        box: reference box and class, in pixels of `image`; the same for every model compared.
        imgsz: side of the letterboxed input.
        method: "gradcam", "layercam" or "eigencam".
        layers: "P3", "P4", "P5" or module indices; None takes all.

    Raises:
        ConfigError: unknown method, layer or class.
        InputError: not an 8-bit colour picture.
    """
    if method not in HEAT_MAPS:
        raise ConfigError(
            "There is no CAM named '{method}'; known: {known}.",
            method=method,
            known=", ".join(HEAT_MAPS),
        )
    frame = Frame.fit(image, imgsz)
    twin = private_copy(model)
    images = frame.tensor(image)[None].to(next(twin.parameters()).device)
    with torch.no_grad():
        candidates = Candidates(twin).eval()(images)[0]
    target = choose_target(candidates, frame.box_in_input(box), box.cls)
    return explain_target(twin, frame, images, target, method=method, layers=layers)


layercam = partial(explain_detection, method="layercam")
eigencam = partial(explain_detection, method="eigencam")
