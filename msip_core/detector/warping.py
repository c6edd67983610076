"""Augmented pictures, for a whole batch at once: their pixels, on the device that holds the images,
and their boxes.

Each image is sampled once, straight into the picture, and what the images of a mosaic give is
added up. Counted from the grey of the border (114), an image is zero outside itself, so that the
sum is what sampling the composed mosaic would give, seams included.

Boxes are moved with the pixels, cut at the border, left out where too little is left, by
Ultralytics' rules (Mosaic._cat_labels, RandomPerspective.box_candidates). On the processor: a few
hundred boxes are no work for a GPU, and their number is known without waiting for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from msip_core.detector.augment import Draws, Placed

BORDER = 114.0  # grey of what no image covers, Ultralytics' value
_ROOM = {"cpu": 2**22, "cuda": 2**29}  # bytes of the sampled images that are held at once

# A box stays: both sides longer than (pixels), at most so many times longer than wide, share left.
_SMALLEST, _THINNEST, _LEAST = 2, 100, 0.1
_TINY = 1e-16

Gather = Callable[[NDArray[np.int64]], Tensor]
Boxes = NDArray[np.float32]


@torch.no_grad()
def warped_pictures(
    gather: Gather, draws: Draws, placed: Placed, imgsz: int, device: str
) -> Tensor:
    """The pictures of a batch, (n, 1 or 3, imgsz, imgsz) uint8 on `device`.

    Args:
        gather: images by index, (k, 1 or 3, imgsz, imgsz) uint8 on `device`; RGB, filled up with
            BORDER to the right and below.
    """
    owners = np.concatenate((np.arange(draws.pictures), draws.mixed))
    backward = np.linalg.inv(placed.maps) @ _flips(draws, owners, imgsz)
    made = [
        (some, _seen(gather, placed, backward, some, four=four))
        for four, some in _chunks(draws.mosaic, imgsz, device)
    ]
    seen = torch.cat([pixels for _, pixels in made])
    order = np.concatenate([some for some, _ in made])
    if (np.diff(order) < 0).any():  # some with mosaic, some without
        seen = seen[sent(np.argsort(order), seen.device)]
    return coloured(_mixed(seen, draws), draws.gains)


def _flips(draws: Draws, owners: NDArray[np.int64], imgsz: int) -> NDArray[np.float64]:
    """(m, 3, 3): from a pixel of the finished picture to one before flipping."""
    flips = np.tile(np.eye(3), (len(owners), 1, 1))
    turned = draws.flips[owners]
    for axis in (0, 1):
        flips[:, axis, axis] = np.where(turned[:, axis], -1, 1)
        flips[:, axis, 2] = np.where(turned[:, axis], imgsz - 1, 0)
    return flips


def _chunks(
    mosaic: NDArray[np.bool_], imgsz: int, device: str
) -> Iterator[tuple[bool, NDArray[np.int64]]]:
    """Canvases that are made together: with mosaic or without, as many as memory likes."""
    room = _ROOM.get(device.partition(":")[0], _ROOM["cpu"])
    for four in (True, False):
        some = np.flatnonzero(mosaic == four)
        each = (4 if four else 1) * imgsz**2 * 4 * 8  # floats: of colours, twice, and places
        at_once = max(1, room // each)
        yield from ((four, some[i : i + at_once]) for i in range(0, len(some), at_once))


def _seen(
    gather: Gather,
    placed: Placed,
    backward: NDArray[np.float64],
    some: NDArray[np.int64],
    *,
    four: bool,
) -> Tensor:
    """These canvases as the pictures show them, (len(some), colours, imgsz, imgsz) whole grey
    values as floats."""
    each = 4 if four else 1
    rows = (np.searchsorted(placed.canvas, some)[:, None] + np.arange(each)).ravel()
    places = backward[np.repeat(some, each)]
    places[:, :2, 2] -= placed.corner[rows]
    pixels = gather(placed.image[rows]).float().sub_(BORDER)
    sampled = functional.grid_sample(
        pixels, _grid(places, pixels), mode="bilinear", padding_mode="zeros", align_corners=False
    )
    if four:
        sampled = sampled.view(len(some), 4, *sampled.shape[1:]).sum(1)
        sampled.mul_(_inside(backward[some], sampled))
    return sampled.add_(BORDER).round_()


def _grid(places: NDArray[np.float64], pixels: Tensor) -> Tensor:
    """For grid_sample, (k, imgsz, imgsz, 2): where each pixel of the picture lies in its image.

    Args:
        places: (k, 3, 3) from pixels to pixels.
    """
    imgsz, device = pixels.shape[-1], pixels.device
    # Pixel i lies at (2 i + 1) / imgsz - 1.
    scaled = places[:, :2] * (2 / imgsz)
    scaled[:, :, 2] += 1 / imgsz - 1
    x, y, one = sent(scaled.transpose(2, 0, 1).astype(np.float32), device)  # each (k, 2)
    steps = torch.arange(imgsz, device=device, dtype=torch.float32)
    rows = y[:, None] * steps[:, None] + one[:, None]  # (k, imgsz, 2)
    columns = x[:, None] * steps[:, None]
    return rows[:, :, None] + columns[:, None]


def _inside(backward: NDArray[np.float64], pixels: Tensor) -> Tensor:
    """(m, 1, imgsz, imgsz): 1 on the canvas of a mosaic, 0 beside it, where images reach over it,
    and within a pixel of its edge between these."""
    imgsz, device = pixels.shape[-1], pixels.device
    inside = torch.ones(len(backward), imgsz, imgsz, device=device)
    steps = torch.arange(imgsz, device=device, dtype=torch.float32)
    for axis in (0, 1):
        a, b, c = sent(backward[:, axis].T.astype(np.float32), device)[..., None, None]
        at = a * steps + (b * steps[:, None] + c)
        inside *= (at + 1).clamp_(0, 1) * (2 * imgsz - at).clamp_(0, 1)
    return inside[:, None]


def _mixed(seen: Tensor, draws: Draws) -> Tensor:
    """The pictures, with the further canvases mixed into some; whole grey values."""
    pictures, others = seen[: draws.pictures], seen[draws.pictures :]
    if len(others):
        into = sent(draws.mixed, seen.device)
        share = sent(draws.shares.astype(np.float32), seen.device)[:, None, None, None]
        mixed = (pictures[into] * share + others * (1 - share)).floor_()
        pictures.index_copy_(0, into, mixed)
    return pictures


def coloured(pictures: Tensor, gains: NDArray[np.float64]) -> Tensor:
    """Other hue, saturation and value, in the whole steps of OpenCV's 8-bit HSV (hue in 180).

    Args:
        pictures: (n, 1 or 3, height, width) whole grey values as floats, RGB. Of one colour, they
            are grey: only their value changes.
        gains: (n, 3).

    Returns:
        The same as uint8.
    """
    if not gains.any():
        return pictures.clamp_(0, 255).byte()
    hue, saturation, value = sent(gains.astype(np.float32).T, pictures.device)[..., None, None]
    if pictures.shape[1] == 1:
        return _brighter(pictures[:, 0], value)[:, None].byte()
    red, green, blue = pictures.unbind(1)
    top, spread = pictures.amax(1), pictures.amax(1) - pictures.amin(1)
    some = spread.clamp(min=1)
    angle = torch.where(
        top == red,
        (green - blue) / some,
        torch.where(top == green, 2 + (blue - red) / some, 4 + (red - green) / some),
    )
    h = ((angle * 30).round_().remainder_(180) + hue * 180).remainder_(180).floor_() / 30
    s = (spread * 255 / top.clamp(min=1)).round_()
    s = _brighter(s, saturation) / 255
    v = _brighter(top, value)
    colours = []
    for start in (5, 3, 1):
        k = (h + start).remainder_(6)
        colours.append(v - v * s * torch.minimum(k, 4 - k).clamp_(0, 1))
    return torch.stack(colours, 1).round_().byte()


def _brighter(values: Tensor, gain: Tensor) -> Tensor:
    return (values * (gain + 1)).clamp_(0, 255).floor_()


def sent(values: NDArray[np.generic], device: str | torch.device) -> Tensor:
    """A small array on the device, without waiting for it."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    if torch.device(device).type == "cuda" and tensor.numel():
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@dataclass(frozen=True)
class Labels:
    """The boxes of all images of a split, one after the other.

    Attributes:
        boxes: (b, 4) corners in pixels of the images as they are kept.
        classes: (b,).
        starts: (images + 1,) where each image's boxes begin.
    """

    boxes: Boxes
    classes: NDArray[np.float32]
    starts: NDArray[np.int64]

    def of(self, images: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of the boxes of these images, and for each row the image's place among them."""
        counts = self.starts[images + 1] - self.starts[images]
        owner = np.repeat(np.arange(len(images)), counts)
        before = np.cumsum(counts) - counts
        rows = np.arange(int(counts.sum())) - before[owner] + self.starts[images][owner]
        return rows, owner


@dataclass(frozen=True)
class Targets:
    """What a picture's detections are compared with; as Ultralytics collates it.

    Attributes:
        boxes: (b, 4) centre and size, as shares of the picture.
        classes: (b, 1).
        picture: (b,) which of the batch.
    """

    boxes: Boxes
    classes: NDArray[np.float32]
    picture: NDArray[np.float32]


def warped_boxes(labels: Labels, draws: Draws, placed: Placed, imgsz: int) -> Targets:
    """The boxes of a batch after all that was drawn."""
    rows, owner = labels.of(placed.image)
    canvas = placed.canvas[owner]
    boxes = labels.boxes[rows] + np.tile(placed.corner[owner], 2).astype(np.float32)
    # Only a mosaic is cut here: its images may reach over the canvas.
    four = draws.mosaic[canvas]
    edge = np.tile(placed.sizes[canvas], 2).astype(np.float32)
    boxes = np.where(four[:, None], np.clip(boxes, 0, edge), boxes)
    there = ~four | (_area(boxes) > 0)
    boxes, canvas, rows = boxes[there], canvas[there], rows[there]

    moved = np.clip(_moved(boxes, placed.maps[canvas]), 0, imgsz).astype(np.float32)
    kept = _candidates(boxes * draws.zooms[canvas, None].astype(np.float32), moved)
    moved, canvas, rows = moved[kept], canvas[kept], rows[kept]

    n = draws.pictures
    owners = np.concatenate((np.arange(n), draws.mixed))
    picture = owners[canvas]
    order = np.argsort(picture, kind="stable")  # a picture's own boxes, then those mixed in
    moved, picture, rows = moved[order], picture[order], rows[order]
    return Targets(
        _shares(_flipped(moved, draws.flips[picture], imgsz), imgsz),
        labels.classes[rows][:, None],
        picture.astype(np.float32),
    )


def _moved(boxes: Boxes, maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """The upright box around each box that was turned."""
    corners = np.ones((len(boxes), 4, 3))
    corners[..., :2] = boxes[:, [0, 1, 2, 3, 0, 3, 2, 1]].reshape(-1, 4, 2)
    corners = np.einsum("nij,nkj->nki", maps[:, :2], corners)
    return np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1)


def _candidates(before: Boxes, after: Boxes) -> NDArray[np.bool_]:
    width, height = after[:, 2] - after[:, 0], after[:, 3] - after[:, 1]
    longer = np.maximum(width / (height + _TINY), height / (width + _TINY))
    left = width * height / (_area(before) + _TINY)
    big: NDArray[np.bool_] = (width > _SMALLEST) & (height > _SMALLEST)
    return big & (left > _LEAST) & (longer < _THINNEST)


def _area(boxes: Boxes) -> Boxes:
    area: Boxes = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return area


def _flipped(boxes: Boxes, flips: NDArray[np.bool_], imgsz: int) -> Boxes:
    swapped = imgsz - boxes[:, [2, 3, 0, 1]]
    return np.where(np.tile(flips, 2), swapped, boxes)


def _shares(boxes: Boxes, imgsz: int) -> Boxes:
    centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    return (np.concatenate((centres, sizes), axis=1) / imgsz).astype(np.float32)
