"""Grad-CAM, LayerCAM and EigenCAM of one detection, on pytorch-grad-cam.

The library's hooks and weights are used; its min-max scaling, its matching of gradients by
order and its full SVD are not (they hide the energy of a map, mislabel layers that no gradient
reaches, and need gigabytes on large maps).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import EigenCAM, GradCAM, LayerCAM
from pytorch_grad_cam.base_cam import BaseCAM
from torch import Tensor, nn
from torch.nn import functional

from msip_core.boxes import Box
from msip_core.detector.library import DetectionModel
from msip_core.errors import ConfigError
from msip_core.explain.frame import Frame
from msip_core.explain.targets import BoxTarget, Candidates, choose_target, private_copy

Method = Literal["gradcam", "layercam", "eigencam"]
NO_GRADIENT = "no gradient of this detection reaches it"
EMPTY = "its map is empty: nothing there raises the score"


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


class _RawMaps(BaseCAM):
    """pytorch-grad-cam for one layer, giving the ReLU map as it is: no min-max, no resizing."""

    def compute_cam_per_layer(
        self, input_tensor: Tensor, targets: list[Any], eigen_smooth: bool
    ) -> list[NDArray[np.float32] | None]:
        activation = self.activations_and_grads.activations[0].cpu().numpy()
        gradients = self.activations_and_grads.gradients
        # Detect joins all anchors, so layers that the target never reads get zeros, not None.
        if self.uses_gradients and not (gradients and bool(gradients[0].any())):
            return [None]
        gradient = gradients[0].cpu().numpy() if gradients else None
        raw = self.get_cam_image(
            input_tensor, self.target_layers[0], targets, activation, gradient, eigen_smooth
        )
        return [np.maximum(raw[0], 0).astype(np.float32)]

    def aggregate_multi_layers(
        self, cam_per_target_layer: list[NDArray[np.float32] | None]
    ) -> NDArray[np.float32] | None:
        return cam_per_target_layer[0]


class RawGradCam(_RawMaps, GradCAM):
    """ReLU(sum_c mean_hw(g_c) * A_c). Selvaraju et al. 2017, arXiv:1610.02391."""


class RawLayerCam(_RawMaps, LayerCAM):
    """ReLU(sum_c ReLU(g_c) * A_c). Jiang et al. 2021, IEEE TIP 30."""


class RawEigenCam(_RawMaps, EigenCAM):
    """ReLU of centred A projected on its first principal direction; knows no class.

    Muhammad & Yeasin 2020, arXiv:2008.00299. The sign is arbitrary: flipped when |min| > |max|.
    """

    def get_cam_image(self, *given: Any, **more: Any) -> NDArray[np.float32]:
        return principal_map(given[3])


METHODS: Mapping[Method, type[_RawMaps]] = MappingProxyType(
    {"gradcam": RawGradCam, "layercam": RawLayerCam, "eigencam": RawEigenCam}
)


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
            f"Cannot look at layers {', '.join(map(str, wanted))}; "
            f"this model has {', '.join(known)}."
        )
    return chosen


@contextmanager
def _cut_before(layer: nn.Module) -> Iterator[None]:
    """Begin the autograd graph at this layer's output: the backbone needs no backward pass."""

    def restart(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output.detach().requires_grad_(True)

    handle = layer.register_forward_hook(restart)  # before pytorch-grad-cam's own hooks
    try:
        yield
    finally:
        handle.remove()


def layer_map(
    network: Candidates, images: Tensor, index: int, target: BoxTarget, method: Method
) -> NDArray[np.float32] | None:
    """Raw ReLU map (h, w) of one layer, or None where no gradient reaches it."""
    layer = network.model.model[index]
    with torch.enable_grad(), _cut_before(layer):
        cam = METHODS[method](network, [layer])
        try:
            found: NDArray[np.float32] | None = cam(images, [target])
        finally:
            # Not `with cam`: its exit prints and swallows IndexError.
            cam.activations_and_grads.release()
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
    for name, index in choose_layers(model, layers).items():
        raw = layer_map(network, images, index, target, method)
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
        note = " ".join(filter(None, (note, "No layer gave a map for this detection.")))
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

    Layers = the inputs of Detect, one at a time, averaged; layers that no gradient reaches are
    skipped and named. One forward and a short backward each.

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
    if method not in METHODS:
        raise ConfigError(f"There is no CAM named '{method}'; known: {', '.join(METHODS)}.")
    frame = Frame.fit(image, imgsz)
    twin = private_copy(model)
    images = frame.tensor(image)[None].to(next(twin.parameters()).device)
    with torch.no_grad():
        candidates = Candidates(twin).eval()(images)[0]
    target = choose_target(candidates, frame.box_in_input(box), box.cls)
    return explain_target(twin, frame, images, target, method=method, layers=layers)


def _named(method: Method, text: str) -> Callable[..., CamResult]:
    def explain(
        model: DetectionModel,
        image: NDArray[np.uint8],
        box: Box,
        *,
        imgsz: int,
        layers: Sequence[str | int] | None = None,
    ) -> CamResult:
        return explain_detection(model, image, box, imgsz=imgsz, method=method, layers=layers)

    explain.__name__, explain.__doc__ = method, text
    return explain


layercam = _named("layercam", "`explain_detection` by LayerCAM: finer, weighs each place alone.")
eigencam = _named("eigencam", "`explain_detection` by EigenCAM: what stands out, whatever class.")
