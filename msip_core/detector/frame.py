"""How a micrograph lies inside the network's input, and the way back: the one letterbox of what is
predicted, explained and calibrated (training and evaluation letterbox inside Ultralytics)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from ultralytics.data.augment import LetterBox

from msip_core.boxes import Box
from msip_core.errors import ConfigError, InputError

PADDING = 114  # Ultralytics' grey
STRIDE = 32


@dataclass(frozen=True, slots=True)
class Frame:
    """Geometry of one letterbox: scaled content inside a padded input, all in pixels.

    The numbers are those of Ultralytics' own `LetterBox`, so that an explanation sees what
    prediction sees, and calibration what training sees.

    Attributes:
        image: (height, width) of the micrograph.
        content: (height, width) of the scaled micrograph inside the input.
        top, left: where the content begins.
        size: (height, width) of the whole input.
    """

    image: tuple[int, int]
    content: tuple[int, int]
    top: int
    left: int
    size: tuple[int, int]

    @classmethod
    def fit(
        cls, pixels: NDArray[np.uint8], imgsz: int, *, square: bool = False, stride: int = STRIDE
    ) -> Frame:
        """The letterbox of one micrograph, uint8 (H, W, 3): longer side imgsz, shorter one padded
        to a multiple of the stride (as prediction makes it), or to a square (as training does)."""
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            raise InputError(
                "The network needs an 8-bit colour picture (height, width, 3); "
                "this one is {dtype} {shape}.",
                dtype=pixels.dtype,
                shape=pixels.shape,
            )
        if imgsz < STRIDE or imgsz % STRIDE:
            raise ConfigError(
                "The image size must be a multiple of {stride}, got {imgsz}.",
                stride=STRIDE,
                imgsz=imgsz,
            )
        found = LetterBox((imgsz, imgsz), auto=not square, stride=stride).get_params(
            {"img": pixels}
        )
        width, height = found["new_unpad"]
        return cls(
            image=pixels.shape[:2],
            content=(height, width),
            top=found["top"],
            left=found["left"],
            size=(height + found["top"] + found["bottom"], width + found["left"] + found["right"]),
        )

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the content inside the input."""
        (height, width), top, left = self.content, self.top, self.left
        return slice(top, top + height), slice(left, left + width)

    def scaled(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The micrograph at content size, still without padding."""
        height, width = self.content
        if pixels.shape[:2] == self.content:
            return pixels
        return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)

    def picture(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The network's input for a micrograph, uint8 (H, W, 3)."""
        return self.around(self.scaled(pixels))

    def around(self, content: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Content (h, w, 3) inside grey padding, uint8 (H, W, 3)."""
        whole = np.full((*self.size, 3), PADDING, np.uint8)
        whole[self.window] = content
        return whole

    def padded(self, content: NDArray[np.uint8]) -> Tensor:
        """The same, float32 (3, H, W) in [0, 1]."""
        whole = torch.from_numpy(self.around(content))
        return whole.permute(2, 0, 1).contiguous().float() / 255

    def tensor(self, pixels: NDArray[np.uint8]) -> Tensor:
        """The same, float32 (3, H, W) in [0, 1], RGB."""
        return self.padded(self.scaled(pixels))

    def box_in_input(self, box: Box) -> tuple[float, float, float, float]:
        """Corners of a box of the micrograph in input pixels."""
        sy, sx = (c / i for c, i in zip(self.content, self.image))
        return (
            box.x1 * sx + self.left,
            box.y1 * sy + self.top,
            box.x2 * sx + self.left,
            box.y2 * sy + self.top,
        )

    def map_to_image(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """A map over the input (H, W), without its padding, bilinearly at micrograph size."""
        height, width = self.image
        content = np.ascontiguousarray(values[self.window], np.float32)
        return cv2.resize(content, (width, height), interpolation=cv2.INTER_LINEAR)

    def labels_to_image(self, labels: NDArray[np.int32]) -> NDArray[np.int32]:
        """Labels over the content (h, w), nearest neighbour, at micrograph size."""
        height, width = self.image
        rows = ((np.arange(height) + 0.5) * labels.shape[0] / height).astype(int)
        columns = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(int)
        return labels[rows[:, None], columns[None]]
