"""When a large field is cut into tiles, and where: so that objects come to the network as large as
those it learned from.

A network is shown every image at one size, so the objects of a field three times as large as the
training's images come out three times smaller, and are missed. A tile as large as a training image
shows them as they were learned. Tiles overlap, by more than most objects are large, so that nearly
every object lies whole in one of them; what two tiles found of one object is joined afterwards
(msip_core.detector.joining).
"""

from __future__ import annotations

import math
import re
from typing import Literal, NamedTuple

import numpy as np

from msip_core.data.object_sizes import FACTOR, SeenImage
from msip_core.errors import ConfigError
from msip_core.messages import msg
from msip_core.models import TrainedSizes

Wanted = int | Literal["auto", "never"]
SMALLEST, LARGEST = 32, 16384  # side of a tile that can be asked for, in pixels of the image
_OVERLAPS = (0.2, 0.5)  # least (sahi's default) and most that is chosen without being asked
MOST_OVERLAP = 0.9
_CELL = 8  # pixels of the network: its finest stride
_LONGER = 1.25  # the longer side of a box against the square as large as the box


class Tile(NamedTuple):
    """A part of an image: corners in its pixels, x2 and y2 exclusive."""

    x1: int
    y1: int
    x2: int
    y2: int


class Tiling(NamedTuple):
    """How an image is cut.

    Attributes:
        side: of a tile, in pixels of the image.
        overlap: of two neighbours at least, in the same pixels.
        why: the reason, as the end of a sentence.
    """

    side: int
    overlap: int
    why: str

    def rows(self, width: int, height: int) -> list[list[Tile]]:
        """The tiles of an image, row by row: evenly spread, together all of it."""
        columns = _starts(width, self.side, self.overlap)
        return [
            [
                Tile(left, top, min(left + self.side, width), min(top + self.side, height))
                for left in columns
            ]
            for top in _starts(height, self.side, self.overlap)
        ]

    def words(self, width: int, height: int) -> str:
        """What was done, in one sentence."""
        rows = self.rows(width, height)
        count = len(rows) * len(rows[0])
        return msg(
            "Cut into {count} tiles of {side:,} px that overlap by {overlap:,} px or "
            "more, since {why}.",
            count=count,
            side=self.side,
            overlap=self.overlap,
            why=self.why,
        )


def parse_tiles(words: str) -> Wanted:
    """What a person wrote: auto, never, or the side of a tile in pixels.

    Raises:
        ConfigError: anything else.
    """
    word = words.strip().lower()
    if word in ("auto", "never"):
        return "auto" if word == "auto" else "never"
    if re.fullmatch("[0-9]{1,6}", word) and SMALLEST <= int(word) <= LARGEST:
        return int(word)
    raise ConfigError(
        "'{words}' does not say how to cut images into tiles: write auto, never, or the side of "
        "a tile in pixels of the image ({smallest} to {largest}).",
        words=words,
        smallest=SMALLEST,
        largest=LARGEST,
    )


def choose_tiling(
    wanted: Wanted,
    overlap: float | None,
    trained: TrainedSizes | None,
    trained_imgsz: int,
    seen: SeenImage,
) -> Tiling | None:
    """How to cut an image; None shows it whole.

    "auto" cuts where objects as large as in training would come to the network more than `FACTOR`
    times smaller than in any of the training's images, told by micrometres where both are known,
    else by pixels; never where the training's sizes are not known.

    Args:
        overlap: share of a tile; None takes what most of the training's objects need.
        trained_imgsz: longer side that images were scaled to in training.
    """
    longer = max(seen.width, seen.height)
    if wanted == "never":
        return None
    if wanted != "auto":
        if longer <= wanted:
            return None
        share = _OVERLAPS[0] if overlap is None else overlap
        return Tiling(wanted, _pixels(share, wanted), msg("that was asked for"))
    if trained is None:
        return None
    here_um, then_um = seen.pixel_size_um, trained.pixel_size_um
    relative = here_um / then_um if here_um and then_um else 1.0
    scale = seen.imgsz / trained_imgsz / relative  # pixels here, shown as one there, for each there
    if longer <= trained.image_high * FACTOR * scale:
        return None
    side = max(SMALLEST, round(trained.image * scale))
    here = trained.object_px / relative * seen.imgsz / longer
    why = msg(
        "objects as large as in training would be {here:.0f} px for the network on the whole "
        "image, and it learned from {share:.0f} px",
        here=here,
        share=trained.share * trained_imgsz,
    )
    # Of a tile that holds 19 of 20 of the training's objects.
    share = float(np.clip(trained.share_high * _LONGER, *_OVERLAPS)) if overlap is None else overlap
    return Tiling(side, _pixels(share, side), why)


def tiling_for_small(sizes: TrainedSizes, overlap: float | None, seen: SeenImage) -> Tiling | None:
    """How to cut an image for a training that nothing is known before: None shows it whole.

    Images that come to the network at less than half their size are cut if their objects (the
    median of the dataset) would be smaller there than two cells of YOLOv8's finest grid. Tiles are
    as large as to show objects at four cells, but not enlarged.
    """
    longer = max(seen.width, seen.height)
    shown = sizes.share * seen.imgsz
    if longer <= 2 * seen.imgsz or shown >= 2 * _CELL:
        return None
    side = max(seen.imgsz, round(sizes.object_px * seen.imgsz / (4 * _CELL)))
    if longer <= side * FACTOR:
        return None
    large = sizes.share_high * sizes.image / side  # in tiles; shares are of whole images
    share = float(np.clip(large * _LONGER, *_OVERLAPS)) if overlap is None else overlap
    why = msg(
        "objects would be {shown:.0f} px for the network on whole images, less than two cells of "
        "its finest grid ({cell} px)",
        shown=shown,
        cell=2 * _CELL,
    )
    return Tiling(side, _pixels(share, side), why)


def _pixels(share: float, side: int) -> int:
    return min(side - 1, math.ceil(share * side))


def _starts(length: int, side: int, overlap: int) -> list[int]:
    """Where tiles begin along one side of the image."""
    if length <= side:
        return [0]
    count = math.ceil((length - overlap) / (side - overlap))
    return [round(start) for start in np.linspace(0, length - side, count)]
