"""What an augmentation does to each image of a batch, drawn for the whole batch at once.

Parameters and distributions are Ultralytics' (data/augment.py: Mosaic, RandomPerspective, MixUp,
RandomHSV, RandomFlip); a test compares both. All numbers are drawn on the processor, so that a seed
gives the same epoch on every device; msip_core.detector.warping does to pixels and boxes
what was drawn here.

A batch of n pictures is made of n or more `canvases`: the first n are the pictures, any further
ones are mixed into them. A canvas shows one image, or four around a centre (mosaic), and is seen
through an affine map.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msip_core.errors import ConfigError

_MIX = 32.0  # of the beta distribution of mixup's shares: close to one half
_UNKNOWN = ("perspective", "cutmix", "copy_paste", "bgr", "multi_scale")  # always 0 here


@dataclass(frozen=True)
class Augmentation:
    """How far images are changed; names and meanings are Ultralytics' settings.

    Attributes:
        mosaic, mixup, flipud, fliplr: probabilities.
        degrees, shear: largest angles.
        scale: zoom between 1 - scale and 1 + scale.
        translate: largest shift, as a share of the picture.
        hsv_h, hsv_s, hsv_v: largest changes of hue (share of the circle), saturation and value.
    """

    mosaic: float = 1.0
    mixup: float = 0.0
    degrees: float = 0.0
    scale: float = 0.5
    translate: float = 0.1
    shear: float = 0.0
    flipud: float = 0.0
    fliplr: float = 0.5
    hsv_h: float = 0.015
    hsv_s: float = 0.7
    hsv_v: float = 0.4

    @classmethod
    def from_settings(cls, settings: Any) -> Augmentation:
        """What Ultralytics' settings of a training say.

        Raises:
            ConfigError: they ask for something that only Ultralytics' own loader can do.
        """
        foreign = [name for name in _UNKNOWN if getattr(settings, name, 0)]
        if foreign:
            raise ConfigError(
                "The device loader knows no {foreign}: set loader to ultralytics, or "
                "{foreign} to 0.",
                foreign=foreign[0],
            )
        return cls(**{name: float(getattr(settings, name)) for name in cls.__dataclass_fields__})

    def without_mosaic(self) -> Augmentation:
        """As for the last epochs: no image is put together from several."""
        return replace(self, mosaic=0.0, mixup=0.0)


@dataclass(frozen=True)
class Draws:
    """What was drawn for one batch of n pictures, seen on m >= n canvases.

    Attributes:
        images: (m, 4) indices; the last three only count where `mosaic`.
        mosaic: (m,) whether the canvas shows four images.
        centres: (m, 2) where the four meet, x and y in pixels of a canvas of twice the size.
        angles, zooms: (m,) degrees counter-clockwise, and factors.
        shears: (m, 2) degrees, x and y.
        shifts: (m, 2) where the canvas' centre lies in the picture, as shares of its size.
        mixed: (m - n,) the picture that each further canvas is mixed into.
        shares: (m - n,) how much of that picture stays.
        flips: (n, 2) left to right, and upside down.
        gains: (n, 3) of hue, saturation and value, in [-1, 1] times the largest change.
    """

    images: NDArray[np.int64]
    mosaic: NDArray[np.bool_]
    centres: NDArray[np.int64]
    angles: NDArray[np.float64]
    zooms: NDArray[np.float64]
    shears: NDArray[np.float64]
    shifts: NDArray[np.float64]
    mixed: NDArray[np.int64]
    shares: NDArray[np.float64]
    flips: NDArray[np.bool_]
    gains: NDArray[np.float64]

    @property
    def pictures(self) -> int:
        """n, the pictures of the batch."""
        return len(self.flips)

    def part(self, first: int, stop: int) -> Draws:
        """The pictures from `first` up to `stop` alone, as they are in the whole batch."""
        stop = min(stop, self.pictures)
        inside = (self.mixed >= first) & (self.mixed < stop)
        canvases = np.r_[first:stop, self.pictures + np.flatnonzero(inside)].astype(np.int64)
        return Draws(
            images=self.images[canvases],
            mosaic=self.mosaic[canvases],
            centres=self.centres[canvases],
            angles=self.angles[canvases],
            zooms=self.zooms[canvases],
            shears=self.shears[canvases],
            shifts=self.shifts[canvases],
            mixed=self.mixed[inside] - first,
            shares=self.shares[inside],
            flips=self.flips[first:stop],
            gains=self.gains[first:stop],
        )


def draw(
    rng: np.random.Generator, firsts: NDArray[np.int64], images: int, imgsz: int, how: Augmentation
) -> Draws:
    """Draw for a batch that begins with these images.

    Args:
        firsts: (n,) indices; mosaic and mixup partners are drawn from all `images`, as often as
            chance has it.
        imgsz: side of the pictures in pixels.
    """
    n = len(firsts)
    mixed = np.flatnonzero(rng.uniform(size=n) < how.mixup)
    shares = rng.beta(_MIX, _MIX, size=len(mixed))
    m = n + len(mixed)
    sources = rng.integers(images, size=(m, 4))
    sources[:n, 0] = firsts
    gains = rng.uniform(-1, 1, size=(n, 3)) * (how.hsv_h, how.hsv_s, how.hsv_v)
    return Draws(
        images=sources,
        mosaic=rng.uniform(size=m) < how.mosaic,
        centres=rng.uniform(imgsz // 2, 2 * imgsz - imgsz // 2, size=(m, 2)).astype(np.int64),
        angles=rng.uniform(-how.degrees, how.degrees, size=m),
        zooms=rng.uniform(1 - how.scale, 1 + how.scale, size=m),
        shears=rng.uniform(-how.shear, how.shear, size=(m, 2)),
        shifts=rng.uniform(0.5 - how.translate, 0.5 + how.translate, size=(m, 2)),
        mixed=mixed,
        shares=shares,
        flips=rng.uniform(size=(n, 2)) < (how.fliplr, how.flipud),
        gains=gains,
    )


@dataclass(frozen=True)
class Placed:
    """Where images lie on canvases, and canvases in pictures: k images, in the order of their
    canvases.

    Attributes:
        image, canvas: (k,) indices.
        corner: (k, 2) x and y of the image's first pixel on the canvas.
        sizes: (m, 2) width and height of each canvas.
        maps: (m, 3, 3) from a place on the canvas to one in the picture, before it is flipped.
    """

    image: NDArray[np.int64]
    canvas: NDArray[np.int64]
    corner: NDArray[np.int64]
    sizes: NDArray[np.int64]
    maps: NDArray[np.float64]


def place(draws: Draws, sizes: NDArray[np.int64], imgsz: int) -> Placed:
    """Lay the images on their canvases: alone, or with a corner at the centre of a mosaic.

    Args:
        sizes: (images, 2) width and height of the dataset's images, at most `imgsz`.
    """
    m = len(draws.images)
    extent = sizes[draws.images]  # (m, 4, 2)
    beside = np.array([[1, 1], [0, 1], [1, 0], [0, 0]])  # left of, above the centre
    corners = draws.centres[:, None] - extent * beside
    corners[~draws.mosaic] = 0
    shown = np.ones((m, 4), np.bool_)
    shown[~draws.mosaic, 1:] = False
    canvas = np.broadcast_to(np.arange(m)[:, None], (m, 4))
    whole = np.where(draws.mosaic[:, None], 2 * imgsz, extent[:, 0])
    return Placed(
        draws.images[shown], canvas[shown], corners[shown], whole, canvas_maps(draws, whole, imgsz)
    )


def canvas_maps(draws: Draws, sizes: NDArray[np.int64], imgsz: int) -> NDArray[np.float64]:
    """(m, 3, 3): centre, then turn and zoom, then shear, then shift.

    Args:
        sizes: (m, 2) width and height of the canvases in pixels.
    """
    m = len(draws.angles)
    centre, turn, shear, shift = (np.tile(np.eye(3), (m, 1, 1)) for _ in range(4))
    centre[:, :2, 2] = -sizes / 2
    radians = np.deg2rad(draws.angles)
    cosine, sine = draws.zooms * np.cos(radians), draws.zooms * np.sin(radians)
    turn[:, 0, 0], turn[:, 0, 1] = cosine, sine  # as cv2.getRotationMatrix2D
    turn[:, 1, 0], turn[:, 1, 1] = -sine, cosine
    tangents = np.tan(np.deg2rad(draws.shears))
    shear[:, 0, 1], shear[:, 1, 0] = tangents[:, 0], tangents[:, 1]
    shift[:, :2, 2] = draws.shifts * imgsz
    return shift @ shear @ turn @ centre
