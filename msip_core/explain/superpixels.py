"""The patches that SHAP switches on and off, and what a patch looks like when it is off."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from skimage.segmentation import slic
from torch import Tensor

from msip_core.detector.frame import Frame
from msip_core.errors import ConfigError

Segmentation = Literal["slic", "grid"]
BLUR_SIGMA = 10.0  # pixels of the network's input
# With skimage's defaults (10, 0) camera noise fuses patches: 73-92 of 100 on organoid
# micrographs, 1 of 100 on pure noise. These give 89-100, and still follow edges.
COMPACTNESS = 20.0
SMOOTHING = 2.0


def segment(
    content: NDArray[np.uint8], features: int, segmentation: Segmentation
) -> NDArray[np.int32]:
    """Divide a micrograph into about `features` patches.

    Args:
        content: uint8 (h, w, 3), the scaled micrograph without padding.
        features: how many patches are wanted. "grid" takes the nearest square number, so 100
            is 10 x 10; "slic" follows edges and its count may differ a little.
        segmentation: "slic" (Achanta et al. 2012) or "grid".

    Returns:
        int32 (h, w), labels 0 .. M-1, none missing.

    Raises:
        ConfigError: fewer than 4 patches, more than there are pixels, or an unknown name.
    """
    height, width = content.shape[:2]
    if not 4 <= features <= height * width:
        raise ConfigError(
            "SHAP needs between 4 patches and one per pixel, got {features}.", features=features
        )
    if segmentation == "grid":
        side = round(math.sqrt(features))
        rows = np.arange(height) * side // height
        columns = np.arange(width) * side // width
        labels = rows[:, None] * side + columns[None]
    elif segmentation == "slic":
        labels = _slic(content.tobytes(), content.shape, features)
    else:
        raise ConfigError(
            "Patches can be 'slic' or 'grid', not '{segmentation}'.", segmentation=segmentation
        )
    _, compact = np.unique(labels, return_inverse=True)
    return compact.reshape(height, width).astype(np.int32)


@lru_cache(maxsize=4)
def _slic(content: bytes, shape: tuple[int, ...], features: int) -> NDArray[np.int64]:
    """Found once for a micrograph: both models of a comparison are asked about the same patches."""
    pixels = np.frombuffer(content, np.uint8).reshape(shape)
    labels: NDArray[np.int64] = slic(
        pixels, features, compactness=COMPACTNESS, sigma=SMOOTHING, start_label=0
    )
    return labels


def blurred(content: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What an absent patch shows: the micrograph without detail (Gaussian, sigma 10 px).

    Blurred before padding, at the network's scale: the grey padding does not bleed in, and a
    micrograph of any size loses the same detail.
    """
    return cv2.GaussianBlur(content, (0, 0), BLUR_SIGMA, borderType=cv2.BORDER_REFLECT)


@dataclass(frozen=True, slots=True)
class Patchwork:
    """One micrograph whose patches can be switched off.

    Attributes:
        present, absent: (3, H, W) float32 inputs of the network.
        index: (H, W) int64, patch of each pixel; M in the padding, which never changes.
        labels: int32 (h, w) over the content.
        features: M.
    """

    present: Tensor
    absent: Tensor
    index: Tensor
    labels: NDArray[np.int32]
    features: int

    @classmethod
    def cut(
        cls,
        frame: Frame,
        image: NDArray[np.uint8],
        features: int,
        segmentation: Segmentation,
        device: torch.device,
    ) -> Patchwork:
        """Letterbox once, find the patches, prepare both versions of every pixel."""
        content = frame.scaled(image)
        labels = segment(content, features, segmentation)
        count = int(labels.max()) + 1
        index = np.full(frame.size, count, np.int64)
        index[frame.window] = labels
        return cls(
            frame.padded(content).to(device),
            frame.padded(blurred(content)).to(device),
            torch.from_numpy(index).to(device),
            labels,
            count,
        )

    def masked(self, masks: NDArray[np.floating]) -> Tensor:
        """Images (n, 3, H, W) for masks (n, M) of ones (as it is) and zeros (blurred)."""
        on = torch.from_numpy(np.pad(masks > 0.5, ((0, 0), (0, 1)), constant_values=True))
        visible = on.to(self.index.device)[:, self.index][:, None]
        return torch.where(visible, self.present, self.absent)
