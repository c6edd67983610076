"""What a model finds on fields of any size: whole, or cut into tiles and joined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from msip_core.boxes import Detection
from msip_core.data.micrographs import Micrograph
from msip_core.data.object_sizes import SeenImage, size_warning
from msip_core.data.regions import Field, field_of
from msip_core.data.tiling import MOST_OVERLAP, Tiling, Wanted, choose_tiling, parse_tiles
from msip_core.detector.joining import as_rows, detections, from_tiles, joined
from msip_core.detector.prediction import Predictor
from msip_core.errors import ConfigError
from msip_core.models import TrainedSizes

Pixels = NDArray[np.uint8]
Tick = Callable[[float], None]


class TileChoice(NamedTuple):
    """What was asked for, and what is known of the model's training.

    Attributes:
        overlap: share of a tile; None leaves it to us.
        trained_imgsz: longer side that images were scaled to in training.
    """

    wanted: Wanted
    overlap: float | None
    trained: TrainedSizes | None
    trained_imgsz: int

    @classmethod
    def of(
        cls, tiles: str, overlap: float | None, trained: TrainedSizes | None, trained_imgsz: int
    ) -> TileChoice:
        """From a question's `tiles` (auto, never or the side in pixels) and `overlap` (a share).

        Raises:
            ConfigError: one of them is none.
        """
        if overlap is not None and not 0 <= overlap <= MOST_OVERLAP:
            raise ConfigError(
                "Tiles can overlap by 0 to {most_overlap:g} of their side, not by {overlap:g}.",
                most_overlap=MOST_OVERLAP,
                overlap=overlap,
            )
        return cls(parse_tiles(tiles), overlap, trained, trained_imgsz)

    def tiling(self, seen: SeenImage) -> Tiling | None:
        """How an image is cut; None shows it whole."""
        return choose_tiling(self.wanted, self.overlap, self.trained, self.trained_imgsz, seen)

    def warning(self, seen: SeenImage, tiling: Tiling | None, found: list[Detection]) -> str | None:
        """Why what was found is not to be trusted; None where nothing speaks against it."""
        if self.trained is None:
            return None
        if tiling is not None:
            width, height = min(tiling.side, seen.width), min(tiling.side, seen.height)
            seen = seen._replace(width=width, height=height)
        return size_warning(self.trained, self.trained_imgsz, seen, found)


def look_at(
    field: Field, tiling: Tiling | None, predictor: Predictor, *, conf: float, iou: float,
    tick: Tick,
) -> list[Detection]:  # fmt: skip
    """Find objects.

    Args:
        tick: called with the share done after every tile; may raise to stop.
    """
    if tiling is not None:
        return in_tiles(field, tiling, predictor, conf=conf, iou=iou, tick=tick)
    return predictor(field.pixels, conf=conf, iou=iou)


def in_tiles(
    field: Field, tiling: Tiling, predictor: Predictor, *, conf: float, iou: float,
    tick: Tick = lambda _: None,
) -> list[Detection]:  # fmt: skip
    """The same of a field that is cut; one row of tiles is in memory at a time."""
    rows = tiling.rows(field.width, field.height)
    count, done = len(rows) * len(rows[0]), 0
    found = []
    for row in rows:
        top, bottom = row[0].y1, row[0].y2
        band = field.rows(top, bottom)
        for start in range(0, len(row), predictor.together):
            some = row[start : start + predictor.together]
            cut = [np.ascontiguousarray(band[:, tile.x1 : tile.x2]) for tile in some]
            found += [as_rows(one) for one in predictor.several(cut, conf=conf, iou=iou)]
            done += len(some)
            tick(done / count)
    tiles = [tile for row in rows for tile in row]
    pieces = from_tiles(tiles, found, field.width, field.height, predictor.imgsz)
    return detections(joined(pieces))


def look_at_several(
    images: Sequence[Pixels], sizes: Sequence[float | None], choice: TileChoice,
    predictor: Predictor, *, conf: float, iou: float,
) -> list[list[Detection]]:  # fmt: skip
    """Objects on each of some images; those shown whole go through the network together.

    Args:
        sizes: micrometres per pixel of each, None where not known.
    """
    tilings = [
        choice.tiling(SeenImage(image.shape[1], image.shape[0], predictor.imgsz, size))
        for image, size in zip(images, sizes, strict=True)
    ]
    whole = [image for image, tiling in zip(images, tilings, strict=True) if tiling is None]
    found = iter(predictor.several(whole, conf=conf, iou=iou))
    return [
        next(found)
        if tiling is None
        else in_tiles(_in_memory(image), tiling, predictor, conf=conf, iou=iou)
        for image, tiling in zip(images, tilings, strict=True)
    ]


def _in_memory(image: Pixels) -> Field:
    return field_of(Micrograph(image, None, 8, None))
